//! Tokens that programs keep for people: the Databricks CLI and Azure's. They run without a terminal, with a small environment,
//! for a limited time, and what they print is read with a limit.

use std::fs::{DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tracing::warn;

use super::azure::DATABRICKS;
use super::{MAX_ANSWER, Token};
use crate::auth::origin::Origin;
use crate::auth::sign_in::{DatabricksCli, SignInError, Variables};
use crate::resource::credential::read_token;

/// How long a program may take. The keyring is given three seconds by the CLI, the network more.
const RUN: Duration = Duration::from_secs(30);
/// How long to wait for other processes that ask for a token.
const TURN: Duration = Duration::from_secs(40);
const TURN_CHECK: Duration = Duration::from_millis(50);
/// The oldest Databricks CLI that is asked.
const LEAST: (u32, u32) = (0, 287);
const LEAST_TEXT: &str = "0.287";
const INSTALL_DATABRICKS: &str =
    "install the Databricks CLI (https://docs.databricks.com/dev-tools/cli/install)";
const INSTALL_AZURE: &str = "install the Azure CLI (https://learn.microsoft.com/cli/azure/install-azure-cli)";

/// What a program said.
struct Said {
    is_good: bool,
    out: Vec<u8>,
    err: String,
}

#[derive(Deserialize)]
struct DatabricksToken {
    #[serde(deserialize_with = "read_token")]
    access_token: SecretString,
    expiry: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
struct AzureToken {
    #[serde(rename = "accessToken", deserialize_with = "read_token")]
    access_token: SecretString,
    /// Seconds since 1970. Its older sibling `expiresOn` has no time zone.
    expires_on: Option<i64>,
}

pub(super) async fn databricks(cli: &DatabricksCli, origin: &Origin) -> Result<Token, SignInError> {
    let program = cli.program.display().to_string();
    let login = match cli.whose.each_ref().map(String::as_str) {
        ["--profile", name] => format!("databricks auth login --profile {name}"),
        _ => format!("databricks auth login --host {origin}"),
    };
    let run = async |arguments: &[&str]| {
        let hangs = || format!("run `{program} {}` in a terminal", arguments.join(" "));
        run(&cli.program, arguments, &cli.variables, INSTALL_DATABRICKS, hangs).await
    };
    check_version(&program, &run(&["--version"]).await?)?;
    let _turn = turn(cli.lock.as_deref()).await;
    let said = run(&["auth", "token", &cli.whose[0], &cli.whose[1]]).await?;
    if !said.is_good {
        return Err(denied(login, &said));
    }
    let token: DatabricksToken = serde_json::from_slice(&said.out).map_err(|_| gibberish(&program))?;
    Ok(Token {
        life: token.expiry.map(until),
        secret: token.access_token,
        workspace_id: None,
    })
}

pub(super) async fn azure(tenant: Option<&str>, variables: &Variables) -> Result<Token, SignInError> {
    let mut arguments = vec![
        "account",
        "get-access-token",
        "--resource",
        DATABRICKS,
        "--output",
        "json",
    ];
    arguments.extend(tenant.iter().flat_map(|tenant| ["--tenant", tenant]));
    let hangs = || "run `az account get-access-token` in a terminal".to_owned();
    let said = run(Path::new("az"), &arguments, variables, INSTALL_AZURE, hangs).await?;
    if !said.is_good {
        return Err(denied("az login".to_owned(), &said));
    }
    let token: AzureToken = serde_json::from_slice(&said.out).map_err(|_| gibberish("az"))?;
    let end = token
        .expires_on
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    Ok(Token {
        life: end.map(until),
        secret: token.access_token,
        workspace_id: None,
    })
}

/// How long until a time by the wall clock. The only use of that clock in this crate: programs tell no other time.
fn until(end: DateTime<Utc>) -> Duration {
    #[expect(
        clippy::disallowed_methods,
        reason = "what a program prints is by the wall clock"
    )]
    let now = Utc::now();
    (end - now).to_std().unwrap_or_default()
}

fn check_version(program: &str, said: &Said) -> Result<(), SignInError> {
    let text = String::from_utf8_lossy(&said.out).into_owned();
    let version = text
        .split_whitespace()
        .map(|word| word.trim_start_matches('v'))
        .find_map(|word| {
            let mut numbers = word.split('.').map(str::parse::<u32>);
            Some((word.to_owned(), numbers.next()?.ok()?, numbers.next()?.ok()?))
        });
    match version {
        Some((_, major, minor)) if (major, minor) >= LEAST => Ok(()),
        Some((version, ..)) => Err(SignInError::TooOld {
            program: program.to_owned(),
            version,
            least: LEAST_TEXT,
        }),
        None => Err(gibberish(program)),
    }
}

/// What a program means that gave no token. Only its first words are kept: it may print what it was given.
fn denied(login: String, said: &Said) -> SignInError {
    let first = said
        .err
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("it gave no reason");
    let first: String = first.chars().take(200).collect();
    let lower = said.err.to_ascii_lowercase();
    if lower.contains("keyring") || lower.contains("secret service") || lower.contains("keychain") {
        let fix = format!("unlock the keyring, or run `DATABRICKS_AUTH_STORAGE=plaintext {login}`");
        return SignInError::Locked { fix, said: first };
    }
    SignInError::NotLoggedIn { login, said: first }
}

fn gibberish(program: &str) -> SignInError {
    SignInError::Odd {
        who: program.to_owned(),
        reason: "with something else than promised".to_owned(),
    }
}

/// Runs a program to its end.
async fn run(
    program: &Path,
    arguments: &[&str],
    variables: &Variables,
    install: &'static str,
    hangs: impl Fn() -> String,
) -> Result<Said, SignInError> {
    let name = program.display().to_string();
    let mut child = Command::new(found(program, variables))
        .args(arguments)
        .env_clear()
        .envs(&variables.0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|_| SignInError::NoProgram {
            program: name.clone(),
            fix: install,
        })?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (out, err, status) = tokio::join!(limited(out), limited(err), child.wait());
        let err = String::from_utf8_lossy(&err).into_owned();
        let is_good = status.is_ok_and(|status| status.success());
        Said { is_good, out, err }
    };
    tokio::time::timeout(RUN, work)
        .await
        .map_err(|_| SignInError::Hangs {
            program: name,
            fix: hangs(),
        })
}

/// The program by the path that it will run with, not by ours.
fn found(program: &Path, variables: &Variables) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    let path = variables.0.get("PATH").map(String::as_str).unwrap_or_default();
    let places = std::env::split_paths(path).map(|dir| dir.join(program));
    places
        .into_iter()
        .find(|place| place.is_file())
        .unwrap_or_else(|| program.to_owned())
}

/// Reads to the end, and keeps no more than a limit.
async fn limited(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut stream) = stream {
        drop((&mut stream).take(MAX_ANSWER as u64).read_to_end(&mut kept).await);
        drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
    }
    kept
}

/// Waits until no other process of this user asks. One that never ends does not hold us up for ever.
async fn turn(lock: Option<&Path>) -> Option<File> {
    let path = lock?;
    let mut dir = DirBuilder::new();
    dir.recursive(true).mode(0o700).create(path.parent()?).ok()?;
    // Any user who can open the file can hold its lock.
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(path).ok()?;
    file.set_permissions(Permissions::from_mode(0o600)).ok()?;
    let taken = async {
        while file.try_lock().is_err() {
            tokio::time::sleep(TURN_CHECK).await;
        }
    };
    if tokio::time::timeout(TURN, taken).await.is_err() {
        warn!(lock = %path.display(), "another process asks for a token for long; it is no longer waited for");
    }
    Some(file)
}
