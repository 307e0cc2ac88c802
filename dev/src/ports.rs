//! Which ports a worktree has: a block of ten that nobody else has, one of it for each process, kept for good.

use crate::place::{self, Place};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::{fs, io};

/// Below the ephemeral ports of Linux (32768) and of macOS (49152), above what services have.
const FIRST: u16 = 20_000;
const BLOCKS: u16 = 1_200;
const BLOCK: u16 = 10;

/// What each worktree has, by its key.
type Registry = BTreeMap<String, Entry>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    root: PathBuf,
    /// The first port of its block.
    first: u16,
    /// By process.
    ports: BTreeMap<String, u16>,
}

/// Returns the port of each of the processes. To be called while none of them runs.
///
/// # Errors
/// When the registry cannot be read or written, or no port is free.
pub(crate) fn of(place: &Place, names: &[&str]) -> anyhow::Result<BTreeMap<String, u16>> {
    let _lock = place::lock(&place.ports_lock()).context("cannot lock the ports")?;
    let mut registry = load(place)?;
    registry.retain(|key, entry| *key == place.key || entry.root.exists());
    let entry = choose(&registry, place, names, is_free).context("cannot find free ports")?;
    let ports = entry.ports.clone();
    if registry.insert(place.key.clone(), entry.clone()) != Some(entry) {
        save(place, &registry).context("cannot record the ports")?;
    }
    Ok(ports
        .into_iter()
        .filter(|(name, _)| names.contains(&name.as_str()))
        .collect())
}

fn load(place: &Place) -> anyhow::Result<Registry> {
    let path = place.ports_file();
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Registry::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    };
    serde_json::from_slice(&text).with_context(|| format!("cannot read `{}`", path.display()))
}

fn save(place: &Place, registry: &Registry) -> io::Result<()> {
    let path = place.ports_file();
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec_pretty(registry)?)?;
    fs::rename(new, path)
}

/// Keeps what the worktree has, as far as it is free, and finds the rest in its block, else in the next one.
fn choose(
    registry: &Registry,
    place: &Place,
    names: &[&str],
    is_free: impl Fn(u16) -> bool,
) -> Option<Entry> {
    let had = registry.get(&place.key);
    let begin = had.map_or_else(
        || block_of(&place.key),
        |entry| (entry.first - FIRST) / BLOCK % BLOCKS,
    );
    let is_others = |first: u16| {
        registry
            .iter()
            .any(|(key, entry)| *key != place.key && entry.first == first)
    };
    let blocks = (0..BLOCKS).map(|step| FIRST + (begin + step) % BLOCKS * BLOCK);
    blocks.filter(|first| !is_others(*first)).find_map(|first| {
        let kept = had.filter(|entry| entry.first == first).map(|entry| &entry.ports);
        let ports = within(first, kept, names, &is_free)?;
        Some(Entry {
            root: place.root.clone(),
            first,
            ports,
        })
    })
}

fn within(
    first: u16,
    kept: Option<&BTreeMap<String, u16>>,
    names: &[&str],
    is_free: impl Fn(u16) -> bool,
) -> Option<BTreeMap<String, u16>> {
    // Also those of processes that the file does not name at the moment, as long as there is room.
    let mut ports = kept.cloned().unwrap_or_default();
    ports.retain(|name, port| !names.contains(&name.as_str()) || is_free(*port));
    for name in names {
        if ports.contains_key(*name) {
            continue;
        }
        let find = |ports: &BTreeMap<String, u16>| {
            (first..first + BLOCK).find(|port| !ports.values().any(|taken| taken == port) && is_free(*port))
        };
        let port = find(&ports).or_else(|| {
            ports.retain(|name, _| names.contains(&name.as_str()));
            find(&ports)
        })?;
        ports.insert((*name).to_owned(), port);
    }
    Some(ports)
}

/// Where to begin to look: mostly another place for each worktree, so that a lost registry gives the same ports again.
fn block_of(key: &str) -> u16 {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u16::try_from(hash % u64::from(BLOCKS)).unwrap_or(0)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
        && !TcpListener::bind(("::1", port)).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &tempfile::TempDir, name: &str) -> Place {
        Place::for_test(dir.path().join(name), name)
    }

    #[test]
    fn a_taken_port_is_stepped_over_and_the_choice_is_kept() {
        let dir = tempfile::tempdir().expect("temp dir");
        let place = place(&dir, "a");
        let mut registry = Registry::new();
        let first = choose(&registry, &place, &["x", "y"], |_| true).expect("all are free");
        assert_eq!(first.ports["y"], first.ports["x"] + 1);
        registry.insert("a".into(), first.clone());
        let taken = first.ports["x"];
        let second = choose(&registry, &place, &["x", "y"], |port| port != taken).expect("nine are free");
        assert_eq!(second.ports["y"], first.ports["y"]);
        assert_eq!(second.ports["x"], taken + 2);
        registry.insert("a".into(), second.clone());
        assert_eq!(choose(&registry, &place, &["x", "y"], |_| true), Some(second));
    }

    #[test]
    fn no_two_worktrees_share_a_block() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut registry = Registry::new();
        for number in 0..BLOCKS {
            let name = format!("w{number}");
            let entry = choose(&registry, &place(&dir, &name), &["x"], |_| true).expect("there is a block");
            assert!(
                registry.values().all(|other| other.first != entry.first),
                "{entry:?}"
            );
            assert!((20_000..32_000).contains(&entry.ports["x"]));
            registry.insert(name, entry);
        }
        assert_eq!(choose(&registry, &place(&dir, "late"), &["x"], |_| true), None);
    }

    #[test]
    fn a_block_that_is_full_of_strangers_is_left() {
        let dir = tempfile::tempdir().expect("temp dir");
        let place = place(&dir, "a");
        let begin = FIRST + block_of("a") * BLOCK;
        let entry = choose(&Registry::new(), &place, &["x"], |port| {
            port >= begin + BLOCK || port < begin
        });
        assert_ne!(entry.expect("there are others").first, begin);
    }
}
