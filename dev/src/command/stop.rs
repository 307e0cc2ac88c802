//! `lakebase dev stop`: ends the supervisor and everything that it has running.

use crate::command::sweep_if_alone;
use crate::control::{Request, ask};
use crate::left::Run;
use crate::place::Place;
use crate::{system, terminal};
use anyhow::Context;
use serde::Serialize;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than its processes have to end.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Serialize)]
struct Stopped {
    /// Whether something ran.
    stopped: bool,
}

pub(crate) fn run(json: bool) -> anyhow::Result<()> {
    let stopped = stop(&Place::here()?)?;
    if json {
        return Ok(terminal::print_json(&Stopped { stopped })?);
    }
    terminal::print(if stopped { "stopped" } else { "nothing ran" })?;
    Ok(())
}

/// Ends everything; says whether there was something.
pub(super) fn stop(place: &Place) -> anyhow::Result<bool> {
    let _lock = place.command_lock().context("cannot lock the worktree's state")?;
    if let Some(left) = sweep_if_alone(place)? {
        return Ok(left > 0);
    }
    let deadline = Instant::now() + PATIENCE;
    // One that hangs is asked in vain.
    let mut is_asked = matches!(ask(place, &Request::Stop), Ok(Some(_)));
    while sweep_if_alone(place)?.is_none() {
        if !is_asked {
            is_asked = matches!(ask(place, &Request::Stop), Ok(Some(_)));
        }
        if Instant::now() >= deadline {
            kill_supervisor(place);
        }
        if Instant::now() >= deadline + PATIENCE {
            anyhow::bail!("cannot stop the supervisor: it holds its lock");
        }
        sleep(LOOK);
    }
    Ok(true)
}

/// Ends a supervisor that does not end itself. What it leaves is swept up.
fn kill_supervisor(place: &Place) {
    let Some(run) = Run::load(&place.run_file()) else {
        return;
    };
    let is_it = system::process(run.supervisor).is_some_and(|process| process.started == run.started);
    if let Some(pid) = rustix::process::Pid::from_raw(run.supervisor).filter(|_| is_it) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
}
