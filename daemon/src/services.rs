//! Which service a repository's branches are on, and the connections to it: workspaces by their configuration, or Local
//! Lakebase, started when it is first needed. Above this file nothing knows one from the other.

use crate::board::Problem;
use crate::config::Config;
use crate::provider::Provider;
use daemon_core::config_file::Settings;
use lakebase_api::auth::profile;
use lakebase_api::{
    AuthEnv, AuthError, Client, Error, Origin, ProjectName, ProjectSpec, TokenSource, Workspace,
};
use local_lakebase::{Limits, LocalLakebase, StartError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;

/// What records of Local Lakebase are kept under; its port may change.
const LOCAL: &str = "local";

/// How long the making of a local project may take.
const PROJECT_PATIENCE: Duration = Duration::from_mins(2);

/// The services in use.
pub(crate) struct Services {
    config: Config,
    auth: AuthEnv,
    local: Mutex<Option<Arc<LocalLakebase>>>,
    /// Why Local Lakebase could not be started the last time that it was tried.
    local_problem: std::sync::Mutex<Option<Problem>>,
    providers: Mutex<BTreeMap<(String, String), Arc<Provider>>>,
}

/// What Local Lakebase tells about itself.
#[derive(Debug, Clone)]
pub(crate) struct LocalInfo {
    pub(crate) api_url: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) databricks_config_file: PathBuf,
    pub(crate) ca_file: PathBuf,
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
            local_problem: std::sync::Mutex::default(),
            providers: Mutex::default(),
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
        let mut providers = self.providers.lock().await;
        if let Some(provider) = providers.get(&key) {
            return Ok(provider.clone());
        }
        let project = ProjectName::new(settings.project.as_str()).map_err(|e| problem(&e, ""))?;
        let provider = match workspace {
            None => self.local_provider(project).await?,
            Some(workspace) => connect(workspace, project, origin, None).await?,
        };
        let provider = Arc::new(provider);
        providers.insert(key, provider.clone());
        Ok(provider)
    }

    /// Starts Local Lakebase if no workspace is configured, so that it is there when the first repository comes.
    pub(crate) async fn warm_up(&self) {
        if let Ok(None) = self.workspace(None)
            && let Err(problem) = self.started_local().await
        {
            tracing::error!(
                error = problem.message,
                fix = problem.fix,
                "cannot start Local Lakebase"
            );
        }
    }

    /// What hinders Local Lakebase, if it was needed and could not be started.
    pub(crate) fn local_problem(&self) -> Option<Problem> {
        self.local_problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What Local Lakebase tells about itself; `None` while it does not run, or is still starting.
    pub(crate) fn local_info(&self) -> Option<LocalInfo> {
        let local = self.local.try_lock().ok()?;
        local.as_ref().map(|local| LocalInfo {
            api_url: local.api_url().to_owned(),
            data_dir: local.data_dir().to_owned(),
            databricks_config_file: local.databricks_config_file().to_owned(),
            ca_file: local.ca_file().to_owned(),
            postgres_version: local.postgres_version().to_owned(),
        })
    }

    /// Stops Local Lakebase, if it runs, and its computes with it.
    pub(crate) async fn stop(&self) {
        self.providers.lock().await.clear();
        if let Some(local) = self.local.lock().await.take() {
            let Ok(local) = Arc::try_unwrap(local) else {
                tracing::warn!("Local Lakebase is still in use; its computes are left running");
                return;
            };
            local.stop().await;
        }
    }

    /// The workspace to use; `None` for Local Lakebase: asked for by name, or because nothing else is configured.
    fn workspace(&self, named: Option<&str>) -> Result<Option<Workspace>, Problem> {
        if named == Some(LOCAL) {
            return Ok(None);
        }
        match profile::load(named, &self.auth) {
            Ok(workspace) => Ok(Some(workspace)),
            Err(AuthError::NotConfigured { .. }) if named.is_none() => Ok(None),
            Err(error) => Err(problem(
                &error,
                "set LAKEBASE_PROFILE in lakebase.config, or mend ~/.databrickscfg",
            )),
        }
    }

    async fn local_provider(&self, project: ProjectName) -> Result<Provider, Problem> {
        let local = self.started_local().await?;
        let origin: Origin = local.api_url().parse().map_err(|e| problem(&e, ""))?;
        let workspace = Workspace {
            origin,
            token: local.token().clone(),
            source: TokenSource::Given("Local Lakebase".into()),
        };
        let ca_file = Some(local.ca_file().to_owned());
        let provider = connect(workspace, project, LOCAL.into(), ca_file).await?;
        ensure_project(&provider)
            .await
            .map_err(|e| problem(&e, "see the daemon's log"))?;
        Ok(provider)
    }

    async fn started_local(&self) -> Result<Arc<LocalLakebase>, Problem> {
        let mut slot = self.local.lock().await;
        if let Some(local) = slot.as_ref() {
            return Ok(local.clone());
        }
        let config = local_lakebase::Config {
            data_dir: self.config.local_dir.clone(),
            api_addr: ([127, 0, 0, 1], 0).into(),
            user_name: self.config.local_user.clone(),
            pg_bindir: self.config.pg_bindir.clone(),
            limits: Limits::default(),
        };
        let started = LocalLakebase::start(config)
            .await
            .map_err(|error| start_problem(&error));
        *self.local_problem.lock().unwrap_or_else(PoisonError::into_inner) = started.as_ref().err().cloned();
        let local = started?;
        tracing::info!(api = local.api_url(), data = %local.data_dir().display(), "Local Lakebase started");
        let local = Arc::new(local);
        *slot = Some(local.clone());
        Ok(local)
    }
}

async fn connect(
    workspace: Workspace,
    project: ProjectName,
    origin: String,
    ca_file: Option<PathBuf>,
) -> Result<Provider, Problem> {
    let fix = "check the host and token of the profile that LAKEBASE_PROFILE names";
    let client = Client::new(workspace).map_err(|e| problem(&e, fix))?;
    let user_name = client.me().await.map_err(|e| problem(&e, fix))?.user_name;
    Ok(Provider {
        client,
        project,
        origin,
        user_name,
        ca_file,
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
        _ => "see the daemon's log".into(),
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
