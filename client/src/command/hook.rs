//! `lakebase hook`: puts git's post-checkout hook in its place, or takes it away. (`lakebase hook post-checkout` is the hook
//! itself, see `crate::hook`.)

use crate::connect::Session;
use crate::here;
use crate::hook_file::{self, Outcome};
use crate::terminal::{self, Output};
use crate::text::plain;
use lakebase_proto::v1::Repository;
use serde::Serialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Link `post-checkout` in this repository's hooks directory to `lakebase-hook`
    Install,
    /// Remove that link; a hook of somebody else's stays
    Uninstall,
    /// The hook itself, for hook managers: lakebase hook post-checkout "$@"
    PostCheckout {
        /// Git's arguments: previous HEAD, new HEAD, 1 for a checkout of a git branch
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// What `--json` prints about the hook.
#[derive(Debug, Serialize)]
pub(crate) struct Hook {
    path: PathBuf,
    state: &'static str,
}

pub(crate) async fn run(command: &Command, output: Output) -> anyhow::Result<()> {
    let install = match command {
        Command::PostCheckout { args } => crate::hook::run(args),
        Command::Install => true,
        Command::Uninstall => false,
    };
    let repository = repository().await?;
    let place = hook_file::place(&repository.hooks_dir);
    let outcome = if install {
        install_at(&place)?
    } else {
        hook_file::uninstall(&place).map_err(|error| cannot("remove", &place, error))?
    };
    if output.is_json() {
        return Ok(terminal::print_json(&shown(&place, outcome))?);
    }
    terminal::print(told(&place, outcome))?;
    if outcome == Outcome::Foreign && install {
        advise();
    }
    Ok(())
}

async fn repository() -> anyhow::Result<Repository> {
    let mut session = Session::open().await?;
    let cwd = here::cwd()?;
    // An error when it is not registered; registering is for `init`, and here only returns what is known.
    session.worktrees(Some(&cwd)).await?;
    Ok(session.register(&cwd).await?)
}

/// Puts the link in its place.
pub(crate) fn install_at(place: &Path) -> anyhow::Result<Outcome> {
    let binary = hook_file::binary()?;
    hook_file::install(place, &binary).map_err(|error| cannot("install", place, error))
}

fn cannot(verb: &str, place: &Path, error: std::io::Error) -> anyhow::Error {
    anyhow::Error::from(error).context(format!("cannot {verb} hook `{}`", place.display()))
}

pub(crate) fn shown(place: &Path, outcome: Outcome) -> Hook {
    let state = match outcome {
        Outcome::Installed => "installed",
        Outcome::Kept => "present",
        Outcome::Removed => "removed",
        Outcome::Absent => "absent",
        Outcome::Foreign => "foreign",
    };
    let path = place.to_owned();
    Hook { path, state }
}

pub(crate) fn told(place: &Path, outcome: Outcome) -> String {
    let place = plain(&place.to_string_lossy());
    match outcome {
        Outcome::Installed => format!("{place} (installed)"),
        Outcome::Kept => format!("{place} (there already)"),
        Outcome::Removed => format!("{place} (removed)"),
        Outcome::Absent => format!("{place} (not there)"),
        Outcome::Foreign => format!("{place} (somebody else's; not touched)"),
    }
}

/// Says what somebody with a hook of their own can do.
pub(crate) fn advise() {
    let line = hook_file::LINE;
    terminal::hint(&format!(
        "the daemon notices checkouts by itself; to see its progress in git too, add to that hook: {line}"
    ));
}
