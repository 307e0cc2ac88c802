//! Which service a repository's branches are on, and the connections to it: workspaces by their configuration, or Local
//! Lakebase, started when it is first needed. Above this file nothing knows one from the other.

use crate::attempts::{SIGN_IN_PAUSE, sign_in_fix};
use crate::begun::Begun;
use crate::board::Problem;
use crate::config::Config;
use crate::provider::Provider;
use daemon_core::config_file::Settings;
use lakebase_api::auth::profile;
use lakebase_api::{AuthEnv, AuthError, Client, Error, ProjectName, ProjectSpec, TokenSource, Workspace};
use local_lakebase::{LocalLakebase, StartError};
use local_profile::{Selection, Why};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod examine;
mod local_profile;

pub(crate) use examine::{Examined, Way};

/// What records of Local Lakebase are kept under; its port may change.
const LOCAL: &str = "local";

/// How often a start that was refused is tried again: the user may have recovered the data by then.
const REFUSED_PERIOD: Duration = Duration::from_secs(5);

/// How long the making of a local project may take.
const PROJECT_PATIENCE: Duration = Duration::from_mins(2);

/// The services in use.
pub(crate) struct Services {
    config: Config,
    auth: AuthEnv,
    local: Mutex<Option<Local>>,
    /// What came of the last time that Local Lakebase was started or looked for: told also while that is done again.
    told: std::sync::Mutex<Told>,
    providers: std::sync::Mutex<Providers>,
}

/// By origin and project. Each has a lock of its own, so that nobody waits for a service that is not theirs.
type Providers = BTreeMap<(String, String), Arc<Mutex<Option<Known>>>>;

/// What was found out about a project with one way of signing in. Another one may have another right, and be another user's.
struct Known {
    workspace: Option<Workspace>,
    found: Found,
}

enum Found {
    Provider(Arc<Provider>),
    /// Only a person can help, so it is not tried again before this.
    Refused {
        problem: Problem,
        until: Instant,
    },
}

/// Local Lakebase, as it is reached from here.
#[derive(Clone)]
enum Local {
    /// Started by us, and ours to stop.
    Ours(Arc<LocalLakebase>),
    /// `lakebased local serve` has our directory. It may end at any time, and then it is our turn.
    Served { workspace: Workspace, data_dir: PathBuf },
}

/// The service that a configuration selects.
enum Chosen {
    Workspace(Workspace),
    Local(Why),
}

/// What is told of Local Lakebase: where it is, or what hinders it. Neither before it is first needed.
#[derive(Default)]
struct Told {
    info: Option<LocalInfo>,
    problem: Option<Problem>,
    state: LocalState,
}

/// The state of Local Lakebase in this daemon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LocalState {
    /// It is not used, or cannot be started.
    #[default]
    None,
    /// It is being started for the first time.
    Starting,
    Serving,
    /// Its catalog and its data do not fit together: it serves nothing until the user has acted.
    Refused,
}

/// What Local Lakebase tells about itself.
#[derive(Debug, Clone)]
pub(crate) struct LocalInfo {
    pub(crate) api_url: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) databricks_config_file: PathBuf,
    pub(crate) ca_file: PathBuf,
    /// Empty if another process serves it.
    pub(crate) postgres_version: String,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

impl Services {
    /// Prepares the services; contacts none.
    pub(crate) fn new(config: Config, auth: AuthEnv) -> Self {
        Self {
            config,
            auth,
            local: Mutex::default(),
            told: std::sync::Mutex::default(),
            providers: std::sync::Mutex::default(),
        }
    }

    /// Returns the project that the settings name, on the service that they or the machine's configuration name.
    ///
    /// # Errors
    /// What hinders, and what a person can do about it.
    pub(crate) async fn provider(&self, settings: &Settings) -> Result<Arc<Provider>, Problem> {
        let workspace = self.workspace(settings.profile.as_deref())?;
        let origin = workspace
            .as_ref()
            .map_or_else(|| LOCAL.to_owned(), |w| w.origin.to_string());
        let key = (origin.clone(), settings.project.to_string());
        let cell = self.providers().entry(key).or_default().clone();
        let mut known = cell.lock().await;
        match known.as_ref().filter(|known| known.workspace == workspace) {
            Some(Known {
                found: Found::Provider(provider),
                ..
            }) => return Ok(provider.clone()),
            Some(Known {
                found: Found::Refused { problem, until },
                ..
            }) if Instant::now() < *until => return Err(problem.clone()),
            Some(_) | None => {}
        }
        let project = ProjectName::new(settings.project.as_str()).map_err(|e| problem(&e, ""))?;
        let connected = match workspace.clone() {
            None => self.local_provider(project).await,
            Some(workspace) => connect(workspace, project, origin, None)
                .await
                .map(|provider| (provider, true)),
        };
        match connected {
            Ok((provider, is_lasting)) => {
                let provider = Arc::new(provider);
                let found = Found::Provider(provider.clone());
                *known = is_lasting.then_some(Known { workspace, found });
                Ok(provider)
            }
            Err(Hindrance {
                problem,
                is_for_people,
            }) => {
                let until = Instant::now() + SIGN_IN_PAUSE;
                let found = Found::Refused {
                    problem: problem.clone(),
                    until,
                };
                *known = is_for_people.then_some(Known { workspace, found });
                Err(problem)
            }
        }
    }

    fn providers(&self) -> MutexGuard<'_, Providers> {
        // A panic while holding the lock cannot have left the map half changed.
        self.providers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts Local Lakebase if no workspace is configured, so that it is there when the first repository comes. Where that
    /// is refused, tries again until the user has acted.
    pub(crate) fn warm_up(self: Arc<Self>, stop: CancellationToken) -> impl Future<Output = ()> {
        let is_wanted = matches!(self.workspace(None), Ok(None));
        if is_wanted {
            // Before the first call is answered, so that nobody takes it for unused.
            self.told().state = LocalState::Starting;
        }
        async move {
            if is_wanted {
                self.start_local_until(stop).await;
            }
        }
    }

    async fn start_local_until(&self, stop: CancellationToken) {
        let (mut logged, mut was_refused) = (None, false);
        loop {
            let started = self.started_local().await;
            // One that was refused and is in use now is being recovered: then it is our turn again.
            was_refused |= self.local_state() == LocalState::Refused;
            let is_done = !was_refused || matches!(started, Ok(Local::Ours(_)));
            let problem = started.err();
            if let Some(problem) = problem
                .as_ref()
                .filter(|problem| logged.as_ref() != Some(*problem))
            {
                tracing::error!(
                    error = problem.message,
                    fix = problem.fix,
                    "cannot start Local Lakebase"
                );
            }
            logged = problem;
            let pause = stop.run_until_cancelled(tokio::time::sleep(REFUSED_PERIOD));
            if is_done || pause.await.is_none() {
                return;
            }
        }
    }

    /// What hinders Local Lakebase, if it was needed and could not be started.
    pub(crate) fn local_problem(&self) -> Option<Problem> {
        self.told().problem.clone()
    }

    /// Returns the state of Local Lakebase.
    pub(crate) fn local_state(&self) -> LocalState {
        self.told().state
    }

    /// What a Local Lakebase that runs here says of its data.
    pub(crate) fn local_data_problems(&self) -> Vec<Problem> {
        // It is held while a start is under way, and then there is nothing to say.
        let slot = self.local.try_lock();
        let Some(Local::Ours(local)) = slot.ok().and_then(|slot| slot.clone()) else {
            return Vec::new();
        };
        let problems = local.problems().into_iter();
        problems
            .map(|problem| Problem {
                message: problem.message,
                fix: problem.fix,
            })
            .collect()
    }

    /// What Local Lakebase tells about itself; `None` while it does not run, or is started for the first time.
    pub(crate) fn local_info(&self) -> Option<LocalInfo> {
        self.told().info.clone()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops Local Lakebase, if it runs, and its computes with it.
    pub(crate) async fn stop(&self) {
        self.providers().clear();
        *self.told() = Told::default();
        if let Some(Local::Ours(local)) = self.local.lock().await.take() {
            let Ok(local) = Arc::try_unwrap(local) else {
                tracing::warn!("Local Lakebase is still in use; its computes are left running");
                return;
            };
            local.stop().await;
        }
    }

    /// The workspace to use; `None` for Local Lakebase.
    fn workspace(&self, named: Option<&str>) -> Result<Option<Workspace>, Problem> {
        Ok(match self.choose(named)? {
            Chosen::Workspace(workspace) => Some(workspace),
            Chosen::Local(_) => None,
        })
    }

    /// Chooses by the configuration's profile and the environment; Local Lakebase where they select it or nothing.
    fn choose(&self, named: Option<&str>) -> Result<Chosen, Problem> {
        let ours = self.config.local.data_dir.join(local_lakebase::PROFILES);
        match local_profile::select(named, &self.auth, &ours) {
            Ok(Selection::Local(why)) => return Ok(Chosen::Local(why)),
            Ok(Selection::Workspace) => {}
            Err(error) => return Err(problem(&error, &error.fix())),
        }
        match profile::load(named, &self.auth) {
            Ok(workspace) => Ok(Chosen::Workspace(workspace)),
            Err(AuthError::NotConfigured { .. }) if named.is_none() => Ok(Chosen::Local(Why::NoWorkspace)),
            Err(error) => Err(problem(&error, &error.fix())),
        }
    }

    /// The second value says whether the provider can be kept.
    async fn local_provider(&self, project: ProjectName) -> Result<(Provider, bool), Hindrance> {
        let local = self.started_local().await?;
        let ca_file = Some(local.info().ca_file);
        let provider = connect(local.workspace()?, project, LOCAL.into(), ca_file).await?;
        ensure_project(&provider)
            .await
            .map_err(|e| problem(&e, "see the daemon's log"))?;
        Ok((provider, matches!(local, Local::Ours(_))))
    }

    async fn started_local(&self) -> Result<Local, Problem> {
        let mut slot = self.local.lock().await;
        if let Some(ours @ Local::Ours(_)) = slot.as_ref() {
            return Ok(ours.clone());
        }
        let mut state = LocalState::None;
        let started = match LocalLakebase::start(self.config.local.clone()).await {
            Ok(local) => {
                tracing::info!(api = local.api_url(), data = %local.data_dir().display(), "Local Lakebase started");
                Ok(Local::Ours(Arc::new(local)))
            }
            Err(StartError::InUse(dir)) => served(dir),
            Err(error) => {
                if error.required_action().is_some() {
                    state = LocalState::Refused;
                }
                Err(start_problem(&error))
            }
        };
        if started.is_ok() {
            state = LocalState::Serving;
        }
        *self.told() = Told {
            info: started.as_ref().ok().map(Local::info),
            problem: started.as_ref().err().cloned(),
            state,
        };
        *slot = started.as_ref().ok().cloned();
        started
    }
}

impl Local {
    fn workspace(&self) -> Result<Workspace, Problem> {
        match self {
            Self::Ours(local) => Ok(Workspace::with_token(
                local.api_url().parse().map_err(|e| problem(&e, ""))?,
                local.token().clone(),
                TokenSource::Given("Local Lakebase".into()),
            )),
            Self::Served { workspace, .. } => Ok(workspace.clone()),
        }
    }

    fn info(&self) -> LocalInfo {
        match self {
            Self::Ours(local) => LocalInfo {
                api_url: local.api_url().to_owned(),
                data_dir: local.data_dir().to_owned(),
                databricks_config_file: local.databricks_config_file().to_owned(),
                ca_file: local.ca_file().to_owned(),
                postgres_version: local.postgres_version().to_owned(),
            },
            Self::Served { workspace, data_dir } => LocalInfo {
                api_url: workspace.origin.to_string(),
                databricks_config_file: data_dir.join(local_lakebase::PROFILES),
                ca_file: data_dir.join(local_lakebase::CA),
                data_dir: data_dir.clone(),
                postgres_version: String::new(),
            },
        }
    }
}

/// The server that has this directory, by the profile that it left there.
fn served(data_dir: PathBuf) -> Result<Local, Problem> {
    let env = AuthEnv::with_profiles(&data_dir.join(local_lakebase::PROFILES));
    let workspace = profile::load(Some(LOCAL), &env).map_err(|e| {
        problem(
            &e,
            "stop the other Local Lakebase, or set LAKEBASE_LOCAL_DIR to another directory",
        )
    })?;
    tracing::info!(api = %workspace.origin, "Local Lakebase is served by another process");
    Ok(Local::Served { workspace, data_dir })
}

/// What keeps us from a service.
struct Hindrance {
    problem: Problem,
    /// The same attempt fails until somebody signs in or is given a right.
    is_for_people: bool,
}

impl From<Problem> for Hindrance {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            is_for_people: false,
        }
    }
}

async fn connect(
    workspace: Workspace,
    project: ProjectName,
    origin: String,
    ca_file: Option<PathBuf>,
) -> Result<Provider, Hindrance> {
    let client = Client::new(workspace).map_err(|e| problem(&e, "check the host"))?;
    let user_name = match client.me().await {
        Ok(user) => user.user_name,
        Err(error @ (Error::Unauthenticated { .. } | Error::PermissionDenied { .. })) => {
            return Err(Hindrance {
                problem: problem(&error, &sign_in_fix(&error)),
                is_for_people: true,
            });
        }
        Err(error) => return Err(problem(&error, &sign_in_fix(&error)).into()),
    };
    Ok(Provider {
        client,
        project,
        origin,
        user_name,
        ca_file,
        begun: Begun::default(),
    })
}

/// On this machine a project costs nothing and nobody else can make it, so it is made when it is first named.
async fn ensure_project(provider: &Provider) -> Result<(), Error> {
    match provider.client.project(&provider.project).await {
        Err(Error::NotFound { .. }) => {}
        other => return other.map(drop),
    }
    let spec = ProjectSpec {
        display_name: Some(provider.project.id().to_owned()),
        ..ProjectSpec::default()
    };
    let operation = provider
        .client
        .create_project(provider.project.id(), &spec)
        .await?;
    provider.client.wait(operation, PROJECT_PATIENCE).await.map(drop)
}

fn start_problem(error: &StartError) -> Problem {
    let fix = match error {
        StartError::NoPostgres { fix } => fix.clone(),
        other => other
            .required_action()
            .unwrap_or_else(|| "see the daemon's log".into()),
    };
    problem(error, &fix)
}

fn problem(error: &(dyn std::error::Error + 'static), fix: &str) -> Problem {
    Problem {
        message: chain(error),
        fix: fix.to_owned(),
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
