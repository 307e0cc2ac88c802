//! PostgreSQL without a postmaster: one process that reads statements from its standard input. It has no socket, so no client
//! can reach a cluster whose owner has no password yet.
//!
//! <https://www.postgresql.org/docs/current/app-postgres.html#APP-POSTGRES-SINGLE-USER>

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Child;

use super::instance::Instance;
use super::sql;
use crate::engine::EngineError;
use crate::storage::program;

/// How long it may take, recovery from a crash included.
const PATIENCE: Duration = Duration::from_mins(2);

/// Gives the owner of a stopped cluster our password.
pub(super) async fn set_owner_password(instance: &Instance) -> Result<(), EngineError> {
    let child = program(&instance.postgres, "postgres", instance.layout.run_as())
        .args(["--single", "-D"])
        .arg(&instance.pgdata)
        .args([
            "-c",
            "exit_on_error=on",
            "-c",
            "log_statement=none",
            "-c",
            "log_min_error_statement=panic",
        ])
        .arg("postgres")
        .current_dir(&instance.pgdata)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let statement = sql::owner::set_password(instance.access.password());
    match tokio::time::timeout(PATIENCE, run(child, &statement)).await {
        Ok(ran) => ran,
        Err(_) => Err(failed(format!("it did not end within {PATIENCE:?}"))),
    }
}

async fn run(mut child: Child, statement: &str) -> Result<(), EngineError> {
    if let Some(mut stdin) = child.stdin.take()
        && let Err(error) = stdin.write_all(format!("{statement}\n").as_bytes()).await
    {
        // It exited early; its standard error has the reason.
        tracing::debug!(%error, "cannot write a statement");
    }
    let output = child.wait_with_output().await;
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(said.lines().next_back().unwrap_or_default().to_owned()))
}

fn failed(said: String) -> EngineError {
    EngineError::Program {
        program: "postgres --single",
        said,
    }
}
