//! Tells which processes are concerned when files change. The only user of notify. What `.gitignore` names does not count,
//! except where the process's `watch` names it itself.

use ignore::WalkBuilder;
use ignore::gitignore::Gitignore;
use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Whoever saves one file often saves more.
const QUIET: Duration = Duration::from_millis(100);
const AT_MOST: Duration = Duration::from_secs(1);

/// What a process watches.
#[derive(Debug, Clone)]
pub(crate) struct Interest {
    pub(crate) process: usize,
    pub(crate) paths: Vec<PathBuf>,
}

/// Files and directories being watched.
#[derive(Debug)]
pub(crate) struct Watch {
    root: PathBuf,
    interests: Vec<Interest>,
    watcher: RecommendedWatcher,
    events: mpsc::UnboundedReceiver<notify::Result<Event>>,
}

/// A process, and one of the files that changed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) process: usize,
    pub(crate) path: PathBuf,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When a path is not there, or the system has no more watches.
    pub(crate) fn begin(root: &Path, interests: Vec<Interest>) -> anyhow::Result<Self> {
        let (sender, events) = mpsc::unbounded_channel();
        let watcher = notify::recommended_watcher(move |event| {
            // Nobody listens any more when the supervisor ends.
            sender.send(event).ok();
        })?;
        let mut watch = Self {
            root: root.to_owned(),
            interests,
            watcher,
            events,
        };
        let paths: BTreeSet<PathBuf> = watch
            .interests
            .iter()
            .flat_map(|interest| interest.paths.clone())
            .collect();
        for path in paths {
            let dir = if path.is_dir() {
                Some(path.as_path())
            } else {
                path.parent()
            };
            // A file that is saved anew is another file, so its directory is watched.
            watch.add(dir.unwrap_or(root), path.is_dir())?;
        }
        Ok(watch)
    }

    /// Waits for the next changes. Never ends without one.
    pub(crate) async fn changes(&mut self) -> Vec<Change> {
        loop {
            let events = self.burst().await;
            let is_lost = |event: &notify::Result<Event>| event.as_ref().map_or(true, Event::need_rescan);
            if events.iter().any(is_lost) {
                // Something happened, and nobody can say what.
                let change = |interest: &Interest| Change {
                    process: interest.process,
                    path: self.root.clone(),
                };
                return self.interests.iter().map(change).collect();
            }
            let touched = events
                .into_iter()
                .flatten()
                .filter(|event| !matches!(event.kind, EventKind::Access(_)));
            let mut paths = BTreeSet::new();
            for event in touched {
                for path in &event.paths {
                    if is_arrival(event.kind) && self.is_to_be_watched(path) {
                        // It may be gone again. What is in it already has come without an event of its own.
                        paths.extend(self.add(path, true).unwrap_or_default());
                    }
                }
                paths.extend(event.paths);
            }
            let changes: Vec<Change> = self
                .interests
                .iter()
                .filter_map(|interest| self.change_for(interest, &paths))
                .collect();
            if !changes.is_empty() {
                return changes;
            }
        }
    }

    fn change_for(&self, interest: &Interest, paths: &BTreeSet<PathBuf>) -> Option<Change> {
        let counts = |path: &&PathBuf| {
            let named = interest
                .paths
                .iter()
                .any(|watched| watched == *path && !path.is_dir());
            let inside = interest.paths.iter().any(|watched| path.starts_with(watched));
            named || (inside && !path.is_dir() && !is_scratch(path) && !is_ignored(&self.root, path))
        };
        let path = paths.iter().find(counts)?;
        let path = path.strip_prefix(&self.root).unwrap_or(path).to_owned();
        Some(Change {
            process: interest.process,
            path,
        })
    }

    /// The events up to a moment of quiet.
    async fn burst(&mut self) -> Vec<notify::Result<Event>> {
        let Some(first) = self.events.recv().await else {
            // The watcher is in `self`, so it still sends.
            return std::future::pending().await;
        };
        let mut events = vec![first];
        let last = Instant::now() + AT_MOST;
        while let Ok(Some(event)) = timeout_at((Instant::now() + QUIET).min(last), self.events.recv()).await {
            events.push(event);
        }
        events
    }

    fn is_to_be_watched(&self, path: &Path) -> bool {
        let mut watched = self.interests.iter().flat_map(|interest| &interest.paths);
        path.is_dir() && !is_ignored(&self.root, path) && watched.any(|watched| path.starts_with(watched))
    }

    /// Watches a directory, and returns the files in it.
    fn add(&mut self, dir: &Path, with_those_in_it: bool) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let depth = (!with_those_in_it).then_some(0);
        let walk = WalkBuilder::new(dir)
            .hidden(false)
            .require_git(false)
            .max_depth(depth)
            .filter_entry(|entry| entry.file_name() != ".git")
            .build();
        for entry in walk {
            let entry = entry?;
            if entry.file_type().is_some_and(|kind| kind.is_dir()) {
                self.watcher.watch(entry.path(), RecursiveMode::NonRecursive)?;
            } else {
                files.push(entry.into_path());
            }
        }
        Ok(files)
    }
}

/// Whether something is there that was not before.
fn is_arrival(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// Whether a `.gitignore` between the root and the path names the path, or a directory above it.
fn is_ignored(root: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(root) else {
        return false;
    };
    if inside.components().any(|part| part.as_os_str() == ".git") {
        return true;
    }
    // The nearest file that has a word about it decides.
    for dir in path.ancestors().skip(1).take_while(|dir| dir.starts_with(root)) {
        let (rules, _) = Gitignore::new(dir.join(".gitignore"));
        match rules.matched_path_or_any_parents(path, path.is_dir()) {
            ignore::Match::Ignore(_) => return true,
            ignore::Match::Whitelist(_) => return false,
            ignore::Match::None => {}
        }
    }
    false
}

/// Whether an editor keeps its own state there.
fn is_scratch(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with('~')
        || name.ends_with(".swp")
        || name.ends_with(".swx")
        || name.starts_with(".#")
        || name == "4913"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_git_ignores_is_ignored() {
        let dir = tempfile::tempdir().expect("temp dir");
        let root = dir.path();
        fs::create_dir_all(root.join("src/gen/deep")).expect("mkdir");
        fs::write(root.join(".gitignore"), "*.log\n/src/gen\n").expect("write");
        fs::write(root.join("src/.gitignore"), "!kept.log\n").expect("write");
        let ignored = |path: &str| is_ignored(root, &root.join(path));
        assert!(ignored("src/x.log"));
        assert!(ignored("src/gen/deep/x.rs"));
        assert!(ignored(".git/index"));
        assert!(!ignored("src/x.rs"));
        assert!(!ignored("src/kept.log"));
    }
}
