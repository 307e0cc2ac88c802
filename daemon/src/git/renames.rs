//! Which name a git branch has today that is gone under its old one. `git branch -m` takes the reflog along and writes into it
//! what it did; nothing else tells a renamed branch from one that was deleted beside a new one.

use daemon_core::Timestamp;
use daemon_core::ids::GitRef;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// How many reflogs are read at most, and how much of the end of each.
const MAX_LOGS: usize = 10_000;
const MAX_TAIL: u64 = 64 * 1024;
/// Directories in one another, as in `feature/x/y`.
const MAX_DEPTH: usize = 16;

/// A line of git's about a rename.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    at: i64,
    from: GitRef,
    to: GitRef,
}

/// Follows each of the missing refs from the time that it is known since. What cannot be read is left out: without a proof
/// nothing was renamed.
pub(super) fn follow(common_dir: &Path, missing: &BTreeMap<GitRef, Timestamp>) -> BTreeMap<GitRef, GitRef> {
    let Some(earliest) = missing.values().min() else {
        return BTreeMap::new();
    };
    let mut lines = vec![];
    let mut budget = MAX_LOGS;
    let logs = common_dir.join("logs/refs/heads");
    collect(&logs, earliest.timestamp(), MAX_DEPTH, &mut budget, &mut lines);
    // Lines of one second stay in the order of their file.
    lines.sort_by_key(|line| line.at);
    missing
        .iter()
        .filter_map(|(old, since)| Some((old.clone(), today(old, since.timestamp(), &lines)?)))
        .collect()
}

/// The last name that a chain of renames leads to.
fn today(old: &GitRef, since: i64, lines: &[Line]) -> Option<GitRef> {
    let mut name = old;
    for line in lines.iter().filter(|line| line.at >= since) {
        if &line.from == name {
            name = &line.to;
        }
    }
    (name != old).then(|| name.clone())
}

fn collect(dir: &Path, since: i64, depth: usize, budget: &mut usize, lines: &mut Vec<Line>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if *budget == 0 {
            return;
        }
        *budget -= 1;
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() && depth > 0 {
            collect(&entry.path(), since, depth - 1, budget, lines);
        } else if meta.is_file() && is_touched_since(&meta, since) {
            lines.extend(tail(&entry.path()).unwrap_or_default().lines().filter_map(parse));
        }
    }
}

fn is_touched_since(meta: &fs::Metadata, since: i64) -> bool {
    let since = UNIX_EPOCH + Duration::from_secs(since.try_into().unwrap_or_default());
    meta.modified().is_ok_and(|modified| modified >= since)
}

/// What a git branch was called before, the latest name first, as far as its own reflog tells.
pub(super) fn former_names(common_dir: &Path, name: &GitRef) -> Vec<GitRef> {
    let log = tail(&common_dir.join("logs").join(name.as_str())).unwrap_or_default();
    let mut former: Vec<GitRef> = vec![];
    for line in log.lines().rev().filter_map(parse) {
        if &line.to == former.last().unwrap_or(name) {
            former.push(line.from);
        }
    }
    former
}

/// When a reflog's line was written, by what it holds before its message.
pub(super) fn seconds(head: &str) -> Option<i64> {
    head.rsplit(' ').nth(1)?.parse().ok()
}

/// Reads the end of a reflog.
pub(super) fn tail(path: &Path) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_TAIL)))?;
    let mut bytes = vec![];
    file.take(MAX_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads `OLD NEW name <mail> SECONDS ZONE\tBranch: renamed refs/heads/a to refs/heads/b`.
fn parse(line: &str) -> Option<Line> {
    let (head, message) = line.split_once('\t')?;
    let (from, to) = message.strip_prefix("Branch: renamed ")?.split_once(" to ")?;
    Some(Line {
        at: seconds(head)?,
        from: GitRef::parse(from)?,
        to: GitRef::parse(to)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(short: &str) -> GitRef {
        GitRef::new(format!("refs/heads/{short}"))
    }

    fn line(at: i64, from: &str, to: &str) -> Line {
        Line {
            at,
            from: name(from),
            to: name(to),
        }
    }

    #[test]
    fn git_07_a_line_of_gits_is_read_and_others_are_not() {
        let text = "00 11 Jane D. <j@x> 1795439762 +0100\tBranch: renamed refs/heads/a to refs/heads/B/c";
        assert_eq!(parse(text), Some(line(1_795_439_762, "a", "B/c")));
        assert_eq!(
            parse("00 11 J <j@x> 1795439762 +0100\tcommit: renamed a to b"),
            None
        );
        assert_eq!(parse("Branch: renamed refs/heads/a to refs/heads/b"), None);
        let odd = "00 11 J <j@x> 1795439762 +0100\tBranch: renamed refs/heads/a to refs/heads/b..c";
        assert_eq!(parse(odd), None);
    }

    #[test]
    fn git_07_chains_are_followed_from_the_time_of_the_record() {
        let lines = [
            line(1, "a", "old"),
            line(5, "a", "b"),
            line(5, "b", "c"),
            line(6, "x", "a"),
        ];
        assert_eq!(today(&name("a"), 4, &lines), Some(name("c")));
        assert_eq!(today(&name("b"), 4, &lines), Some(name("c")));
        assert_eq!(today(&name("a"), 6, &lines), None);
        assert_eq!(today(&name("c"), 0, &lines), None);
    }
}
