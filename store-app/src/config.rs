//! Arguments and environment, parsed once into values. The only file that reads the environment; opens nothing.

use clap::{Args, Parser, Subcommand};
use lakebase_api::{DEFAULT_PORT, Origin};
use lakebase_proto::{SocketEnv, SocketPathError, socket_path};
use secrecy::SecretString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The variable that only a deployed app has.
const APP_PORT: &str = "DATABRICKS_APP_PORT";
/// How long to wait for lakebased where there can be one.
const DAEMON_WAIT: Duration = Duration::from_secs(30);
/// The database that every branch of the service has.
const DATABASE: &str = "databricks_postgres";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "store-app", version, about, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

impl Cli {
    /// Returns what to do: `serve`, unless another command is named.
    pub fn command(self) -> Command {
        self.command.unwrap_or(Command::Serve(self.serve))
    }
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the store (the default).
    Serve(ServeArgs),
    /// Bring the database of this worktree up to the newest schema, and end.
    Migrate(MigrateArgs),
    /// Print the OpenAPI document, from which the front end's client is made.
    Openapi,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to listen: ADDRESS:PORT, or a port on this machine alone. Port 0 takes a free one.
    #[arg(long, env = "STORE_ADDR", value_parser = parse_addr)]
    addr: Option<SocketAddr>,
    /// The port on this machine alone, when no address is given [default: any that is free].
    #[arg(long, env = "STORE_PORT")]
    port: Option<u16>,
    /// The port of a deployed app, open to the platform's other machines, when neither of the above is given.
    #[arg(long, hide = true, env = APP_PORT)]
    app_port: Option<u16>,
    /// How long a connection to the database is used before another one takes its place.
    #[arg(long, value_name = "DURATION", env = "STORE_DB_CONNECTION_LIFE", default_value = "30m", value_parser = parse_life)]
    connection_life: Duration,
    #[command(flatten)]
    source: SourceArgs,
}

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Run the migrations in this directory, not those that the program was built with.
    #[arg(long, value_name = "DIRECTORY")]
    pub source: Option<PathBuf>,
    #[command(flatten)]
    /// Where the database is.
    pub database: SourceArgs,
}

/// Arguments that say where the credential comes from.
#[derive(Debug, Args)]
pub struct SourceArgs {
    /// The worktree whose branch to use [default: the current directory].
    #[arg(long, value_name = "PATH")]
    worktree: Option<PathBuf>,
    /// How long to wait for lakebased and the branch; 0s does not ask [default: 30s; 0s in a deployed app]. Only where
    /// lakebased is away or the repository is not registered count `STORE_DB_OAUTH_ENDPOINT`, then `DATABASE_URL` and `PG*`.
    #[arg(long, value_name = "DURATION", env = "STORE_DAEMON_WAIT", value_parser = parse_duration)]
    daemon_wait: Option<Duration>,
}

/// What `serve` needs to know.
#[derive(Debug)]
pub struct Serve {
    /// Where to listen.
    pub addr: SocketAddr,
    /// How long a connection to the database is used.
    pub connection_life: Duration,
    /// The workspace that knows the people whose access tokens are forwarded; only in a deployed app.
    pub people: Option<Origin>,
    /// Where the credential comes from.
    pub source: Source,
}

/// Where the credential comes from, in the order of trying.
#[derive(Debug)]
pub struct Source {
    /// The daemon's socket.
    pub socket: Result<PathBuf, SocketPathError>,
    /// The worktree to ask it for.
    pub worktree: PathBuf,
    /// How long to wait for it.
    pub daemon_wait: Duration,
    /// What to use when it has nothing: a database of the workspace.
    pub oauth: Option<OAuth>,
    /// What to use when there is none.
    pub environment: Environment,
}

/// The variables that name a database of the workspace, as they were found. The module `workspace` makes sense of them.
#[derive(Debug, Clone)]
pub struct OAuth {
    /// `STORE_DB_OAUTH_ENDPOINT`.
    pub endpoint: String,
    /// `STORE_DB_NAME`, else `PGDATABASE`, which the platform sets, else the one that every branch has.
    pub database: String,
    /// `STORE_DB_SCHEMA`: where the tables are, which is made if it is not there. A service principal may make schemas, and
    /// no tables in `public`.
    pub schema: Option<String>,
    /// `PGHOST`, for a service principal that may use the endpoint and not look at it.
    pub host: Option<String>,
    /// `PGPORT`, for the same.
    pub port: u16,
    /// `PGSSLMODE`.
    pub sslmode: Option<String>,
    /// `PGSSLROOTCERT`.
    pub ssl_root_cert: Option<PathBuf>,
    /// `DATABRICKS_HOST`.
    pub workspace: Option<String>,
    /// `DATABRICKS_CLIENT_ID`.
    pub client_id: Option<String>,
    /// `DATABRICKS_CLIENT_SECRET`.
    pub client_secret: Option<SecretString>,
}

impl OAuth {
    /// Picks the variables out of an environment; `None` unless the endpoint is named.
    pub fn pick(var: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        Some(Self {
            endpoint: var("STORE_DB_OAUTH_ENDPOINT")?,
            database: var("STORE_DB_NAME")
                .or_else(|| var("PGDATABASE"))
                .unwrap_or_else(|| DATABASE.to_owned()),
            schema: var("STORE_DB_SCHEMA"),
            host: var("PGHOST"),
            port: var("PGPORT")
                .and_then(|port| port.parse().ok())
                .unwrap_or(DEFAULT_PORT),
            sslmode: var("PGSSLMODE"),
            ssl_root_cert: var("PGSSLROOTCERT").map(PathBuf::from),
            workspace: var("DATABRICKS_HOST"),
            client_id: var("DATABRICKS_CLIENT_ID"),
            client_secret: var("DATABRICKS_CLIENT_SECRET").map(SecretString::from),
        })
    }
}

/// The variables that name a database, as they were found. [`crate::credential`] makes sense of them.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `DATABASE_URL`: wins over the others.
    pub database_url: Option<SecretString>,
    /// `PGHOSTADDR`, else `PGHOST`.
    pub host: Option<String>,
    /// `PGPORT`.
    pub port: Option<String>,
    /// `PGDATABASE`.
    pub database: Option<String>,
    /// `PGUSER`.
    pub user: Option<String>,
    /// `PGPASSWORD`.
    pub password: Option<SecretString>,
    /// `PGSSLMODE`.
    pub sslmode: Option<String>,
    /// `PGSSLROOTCERT`.
    pub ssl_root_cert: Option<PathBuf>,
}

impl Environment {
    /// Picks the variables out of an environment; an empty one counts as not set.
    pub fn pick(var: impl Fn(&str) -> Option<String>) -> Self {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        Self {
            database_url: var("DATABASE_URL").map(SecretString::from),
            host: var("PGHOSTADDR").or_else(|| var("PGHOST")),
            port: var("PGPORT"),
            database: var("PGDATABASE"),
            user: var("PGUSER"),
            password: var("PGPASSWORD").map(SecretString::from),
            sslmode: var("PGSSLMODE"),
            ssl_root_cert: var("PGSSLROOTCERT").map(PathBuf::from),
        }
    }
}

impl TryFrom<ServeArgs> for Serve {
    type Error = io::Error;

    fn try_from(args: ServeArgs) -> io::Result<Self> {
        let deployed = args.app_port.is_some();
        Ok(Self {
            addr: args.listen_at(),
            connection_life: args.connection_life,
            people: std::env::var("DATABRICKS_HOST")
                .ok()
                .filter(|_| deployed)
                .and_then(|host| host.parse().ok()),
            source: args.source.resolve(deployed)?,
        })
    }
}

impl ServeArgs {
    /// Only who says so, or is deployed, is reached from other machines.
    fn listen_at(&self) -> SocketAddr {
        match (self.addr, self.port, self.app_port) {
            (Some(addr), _, _) => addr,
            (None, None, Some(port)) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
            (None, port, _) => loopback(port.unwrap_or(0)),
        }
    }
}

impl TryFrom<SourceArgs> for Source {
    type Error = io::Error;

    fn try_from(args: SourceArgs) -> io::Result<Self> {
        args.resolve(std::env::var_os(APP_PORT).is_some())
    }
}

impl SourceArgs {
    fn resolve(self, deployed: bool) -> io::Result<Source> {
        let here = self.worktree.unwrap_or_else(|| PathBuf::from("."));
        let wait = if deployed { Duration::ZERO } else { DAEMON_WAIT };
        let var = |name: &str| std::env::var(name).ok();
        Ok(Source {
            socket: socket_path(&SocketEnv::from_process()),
            // The daemon has a current directory of its own: it must be told an absolute path.
            worktree: std::path::absolute(here)?,
            daemon_wait: self.daemon_wait.unwrap_or(wait),
            oauth: OAuth::pick(var),
            environment: Environment::pick(var),
        })
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn parse_addr(text: &str) -> Result<SocketAddr, String> {
    text.parse::<u16>()
        .map(loopback)
        .or_else(|_| text.parse())
        .map_err(|_| "expected ADDRESS:PORT or a port".to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a number and a unit, as in 30s".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => number
            .checked_mul(60)
            .map(Duration::from_secs)
            .ok_or_else(|| "too long".to_owned()),
        _ => Err("expected the unit ms, s or m, as in 30s".to_owned()),
    }
}

fn parse_life(text: &str) -> Result<Duration, String> {
    let life = parse_duration(text)?;
    if life.is_zero() {
        return Err("a connection must live longer than that; 30m is usual".to_owned());
    }
    Ok(life)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(args: &[&str]) -> ServeArgs {
        let line = std::iter::once("store-app").chain(args.iter().copied());
        match Cli::parse_from(line).command() {
            Command::Serve(args) => args,
            Command::Migrate(_) | Command::Openapi => panic!("expected serve"),
        }
    }

    #[test]
    fn serve_is_what_it_does_unless_told_otherwise() {
        assert_eq!(serve(&[]).source.daemon_wait, None);
        assert_eq!(serve(&["--port", "81"]).port, Some(81));
        assert_eq!(
            serve(&["serve", "--addr", "0.0.0.0:81"]).addr,
            "0.0.0.0:81".parse().ok()
        );
    }

    #[test]
    fn only_a_deployed_app_is_reached_from_other_machines() {
        let listen_at = |args: &[&str]| serve(args).listen_at().to_string();
        assert_eq!(listen_at(&[]), "127.0.0.1:0");
        assert_eq!(listen_at(&["--app-port", "8000"]), "0.0.0.0:8000");
        assert_eq!(listen_at(&["--app-port", "8000", "--port", "81"]), "127.0.0.1:81");
        assert_eq!(listen_at(&["--app-port", "8000", "--addr", "82"]), "127.0.0.1:82");
    }

    #[test]
    fn a_deployed_app_does_not_wait_for_a_daemon() {
        let wait = |args: &[&str], deployed| {
            serve(args)
                .source
                .resolve(deployed)
                .expect("a directory")
                .daemon_wait
        };
        assert_eq!(wait(&[], false), Duration::from_secs(30));
        assert_eq!(wait(&[], true), Duration::ZERO);
        assert_eq!(wait(&["--daemon-wait", "5s"], true), Duration::from_secs(5));
    }

    #[test]
    fn a_database_of_the_workspace_is_named_by_its_endpoint() {
        let pick = |vars: &[(&str, &str)]| {
            let var = |name: &str| {
                vars.iter()
                    .find(|(it, _)| *it == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            OAuth::pick(var)
        };
        assert!(pick(&[("PGHOST", "h"), ("STORE_DB_OAUTH_ENDPOINT", "")]).is_none());
        let endpoint = ("STORE_DB_OAUTH_ENDPOINT", "projects/shop/branches/b/endpoints/e");
        let database = |vars: &[(&str, &str)]| pick(&[&[endpoint], vars].concat()).expect("named").database;
        assert_eq!(database(&[]), "databricks_postgres");
        assert_eq!(database(&[("PGDATABASE", "shop")]), "shop");
        assert_eq!(
            database(&[("PGDATABASE", "shop"), ("STORE_DB_NAME", "mine")]),
            "mine"
        );
    }

    #[test]
    fn a_bare_port_is_on_this_machine_alone() {
        assert_eq!(serve(&["--addr", "8080"]).addr, "127.0.0.1:8080".parse().ok());
        assert!(parse_addr("70000").is_err());
        assert!(parse_addr("nowhere").is_err());
    }

    #[test]
    fn durations_carry_a_unit() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_mins(2)));
        for wrong in [
            "",
            "30",
            "s",
            "-1s",
            "1h",
            "99999999999999999999s",
            "18446744073709551615m",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_connection_lives() {
        assert_eq!(parse_life("1ms"), Ok(Duration::from_millis(1)));
        assert!(parse_life("0s").is_err_and(|why| why.contains("longer")));
        assert!(parse_life("30").is_err());
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let found = Environment::pick(|name| (name == "PGHOST").then(String::new));
        assert_eq!(found.host, None);
    }

    #[test]
    fn passwords_do_not_show() {
        let found = Environment::pick(|_| Some("hunter2".to_owned()));
        let shown = format!("{:?}{:?}", found.password, found.database_url);
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
