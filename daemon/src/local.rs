//! Local Lakebase in the foreground, without the daemon: started, told about on standard output, stopped.

use anyhow::Context;
use local_lakebase::{Config, LocalLakebase, StartError};
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use tokio_util::sync::CancellationToken;

/// Serves until `stop`.
///
/// # Errors
/// What keeps it from serving, and what a person can do about it.
pub(crate) async fn serve(config: Config, listen: SocketAddr, stop: CancellationToken) -> anyhow::Result<()> {
    let config = Config {
        api_addr: listen,
        ..config
    };
    let local = match LocalLakebase::start(config).await {
        Ok(local) => local,
        Err(StartError::InUse(dir)) => anyhow::bail!(in_use(&dir)),
        Err(StartError::NoPostgres { fix }) => anyhow::bail!("cannot find a usable PostgreSQL: {fix}"),
        Err(error) => {
            return Err(match error.required_action() {
                Some(fix) => anyhow::anyhow!("{error}\nhint: {fix}"),
                None => error.into(),
            });
        }
    };
    let told = std::io::stdout()
        .write_all(exports(&local).as_bytes())
        .context("cannot write to standard output");
    for problem in local.problems() {
        tracing::warn!(fix = problem.fix, "{}", problem.message);
    }
    if told.is_ok() {
        stop.cancelled().await;
    }
    local.stop().await;
    told
}

/// What a shell evaluates to use this server with any tool of Databricks.
fn exports(local: &LocalLakebase) -> String {
    let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    format!(
        "# Local Lakebase over PostgreSQL {version}. Ctrl-C ends it.\n\
         export LAKEBASE_LOCAL_URL={url}\n\
         export LAKEBASE_LOCAL_CA={ca}\n\
         export DATABRICKS_CONFIG_FILE={file}\n\
         export DATABRICKS_CONFIG_PROFILE=local\n",
        version = local.postgres_version(),
        url = local.api_url(),
        ca = quoted(local.ca_file()),
        file = quoted(local.databricks_config_file()),
    )
}

fn in_use(dir: &Path) -> String {
    let file = dir.join("databrickscfg");
    format!(
        "Local Lakebase runs on `{dir}` already, as the daemon's or on its own; use it with \
         `export DATABRICKS_CONFIG_FILE={file} DATABRICKS_CONFIG_PROFILE=local`, or choose another --local-dir",
        dir = dir.display(),
        file = file.display(),
    )
}
