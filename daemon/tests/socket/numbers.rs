//! What the daemon counts, and what the system counts of it.

use crate::world::World;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The metrics as they were written last; empty before the first time.
pub(crate) fn metrics(world: &World) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(world.path("state/metrics.prom")).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pair = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    lines.filter_map(pair).collect()
}

pub(crate) fn metric(world: &World, name: &str) -> u64 {
    metrics(world).get(name).copied().unwrap_or_default()
}

/// Resident memory in kB.
pub(crate) fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.expect("it has memory").split_whitespace().next();
    number.expect("a number").parse().expect("a number")
}

/// What it has used of a processor since it began.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, rest) = stat.rsplit_once(')').expect("the name is in brackets");
    let fields: Vec<u64> = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse().expect("a number"))
        .collect();
    // The unit is a hundredth of a second on every Linux of today.
    Duration::from_millis((fields[0] + fields[1]) * 10)
}
