//! The processes of this machine: which there are, whose they are, and how their groups are ended.

use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long a group has to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// How long the kernel has to end it after that.
const KILL_GRACE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

/// A process that is not yet dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) group: i32,
    /// Its session, where the system tells.
    pub(crate) session: Option<i32>,
    /// When it was started: with the pid it names a process for as long as the machine runs.
    pub(crate) started: String,
}

/// Returns the processes that live.
#[cfg(target_os = "linux")]
pub(crate) fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter_map(|name| process(name.parse().ok()?)).collect()
}

/// Returns one process, if it lives.
#[cfg(target_os = "linux")]
pub(crate) fn process(pid: i32) -> Option<Process> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name is in parentheses, and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    let mut number = |nth: usize| fields.nth(nth);
    let group = number(1)?.parse().ok()?;
    let session = number(0)?.parse().ok();
    let started = number(15)?.to_owned();
    Some(Process {
        pid,
        group,
        session,
        started,
    })
}

/// Whether the process was started with this in its environment.
#[cfg(target_os = "linux")]
pub(crate) fn carries(pid: i32, variable: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|one| one == variable.as_bytes())
}

/// Returns the processes that live.
#[cfg(not(target_os = "linux"))]
pub(crate) fn processes() -> Vec<Process> {
    let text = ps(&["-axo", "pid=,pgid=,state=,lstart="]);
    text.lines().filter_map(parse_ps).collect()
}

/// Returns one process, if it lives.
#[cfg(not(target_os = "linux"))]
pub(crate) fn process(pid: i32) -> Option<Process> {
    parse_ps(
        ps(&["-o", "pid=,pgid=,state=,lstart=", "-p", &pid.to_string()])
            .lines()
            .next()?,
    )
}

/// Whether the process was started with this in its environment.
#[cfg(not(target_os = "linux"))]
pub(crate) fn carries(pid: i32, variable: &str) -> bool {
    let text = ps(&["-Eww", "-o", "command=", "-p", &pid.to_string()]);
    text.split_whitespace().any(|word| word == variable)
}

#[cfg(not(target_os = "linux"))]
fn ps(args: &[&str]) -> String {
    let out = std::process::Command::new("ps").args(args).output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned())
        .unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn parse_ps(line: &str) -> Option<Process> {
    let mut fields = line.split_whitespace();
    let pid = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let state = fields.next()?;
    let started = fields.collect::<Vec<_>>().join(" ");
    (!state.starts_with('Z')).then_some(Process {
        pid,
        group,
        session: None,
        started,
    })
}

/// Asks groups to end, and ends what has not after a while. Waits until nobody is left in them.
pub(crate) async fn end(groups: &BTreeSet<i32>) {
    for (name, grace) in [(Signal::TERM, GRACE), (Signal::KILL, KILL_GRACE)] {
        signal(groups, name);
        let deadline = Instant::now() + grace;
        while is_anybody_in(groups) {
            if Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether a group has a member that lives. A group of dead ones waits for its parent, and holds nothing.
fn is_anybody_in(groups: &BTreeSet<i32>) -> bool {
    let exists = |group: &i32| {
        Pid::from_raw(*group).is_some_and(|pid| rustix::process::test_kill_process_group(pid).is_ok())
    };
    groups.iter().any(exists) && processes().iter().any(|process| groups.contains(&process.group))
}

fn signal(groups: &BTreeSet<i32>, name: Signal) {
    for group in groups.iter().filter(|group| **group > 1) {
        if let Some(group) = Pid::from_raw(*group) {
            // One that is gone is what we want.
            kill_process_group(group, name).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_those_that_live() {
        let own = i32::try_from(std::process::id()).expect("pids are small");
        let found = processes()
            .into_iter()
            .find(|process| process.pid == own)
            .expect("we live");
        assert_eq!(process(own).as_ref(), Some(&found));
        assert_eq!(found.group, rustix::process::getpgrp().as_raw_nonzero().get());
        assert!(!carries(own, "LAKEBASE_DEV=nobody"));
    }
}
