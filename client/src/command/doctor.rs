//! `lakebase doctor`: checks everything that this worktree needs, and says what to do about what is wrong. The daemon looks at
//! its side and asks the service; what lies between us and the daemon is looked at here.

use crate::connect::{self, Session};
use crate::failure::{Exit, Failure};
use crate::here;
use crate::json;
use crate::terminal::{self, Cell, Output};
use crate::text::plain;
use crate::words;
use lakebase_proto::v1::{Area, Check, CheckState};
use owo_colors::OwoColorize;
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const OURS: &str = env!("CARGO_PKG_VERSION");
const RESTART: &str = "run `lakebase down && lakebase up`";

#[derive(Debug, Serialize)]
struct Report {
    healthy: bool,
    checks: Vec<json::Check>,
}

pub(crate) async fn run(output: Output) -> anyhow::Result<()> {
    let checks = looked_at().await?;
    let failures = checks
        .iter()
        .filter(|it| it.state() == CheckState::Failure)
        .count();
    if output.is_json() {
        terminal::print_json(&Report {
            healthy: failures == 0,
            checks: checks.iter().map(json::Check::from).collect(),
        })?;
    } else {
        show(&checks)?;
    }
    match failures {
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Failed, "one check failed").into()),
        _ => Err(Failure::new(Exit::Failed, format!("{failures} checks failed")).into()),
    }
}

async fn looked_at() -> anyhow::Result<Vec<Check>> {
    let mut session = match Session::try_open(connect::PROMPT).await {
        Ok(session) => session,
        Err(failure) => {
            let fix = failure.advice().unwrap_or("run `lakebase up`").to_owned();
            let daemon = check("daemon", CheckState::Failure, failure.to_string(), &fix);
            return Ok([vec![daemon], socket().into_iter().collect(), vec![unseen()]].concat());
        }
    };
    let ledger = session.info.ledger_problem.as_ref();
    let ledger = ledger.map(|it| check("ledger", CheckState::Failure, it.message.clone(), &it.fix));
    let checks = ledger.into_iter().chain([daemon(&session), version(&session)]);
    let checks: Vec<_> = checks.collect();
    let theirs = match session.diagnose(&here::cwd()?).await {
        Ok(theirs) => theirs,
        Err(failure) => {
            let fix = failure.advice().unwrap_or(RESTART).to_owned();
            vec![check("answer", CheckState::Failure, failure.to_string(), &fix)]
        }
    };
    Ok([checks, socket().into_iter().collect(), theirs].concat())
}

fn check(name: &str, state: CheckState, message: String, fix: &str) -> Check {
    Check {
        area: Area::Program.into(),
        name: name.to_owned(),
        state: state.into(),
        message,
        fix: fix.to_owned(),
    }
}

fn daemon(session: &Session) -> Check {
    let message = format!("lakebased runs (pid {})", session.info.pid);
    check("daemon", CheckState::Ok, message, "")
}

fn version(session: &Session) -> Check {
    let theirs = &session.info.version;
    if let Some(warning) = connect::mismatch(session.info.protocol, theirs) {
        return check("version", CheckState::Warning, warning, RESTART);
    }
    if theirs != OURS {
        let message = format!("lakebase {OURS} and lakebased {theirs} differ, and speak the same contract");
        return check("version", CheckState::Warning, message, RESTART);
    }
    let message = format!("lakebase and lakebased are both {OURS}");
    check("version", CheckState::Ok, message, "")
}

/// Whether the socket is its owner's alone. None if there is none: then the daemon is what is missing.
fn socket() -> Option<Check> {
    let path = match connect::socket() {
        Ok(path) => path,
        Err(failure) => {
            return Some(check(
                "socket",
                CheckState::Failure,
                failure.to_string(),
                "set LAKEBASE_SOCKET",
            ));
        }
    };
    let meta = std::fs::symlink_metadata(&path).ok()?;
    let shown = path.display();
    let mode = meta.mode() & 0o777;
    let for_others = mode & 0o077;
    let is_ours = meta.uid() == rustix::process::geteuid().as_raw();
    if is_ours && for_others == 0 && is_kept(&path) {
        let message = format!("`{shown}` is for you alone (mode {mode:04o})");
        return Some(check("socket", CheckState::Ok, message, ""));
    }
    let message = format!("`{shown}` is not for you alone (mode {mode:04o})");
    Some(check("socket", CheckState::Failure, message, RESTART))
}

/// Whether nobody else can put another socket in its place.
fn is_kept(path: &Path) -> bool {
    let dir = path.parent().and_then(|dir| std::fs::metadata(dir).ok());
    // In a directory like /tmp only the owner of an entry can replace it.
    dir.is_some_and(|dir| dir.mode() & 0o022 == 0 || dir.mode() & 0o1000 != 0)
}

/// What only the daemon can look at.
fn unseen() -> Check {
    let message = "repository, sign-in and service are looked at by the daemon".to_owned();
    check("rest", CheckState::Skipped, message, "")
}

fn show(checks: &[Check]) -> anyhow::Result<()> {
    for (index, area) in words::AREAS.into_iter().enumerate() {
        let ours: Vec<_> = checks.iter().filter(|it| it.area() == area).collect();
        if ours.is_empty() {
            continue;
        }
        if index > 0 {
            terminal::print("")?;
        }
        terminal::print(words::area(area).bold())?;
        for line in lines(&ours) {
            terminal::print(format!("  {line}"))?;
        }
    }
    Ok(())
}

/// The checks in columns, each followed by what to do about it.
fn lines(checks: &[&Check]) -> Vec<String> {
    let row = |check: &&Check| {
        let state = check.state();
        vec![
            Cell::new(words::check_state(state), words::check_style(state)),
            plain(&check.name).into(),
            plain(&check.message).into(),
        ]
    };
    let rows: Vec<_> = checks.iter().map(row).collect();
    let fixes = checks.iter().map(|check| {
        let fix = Some(&check.fix).filter(|fix| !fix.is_empty());
        fix.map(|fix| format!("  {} {}", "fix:".cyan(), plain(fix)))
    });
    let lines = terminal::columns(&rows).into_iter().zip(fixes);
    lines
        .flat_map(|(line, fix)| std::iter::once(line).chain(fix))
        .collect()
}
