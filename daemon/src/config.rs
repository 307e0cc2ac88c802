//! The daemon's own configuration: flags and environment, read once and checked, then values.

use crate::metrics::MetricsFile;
use crate::supervisor::Supervisor;
use anyhow::Context;
use clap::{Parser, Subcommand};
use etcetera::BaseStrategy;
use lakebase_proto::{SocketEnv, socket_path};
use local_lakebase::Limits;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Keeps one Lakebase branch for every worktree of the registered repositories.
///
/// Runs in the foreground until it is told to stop; `lakebase up` starts it in the background. With no Databricks
/// configuration it starts Local Lakebase: the same service on this machine.
#[derive(Debug, Parser)]
#[command(name = "lakebased", version)]
pub struct Args {
    /// Socket to listen on [default: `$XDG_RUNTIME_DIR/lakebase/lakebased.sock`, else below the state directory]
    #[arg(long, value_name = "PATH", env = "LAKEBASE_SOCKET")]
    socket: Option<PathBuf>,
    /// Directory for the ledger and the log [default: ~/.local/state/lakebase]
    #[arg(long, value_name = "DIR", env = "LAKEBASE_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// How changes in worktrees are noticed; `poll` is for file systems that tell of changes wrongly or not at all
    #[arg(long, value_name = "HOW", env = "LAKEBASE_WATCH", value_enum, default_value_t = Watch::Events)]
    watch: Watch,
    /// How often everything is looked at though nothing was heard of it
    #[arg(long, value_name = "SECONDS", env = "LAKEBASE_RESYNC", default_value_t = 30, hide = true, value_parser = clap::value_parser!(u64).range(1..=30))]
    resync: u64,
    #[command(flatten)]
    local: LocalArgs,
    /// Log to standard error as well as to the file
    #[arg(long)]
    log_stderr: bool,
    /// What to log, as in `info` or `lakebased=debug`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "LAKEBASE_LOG",
        default_value = "info"
    )]
    log: String,
    /// File to write Prometheus metrics to, every 15 s [default: `metrics.prom` in the state directory]
    #[arg(long, value_name = "FILE", env = "LAKEBASE_METRICS_FILE")]
    metrics_file: Option<PathBuf>,
    #[command(flatten)]
    pace: Pace,
    #[command(subcommand)]
    command: Option<Command>,
}

/// How some things go and how long they take, so that tests need not wait for them.
#[derive(Debug, clap::Args)]
struct Pace {
    #[arg(long, hide = true, value_name = "MILLISECONDS", default_value = "15000", value_parser = millis)]
    metrics_period: Duration,
    /// How long a client may leave a stream unread
    #[arg(long, hide = true, value_name = "MILLISECONDS", default_value = "30000", value_parser = millis)]
    unread: Duration,
}

fn millis(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}

/// How changes in worktrees are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Watch {
    /// By file events, with a slow look as a net.
    Events,
    /// By looking every so often.
    Poll,
}

/// What to run instead of the daemon.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Local Lakebase on its own: the Lakebase API on this machine, without the daemon
    #[command(subcommand)]
    Local(Local),
}

/// What to do with Local Lakebase.
#[derive(Debug, Clone, Subcommand)]
pub enum Local {
    /// Serve the API in the foreground until told to stop
    ///
    /// Prints what a shell needs to use it, once it answers. A daemon that is started on the same directory uses this
    /// server instead of one of its own.
    Serve {
        /// Where the API listens; port 0 is the port of last time, or any
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Restore branches from their data when the catalog is lost, broken or of another time
    ///
    /// Shows what can be restored and what is lost, and asks before it changes anything. No data directory is removed: what
    /// cannot be restored is moved to `lost` in the data directory, and the old catalog is kept. Also takes back what is in
    /// `lost`. A branch whose expiration has passed meanwhile lives for another day.
    Recover(RecoverArgs),
    /// Give Local Lakebase a disk on which branches share their blocks
    ///
    /// For ext4 and other file systems that cannot: makes a file with an XFS file system in it and mounts it at the data
    /// directory, with what is there already. A branch then takes a tenth of a second and hardly any room, whatever its size.
    /// Needs root once, and asks for it with sudo.
    SetupStore(StoreArgs),
}

/// How `recover` goes.
#[derive(Debug, Clone, clap::Args)]
pub struct RecoverArgs {
    /// Carry the plan out without asking
    #[arg(long)]
    pub yes: bool,
    /// Print the plan, and what was done, as JSON; never asks
    #[arg(long)]
    pub json: bool,
}

/// How the disk of `setup-store` is made.
#[derive(Debug, Clone, clap::Args)]
pub struct StoreArgs {
    /// How large it is; the room is taken from the disk at once, so that it cannot be missing later
    #[arg(long, value_name = "SIZE", default_value = "20G", value_parser = parse_size)]
    pub size: u64,
    /// The file that holds it [default: the data directory's name with `.xfs`]
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Do not add it to /etc/fstab; it then has to be mounted again after each start of the machine
    #[arg(long)]
    pub no_fstab: bool,
}

/// Reads `20G` or `500M`, in powers of 1024.
fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let shift = match unit.to_ascii_uppercase().as_str() {
        "M" | "MB" => 20,
        "G" | "GB" => 30,
        "T" | "TB" => 40,
        _ => return Err("a size is a number and M, G or T, as in 20G".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a size begins with a number")?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "this is larger than any disk".to_owned())
}

/// What concerns Local Lakebase, whoever starts it.
#[derive(Debug, clap::Args)]
struct LocalArgs {
    /// Directory for Local Lakebase's data [default: ~/.local/share/lakebase/local, or /var/lib/lakebase/local as root]
    #[arg(long, global = true, value_name = "DIR", env = "LAKEBASE_LOCAL_DIR")]
    local_dir: Option<PathBuf>,
    /// Directory with PostgreSQL's server binaries [default: found by itself]
    #[arg(long, global = true, value_name = "DIR", env = "LAKEBASE_PG_BINDIR")]
    pg_bindir: Option<PathBuf>,
    /// User name on Local Lakebase; branches are named after the part before the at sign [default: your login at localhost]
    #[arg(long, global = true, value_name = "NAME", env = "LAKEBASE_LOCAL_USER")]
    local_user: Option<String>,
    /// How many branches a project of Local Lakebase can have; the real service's limit is the default
    #[arg(long, global = true, value_name = "N", env = "LAKEBASE_LOCAL_BRANCH_LIMIT")]
    local_branch_limit: Option<usize>,
    /// How many computes of Local Lakebase run at once; one that nobody uses makes room for the next
    #[arg(long, global = true, value_name = "N", env = "LAKEBASE_LOCAL_COMPUTE_LIMIT")]
    local_compute_limit: Option<usize>,
    /// Of a hundred requests to Local Lakebase let so many fail on purpose, to see what bears it
    #[arg(
        long,
        global = true,
        value_name = "PERCENT",
        env = "LAKEBASE_LOCAL_FAILURES",
        default_value_t = 0,
        value_parser = clap::value_parser!(u8).range(..=90)
    )]
    local_failures: u8,
}

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub socket: PathBuf,
    /// The ledger, the lock and the log.
    pub state_dir: PathBuf,
    /// How changes in worktrees are noticed.
    pub watch: Watch,
    /// How often everything is looked at though nothing was heard of it.
    pub resync: Duration,
    /// Local Lakebase.
    pub local: local_lakebase::Config,
    /// The filter of the log.
    pub log: String,
    /// Whether to log to standard error too.
    pub log_stderr: bool,
    /// Where the metrics go.
    pub metrics: MetricsFile,
    /// How long a client may leave a stream unread.
    pub unread: Duration,
    /// Who is told how the daemon is.
    pub supervisor: Supervisor,
    /// What to run instead of the daemon.
    pub command: Option<Command>,
}

impl Config {
    /// Completes the arguments with what the environment says.
    ///
    /// # Errors
    /// When there is no home directory, or the socket's path is too long.
    pub fn load(args: Args) -> anyhow::Result<Self> {
        let dirs = etcetera::base_strategy::Xdg::new().context("cannot find the home directory")?;
        let state_home = dirs.state_dir().context("cannot find the state directory")?;
        let socket = match args.socket {
            Some(socket) => socket_path(&SocketEnv {
                lakebase_socket: Some(socket),
                ..SocketEnv::default()
            })?,
            None => socket_path(&SocketEnv::from_process())?,
        };
        let state_dir = args.state_dir.unwrap_or_else(|| state_home.join("lakebase"));
        let metrics = MetricsFile {
            path: args
                .metrics_file
                .unwrap_or_else(|| state_dir.join("metrics.prom")),
            period: args.pace.metrics_period,
        };
        Ok(Self {
            socket,
            state_dir,
            metrics,
            unread: args.pace.unread,
            supervisor: supervisor(),
            watch: args.watch,
            resync: Duration::from_secs(args.resync),
            local: args.local.complete(&dirs),
            log: args.log,
            log_stderr: args.log_stderr,
            command: args.command,
        })
    }
}

impl LocalArgs {
    fn complete(self, dirs: &impl BaseStrategy) -> local_lakebase::Config {
        let data_dir = self.local_dir.unwrap_or_else(|| {
            // PostgreSQL will not run as root, and root's home is closed to the user that it runs as.
            let is_root = rustix::process::geteuid().is_root();
            if is_root {
                "/var/lib/lakebase/local".into()
            } else {
                dirs.data_dir().join("lakebase/local")
            }
        });
        let defaults = Limits::default();
        local_lakebase::Config {
            data_dir,
            api_addr: ([127, 0, 0, 1], 0).into(),
            public_url: None,
            user_name: self
                .local_user
                .unwrap_or_else(|| format!("{}@localhost", login_name())),
            pg_bindir: self.pg_bindir,
            limits: Limits {
                unarchived_branches: self.local_branch_limit.unwrap_or(defaults.unarchived_branches),
                running_computes: self.local_compute_limit.unwrap_or(defaults.running_computes),
                failing_percent: self.local_failures,
                ..defaults
            },
        }
    }
}

/// What systemd says to a service of type `notify`.
fn supervisor() -> Supervisor {
    let usec = std::env::var("WATCHDOG_USEC").ok();
    Supervisor {
        notify_socket: std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()),
        watchdog: usec
            .and_then(|usec| usec.parse().ok())
            .filter(|usec| *usec > 0)
            .map(Duration::from_micros),
    }
}

/// Environment of the daemon that git gets: where programs and the user's configuration are.
///
/// Variables that name a repository or carry settings (`GIT_DIR`, `GIT_CONFIG_COUNT`, …) are meant
/// for another command.
pub(crate) fn git_env() -> impl Iterator<Item = (&'static str, OsString)> {
    [
        "PATH",
        "HOME",
        "XDG_CONFIG_HOME",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        // Git trusts the repositories of this user too when it runs as root.
        "SUDO_UID",
    ]
    .into_iter()
    .filter_map(|name| Some((name, std::env::var_os(name).or_else(|| home(name))?)))
}

/// The home directory by the account, where the environment has none: a shell of the user has one.
fn home(name: &str) -> Option<OsString> {
    let home = std::env::home_dir().filter(|_| name == "HOME")?;
    Some(home.into_os_string())
}

fn login_name() -> String {
    let named = ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|n| !n.is_empty()));
    let is_root = rustix::process::geteuid().is_root();
    named.unwrap_or_else(|| if is_root { "root".into() } else { "dev".into() })
}
