//! The whole of Local Lakebase as one value: started, asked where it is, stopped.

mod arrange;
mod problem;

use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use private_dir::DirError;
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::{CATALOG, Catalog, CatalogError};
use crate::clock::Clock;
use crate::control::{self, Control};
use crate::error::ApiError;
use crate::identity::Identity;
use crate::listener::tls::{Authority, TlsError};
use crate::listener::{Listeners, Needs};
use crate::model::Limits;
use crate::recovery::{Directories, Refusal};
use crate::storage::mount::NotMounted;
use crate::storage::{DIR_VARIABLE, LOST, others};
use crate::token::Signer;
use crate::{api, private_file, server};

pub use self::problem::LocalProblem;

const API_PORT: &str = "api_port";
const WORKSPACE_ID: &str = "workspace_id";

/// The file in the data directory with profiles for tools that read `DATABRICKS_CONFIG_FILE`.
pub const PROFILES: &str = "databrickscfg";
/// The profiles in that file. `DEFAULT` and `local` are the same.
pub const PROFILE_NAMES: [&str; 3] = ["DEFAULT", "local", "local-m2m"];
/// The file in the data directory with the certificate that signs those of the endpoints.
pub const CA: &str = "ca.pem";

/// How Local Lakebase is started.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept. Made if it is not there.
    pub data_dir: PathBuf,
    /// Where the API listens. Port 0 means the port of last time if it is free, or else any.
    pub api_addr: SocketAddr,
    /// Where clients find the API, if something stands before it, such as a proxy that adds TLS. It is what they are told
    /// when they look for the token endpoint.
    pub public_url: Option<String>,
    /// The user that owns it all, such as `jane@localhost`; also the role in PostgreSQL.
    pub user_name: String,
    /// Where PostgreSQL's programs are, unless they are to be looked for.
    pub pg_bindir: Option<PathBuf>,
    /// How many and how long.
    pub limits: Limits,
}

/// Why Local Lakebase does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no PostgreSQL that would do.
    #[error("cannot find a usable PostgreSQL")]
    NoPostgres {
        /// What a person should do.
        fix: String,
    },
    /// Another process serves this directory.
    #[error("cannot use `{}`: another Local Lakebase is running there", .0.display())]
    InUse(PathBuf),
    /// The directory cannot be used.
    #[error("cannot use `{}`", .dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another user can change the directory, or one above it.
    #[error(transparent)]
    Untrusted(DirError),
    /// The disk of the directory is not mounted.
    #[error("cannot serve `{}`: its disk is not mounted", .dir.display())]
    NotMounted {
        /// The data directory.
        dir: PathBuf,
        /// How this is known.
        why: NotMounted,
    },
    /// The catalog and the data directories do not fit together. Nothing was started, moved or removed.
    #[error("cannot serve `{}`: {refusal}", .dir.display())]
    Refused {
        /// The data directory.
        dir: PathBuf,
        /// What does not fit.
        refusal: Refusal,
    },
    /// The API's address cannot be had.
    #[error("cannot listen on {addr}")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// What is remembered cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// There are no certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// PostgreSQL or the disk refuses.
    #[error("cannot put the branches in order")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StartError {
    /// Returns what the user must do before the next start can succeed; none if another start may succeed as it is.
    pub fn required_action(&self) -> Option<String> {
        match self {
            Self::NotMounted { dir, why } => Some(why.fix(dir)),
            Self::Untrusted(error) => error.fix(DIR_VARIABLE),
            Self::Refused { dir, refusal } => Some(refusal.fix(dir)),
            _ => None,
        }
    }
}

/// A running Local Lakebase.
pub struct LocalLakebase {
    control: Arc<Control>,
    data_dir: PathBuf,
    config_file: PathBuf,
    ca_file: PathBuf,
    /// Directories that no branch has and that could not be moved to `lost`.
    unmoved: Vec<PathBuf>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Held as long as this directory is ours.
    lock: File,
}

impl LocalLakebase {
    /// Starts it: everything that was there before is there again, and answers when this returns.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_at(config, Clock::default()).await
    }

    /// Starts it with a clock that the caller can move, for tests of what happens hours or days later.
    pub async fn start_at(config: Config, clock: Clock) -> Result<Self, StartError> {
        let dir = &config.data_dir;
        let in_dir = |source| StartError::Directory {
            dir: dir.clone(),
            source,
        };
        let lock = prepare(dir)?;
        let Directories { branches, .. } = arrange::check(dir).await?;
        let identity = Identity::load(dir, config.user_name.clone()).map_err(in_dir)?;
        let signer = Signer::load(dir).map_err(in_dir)?;
        let authority = Authority::load(dir)?;
        let ca_file = authority.file().to_owned();
        let key_id = signer.key_id().map_err(|error| in_dir(io::Error::other(error)))?;
        let catalog = Catalog::open(&dir.join(CATALOG), &key_id).await?;
        let (engine, unmoved) = arrange::engine(&config, &catalog, &clock).await?;
        arrange::renew_descriptors(&catalog, &key_id, branches).await?;
        let shared_port = catalog.setting(control::SHARED_PORT).await?;
        let listeners = Listeners::new(Needs {
            engine: engine.clone(),
            signer: signer.clone(),
            clock: clock.clone(),
            authority,
            own_addresses: config.limits.own_addresses,
            shared_port: shared_port.and_then(|port| port.parse().ok()),
        });
        let api = listen(&config, &catalog).await?;
        let api_url = format!("http://{}", api.local_addr().map_err(in_dir)?);
        let control = Arc::new(Control {
            workspace_id: workspace_id(&catalog).await?,
            public_url: config.public_url.clone().unwrap_or_else(|| api_url.clone()),
            api_url,
            catalog,
            engine,
            listeners,
            clock,
            signer,
            identity,
            limits: config.limits.clone(),
            running: control::Running::default(),
        });
        let local = Self {
            data_dir: dir.clone(),
            config_file: dir.join(PROFILES),
            ca_file,
            unmoved,
            control,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            lock,
        };
        local.bring_back().await?;
        local.spawn(api);
        Ok(local)
    }

    /// Opens the doors of all branches and tells tools where the API is.
    async fn bring_back(&self) -> Result<(), StartError> {
        let failed = |error: ApiError| StartError::Engine(error.message.into());
        self.control.open_all().await.map_err(failed)?;
        self.control.check_health().await.map_err(failed)?;
        write_profiles(&self.config_file, &self.control).map_err(|source| StartError::Directory {
            dir: self.data_dir.clone(),
            source,
        })
    }

    fn spawn(&self, api: TcpListener) {
        let (control, stop) = (&self.control, &self.stop);
        let router = api::router(control.clone());
        self.tasks.spawn(control.clone().measure_all(stop.clone()));
        self.tasks.spawn(server::serve(api, router, stop.clone()));
        self.tasks.spawn(control::sweep(control.clone(), stop.clone()));
        let (suspend, stop) = (control.engine.clone().suspend_idle(), stop.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = suspend => {}
            }
        });
    }

    /// Returns where the API is, such as `http://127.0.0.1:41234`.
    pub fn api_url(&self) -> &str {
        &self.control.api_url
    }

    /// Returns the access token of the API.
    pub fn token(&self) -> &SecretString {
        &self.control.identity.token
    }

    /// Returns where everything is kept.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Returns the file of profiles for tools that read `DATABRICKS_CONFIG_FILE`: `local`, the same as `DEFAULT`, and
    /// `local-m2m` with the client's id and secret.
    pub fn databricks_config_file(&self) -> &Path {
        &self.config_file
    }

    /// Returns the file with the certificate that signs those of the endpoints.
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// Returns what is wrong with the data, as of some seconds ago.
    pub fn problems(&self) -> Vec<LocalProblem> {
        let health = self.control.health();
        let mut problems: Vec<_> = health.without_data.iter().map(problem::without_data).collect();
        problems.extend((health.lost > 0).then(|| problem::lost(health.lost, &self.data_dir.join(LOST))));
        problems.extend(
            self.unmoved
                .iter()
                .map(|path| problem::unmoved(path, &self.data_dir.join(LOST))),
        );
        problems
    }

    /// Returns the version of PostgreSQL behind it all.
    pub fn postgres_version(&self) -> &str {
        self.control.engine.postgres_version()
    }

    /// Answers what has begun, ends all sessions and stops all computes.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.control.drain().await;
        self.control.listeners.stop().await;
        self.control.engine.shutdown().await;
        self.control.catalog.close().await;
    }
}

/// Dropped without [`LocalLakebase::stop`], it serves nobody any more; its computes run on and are adopted by the next
/// start.
impl Drop for LocalLakebase {
    fn drop(&mut self) {
        self.stop.cancel();
        self.control.listeners.hang_up();
        // A program that is being started holds a copy of every file until it is itself, and with it this lock.
        if let Err(error) = self.lock.unlock() {
            tracing::debug!(%error, "the lock goes with its file");
        }
    }
}

/// Makes the directory, or checks that no other user can change it, and takes its lock.
fn prepare(dir: &Path) -> Result<File, StartError> {
    let in_dir = |source| StartError::Directory {
        dir: dir.to_owned(),
        source,
    };
    private_dir::own(dir, others()).map_err(StartError::Untrusted)?;
    let lock = private_dir::lock_file(&dir.join("lock")).map_err(in_dir)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(in_dir(source)),
    }
}

async fn listen(config: &Config, catalog: &Catalog) -> Result<TcpListener, StartError> {
    let mut addr = config.api_addr;
    if !addr.ip().is_loopback() {
        let source = io::Error::other("the API is not encrypted and only served on a loopback address");
        return Err(StartError::Listen { addr, source });
    }
    let before = catalog
        .setting(API_PORT)
        .await?
        .and_then(|port| port.parse().ok());
    if let (0, Some(port)) = (addr.port(), before) {
        addr.set_port(port);
    }
    let bound = match TcpListener::bind(addr).await {
        Err(_) if config.api_addr.port() == 0 => TcpListener::bind(config.api_addr).await,
        bound => bound,
    };
    let in_listen = |source| StartError::Listen { addr, source };
    let listener = bound.map_err(in_listen)?;
    let port = listener.local_addr().map_err(in_listen)?.port();
    catalog.set(API_PORT, &port.to_string()).await?;
    Ok(listener)
}

/// Returns the number that stands for this workspace, chosen once.
async fn workspace_id(catalog: &Catalog) -> Result<String, CatalogError> {
    if let Some(id) = catalog.setting(WORKSPACE_ID).await? {
        return Ok(id);
    }
    let id = rand::rng()
        .random_range(1_000_000_000_000_000_u64..9_000_000_000_000_000)
        .to_string();
    catalog.set(WORKSPACE_ID, &id).await?;
    Ok(id)
}

fn write_profiles(file: &Path, control: &Control) -> io::Result<()> {
    let (id, secret) = control.identity.client();
    // `DEFAULT` is what the Databricks CLI and SDKs read where no profile is named; no profile inherits from it.
    let text = format!(
        "[DEFAULT]\nhost = {host}\ntoken = {token}\n\n\
         [local]\nhost = {host}\ntoken = {token}\n\n\
         [local-m2m]\nhost = {host}\nclient_id = {id}\nclient_secret = {secret}\n",
        host = control.public_url,
        token = control.identity.token.expose_secret(),
        secret = secret.expose_secret(),
    );
    private_file::write(file, text.as_bytes(), private_file::SECRET)
}
