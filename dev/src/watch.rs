//! Tells which processes are concerned when files change. The only user of notify. What `.gitignore` names does not count,
//! except the file or directory that the process's `watch` names itself.

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
    process: usize,
    paths: Vec<PathBuf>,
}

impl Interest {
    pub(crate) fn new(process: usize, root: &Path, paths: &[String]) -> Self {
        // Without a `.` or a slash at the end, as events name them.
        let path = |path: &String| root.join(path).components().collect();
        Self {
            process,
            paths: paths.iter().map(path).collect(),
        }
    }
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
    /// When the system has no more watches.
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
        for path in watch.named() {
            watch.arm(&path)?;
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
                if may_be_another(event.kind) {
                    for path in &event.paths {
                        // It may be gone again. What is in it already has come without an event of its own.
                        paths.extend(self.take_in(path).unwrap_or_default());
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
        let is_concerned = |path: &Path| {
            let by = |watched: &PathBuf| {
                let inside =
                    path.starts_with(watched) && !is_scratch(path) && !is_ignored(&self.root, watched, path);
                watched == path || inside
            };
            !path.is_dir() && interest.paths.iter().any(by)
        };
        let path = paths.iter().find(|path| is_concerned(path))?;
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

    /// All paths that processes name.
    fn named(&self) -> BTreeSet<PathBuf> {
        let paths = self.interests.iter().flat_map(|interest| &interest.paths);
        paths.cloned().collect()
    }

    /// Watches what a process names, if it is there, and the directories that lead to it: they tell when it is made, or made
    /// again, and a file that is saved anew is another file. Returns the files that are there.
    fn arm(&mut self, path: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let above: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|dir| dir.starts_with(&self.root))
            .collect();
        // From the root down: what is made after we looked for it is told by the one above.
        for dir in above.into_iter().rev() {
            self.watch(dir)?;
        }
        if path.is_dir() {
            self.add(path, path)
        } else {
            Ok(path.exists().then(|| path.to_owned()).into_iter().collect())
        }
    }

    /// Watches a directory that may have arrived, if somebody is concerned. Returns the files in it.
    fn take_in(&mut self, path: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        if !path.is_dir() {
            return Ok(files);
        }
        for named in self.named() {
            if named.starts_with(path) {
                files.extend(self.arm(&named)?);
            } else if path.starts_with(&named) && !is_ignored(&self.root, &named, path) {
                files.extend(self.add(&named, path)?);
            }
        }
        Ok(files)
    }

    /// Watches a directory, which is or is in one that a process names, and those below it. Returns the files in it.
    fn add(&mut self, named: &Path, dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let (root, named) = (self.root.clone(), named.to_owned());
        let is_dir = |entry: &ignore::DirEntry| entry.file_type().is_some_and(|kind| kind.is_dir());
        let walk = WalkBuilder::new(dir)
            .standard_filters(false)
            .filter_entry(move |entry| !is_dir(entry) || !is_ignored(&root, &named, entry.path()))
            .build();
        // What cannot be read, or is gone again, cannot be watched.
        for entry in walk.flatten() {
            // The first one may be a link to a directory.
            if entry.depth() == 0 || is_dir(&entry) {
                self.watch(entry.path())?;
            } else {
                files.push(entry.into_path());
            }
        }
        Ok(files)
    }

    fn watch(&mut self, dir: &Path) -> anyhow::Result<()> {
        match self.watcher.watch(dir, RecursiveMode::NonRecursive) {
            Err(error) if dir.is_dir() => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Whether there may be something under the path that was not there before. One that goes may have been put elsewhere
/// before, and another one taken its place: notify forgets that together with it.
fn may_be_another(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_))
    )
}

/// Whether git ignores the path, or a directory between it and the one that a process names. What git thinks of that one
/// itself is no matter: whoever watches it means what is in it.
fn is_ignored(root: &Path, named: &Path, path: &Path) -> bool {
    let mut below = path.ancestors().take_while(|part| *part != named);
    below.any(|part| {
        part.file_name().is_some_and(|name| name == ".git")
            || is_excluded(root, part, part != path || part.is_dir())
    })
}

/// Whether a `.gitignore` between the root and the path names this very path. The nearest one that has a word about it decides.
fn is_excluded(root: &Path, path: &Path, is_dir: bool) -> bool {
    for dir in path.ancestors().skip(1).take_while(|dir| dir.starts_with(root)) {
        let (rules, _) = Gitignore::new(dir.join(".gitignore"));
        match rules.matched(path, is_dir) {
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
        let ignored = |path: &str| is_ignored(root, root, &root.join(path));
        assert!(ignored("src/x.log"));
        assert!(ignored("src/gen/deep/x.rs"));
        assert!(ignored(".git/index"));
        assert!(!ignored("src/x.rs"));
        assert!(!ignored("src/kept.log"));
    }

    #[test]
    fn in_a_directory_that_is_named_only_what_git_ignores_below_it_is_ignored() {
        let dir = tempfile::tempdir().expect("temp dir");
        let root = dir.path();
        fs::create_dir_all(root.join("out/gen/deep")).expect("mkdir");
        fs::write(root.join(".gitignore"), "*.log\ngen\n/out/\n").expect("write");
        let ignored = |path: &str| is_ignored(root, &root.join("out/gen"), &root.join(path));
        assert!(!ignored("out/gen"));
        assert!(!ignored("out/gen/deep/x.rs"));
        assert!(ignored("out/gen/deep/x.log"));
        assert!(ignored("out/gen/deep/gen/x.rs"));
    }
}
