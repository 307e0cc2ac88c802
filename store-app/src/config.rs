//! Arguments and environment, parsed once into values. The only file that reads the environment; opens nothing.

use clap::{Args, Parser, Subcommand};
use lakebase_proto::{SocketEnv, SocketPathError, socket_path};
use secrecy::SecretString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

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
    /// The port on this machine alone, when no address is given.
    #[arg(long, env = "STORE_PORT", default_value_t = 0)]
    port: u16,
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
    /// How long to wait for lakebased and the branch before looking at `DATABASE_URL` and `PG*`; 0s does not ask.
    #[arg(long, value_name = "DURATION", env = "STORE_DAEMON_WAIT", default_value = "30s", value_parser = parse_duration)]
    daemon_wait: Duration,
}

/// What `serve` needs to know.
#[derive(Debug)]
pub struct Serve {
    /// Where to listen.
    pub addr: SocketAddr,
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
    /// What to use when it has nothing.
    pub environment: Environment,
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
        Ok(Self {
            addr: args.addr.unwrap_or_else(|| loopback(args.port)),
            source: args.source.try_into()?,
        })
    }
}

impl TryFrom<SourceArgs> for Source {
    type Error = io::Error;

    fn try_from(args: SourceArgs) -> io::Result<Self> {
        let here = args.worktree.unwrap_or_else(|| PathBuf::from("."));
        Ok(Self {
            socket: socket_path(&SocketEnv::from_process()),
            // The daemon has a current directory of its own: it must be told an absolute path.
            worktree: std::path::absolute(here)?,
            daemon_wait: args.daemon_wait,
            environment: Environment::pick(|name| std::env::var(name).ok()),
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
        assert_eq!(serve(&[]).source.daemon_wait, Duration::from_secs(30));
        assert_eq!(serve(&["--port", "81"]).port, 81);
        assert_eq!(
            serve(&["serve", "--addr", "0.0.0.0:81"]).addr,
            "0.0.0.0:81".parse().ok()
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
