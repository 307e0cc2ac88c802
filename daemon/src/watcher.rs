//! Turns file events into hints. The only user of notify. Reads nothing, decides nothing; a hint that is lost is made good
//! by the controller's clock.

use crate::board::WatchMode;
use crate::config::Watch;
use daemon_core::ids::RepositoryId;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Files whose change can move a worktree; everything else in a git directory is noise.
const TELLING: [&str; 5] = ["HEAD", "worktrees", "gitdir", "locked", "packed-refs"];

/// Which repositories a watched directory matters to, and whether every name in it does.
type Watched = BTreeMap<PathBuf, BTreeSet<(RepositoryId, Interest)>>;

/// What in a directory is worth a look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Interest {
    /// Any entry that comes or goes.
    Entries,
    /// The files that git keeps its state in.
    GitFiles,
    /// This entry.
    Named(OsString),
}

impl Interest {
    fn covers(&self, name: &OsStr) -> bool {
        match self {
            Self::Entries => true,
            Self::GitFiles => TELLING.iter().any(|telling| name == *telling),
            Self::Named(wanted) => name == wanted,
        }
    }
}

/// The directories of one repository that are to be watched.
pub(crate) type Wanted = BTreeSet<(PathBuf, Interest)>;

/// Watches directories.
#[derive(Debug)]
pub(crate) struct Watcher {
    inner: Option<RecommendedWatcher>,
    watched: Arc<Mutex<Watched>>,
}

impl Watcher {
    /// Starts watching nothing. Hints go to `hints`; a full channel drops them. Where the system gives no events at all, or
    /// nobody wants them, every repository is polled.
    pub(crate) fn new(hints: mpsc::Sender<Option<RepositoryId>>, watch: Watch) -> Self {
        if watch == Watch::Poll {
            let watched = Arc::default();
            return Self { inner: None, watched };
        }
        let watched: Arc<Mutex<Watched>> = Arc::default();
        let seen = watched.clone();
        let inner = notify::recommended_watcher(move |event: notify::Result<Event>| {
            for hint in hints_of(event, &seen.lock().unwrap_or_else(PoisonError::into_inner)) {
                // The channel is full: everybody will be looked at soon in any case.
                drop(hints.try_send(hint));
            }
        });
        let inner = inner
            .inspect_err(|error| tracing::warn!(%error, "no file events; worktrees are polled"))
            .ok();
        Self { inner, watched }
    }

    /// Makes the directories watched for a repository just these.
    ///
    /// The map is never locked while notify is called: it waits for its own thread, and that thread waits for the map.
    pub(crate) fn set(&mut self, id: &RepositoryId, wanted: &Wanted) -> WatchMode {
        let Some(inner) = self.inner.as_mut() else {
            return WatchMode::Polling;
        };
        let deserted = replace(
            &mut self.watched.lock().unwrap_or_else(PoisonError::into_inner),
            id,
            wanted,
        );
        for dir in deserted {
            // It may be gone already, and its watch with it.
            drop(inner.unwatch(&dir));
        }
        let mut mode = WatchMode::Events;
        for (dir, _) in wanted {
            // Adding a watch that is there already is how one that the kernel dropped comes back.
            if let Err(error) = inner.watch(dir, RecursiveMode::NonRecursive)
                && !is_missing(&error)
            {
                tracing::debug!(dir = %dir.display(), %error, "cannot watch");
                mode = WatchMode::Polling;
            }
        }
        mode
    }
}

/// Makes the interests of one repository just these; returns the directories that nobody is interested in any more.
fn replace(watched: &mut Watched, id: &RepositoryId, wanted: &Wanted) -> Vec<PathBuf> {
    for (dir, interest) in wanted {
        watched
            .entry(dir.clone())
            .or_default()
            .insert((id.clone(), interest.clone()));
    }
    let mut deserted = vec![];
    watched.retain(|dir, interests| {
        interests
            .retain(|(owner, interest)| owner != id || wanted.contains(&(dir.clone(), interest.clone())));
        if interests.is_empty() {
            deserted.push(dir.clone());
        }
        !interests.is_empty()
    });
    deserted
}

/// A directory that is not there is not watched; its parent is, and tells when it comes.
fn is_missing(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// The repositories to look at after an event; `None` stands for all of them, after an error or a lost event.
fn hints_of(event: notify::Result<Event>, watched: &Watched) -> BTreeSet<Option<RepositoryId>> {
    let event = match event {
        Ok(event) if event.need_rescan() => return BTreeSet::from([None]),
        Ok(event) => event,
        Err(_) => return BTreeSet::from([None]),
    };
    if matches!(event.kind, EventKind::Access(_)) {
        return BTreeSet::new();
    }
    event
        .paths
        .iter()
        .flat_map(|path| interested(path, watched))
        .map(Some)
        .collect()
}

fn interested(path: &Path, watched: &Watched) -> BTreeSet<RepositoryId> {
    let name = path.file_name().unwrap_or_default();
    let of_parent = path
        .parent()
        .and_then(|dir| watched.get(dir))
        .into_iter()
        .flatten();
    let of_parent = of_parent.filter(|(_, interest)| interest.covers(name));
    // An event about a watched directory itself: it was deleted or moved.
    let of_itself = watched.get(path).into_iter().flatten();
    of_parent.chain(of_itself).map(|(id, _)| id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{AccessKind, CreateKind, Flag, ModifyKind};

    fn watched() -> Watched {
        let id = |name: &str, interest| (RepositoryId::new(name), interest);
        BTreeMap::from([
            (
                PathBuf::from("/a/.git"),
                BTreeSet::from([id("a", Interest::GitFiles)]),
            ),
            (
                PathBuf::from("/a/.git/worktrees"),
                BTreeSet::from([id("a", Interest::Entries)]),
            ),
            (
                PathBuf::from("/"),
                BTreeSet::from([id("a", Interest::Entries), id("b", Interest::Named("c".into()))]),
            ),
        ])
    }

    fn hints(kind: EventKind, path: &str) -> Vec<String> {
        let event = Event::new(kind).add_path(path.into());
        let hints = hints_of(Ok(event), &watched());
        hints
            .into_iter()
            .map(|id| id.map_or("all".into(), |id| id.to_string()))
            .collect()
    }

    #[test]
    fn only_telling_files_of_a_git_directory_hint() {
        let modify = EventKind::Modify(ModifyKind::Any);
        assert_eq!(hints(modify, "/a/.git/HEAD"), ["a"]);
        assert!(hints(modify, "/a/.git/index").is_empty());
        assert!(hints(modify, "/a/.git/HEAD.lock").is_empty());
        assert!(hints(EventKind::Access(AccessKind::Any), "/a/.git/HEAD").is_empty());
    }

    #[test]
    fn any_entry_of_a_list_hints_and_so_does_the_list_itself() {
        assert_eq!(
            hints(EventKind::Create(CreateKind::Any), "/a/.git/worktrees/x"),
            ["a"]
        );
        assert_eq!(
            hints(EventKind::Create(CreateKind::Any), "/a/.git/worktrees"),
            ["a"]
        );
        assert_eq!(hints(EventKind::Create(CreateKind::Any), "/c"), ["a", "b"]);
        assert_eq!(hints(EventKind::Create(CreateKind::Any), "/d"), ["a"]);
    }

    #[test]
    fn a_lost_event_and_an_error_hint_at_everything() {
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(hints_of(Ok(overflow), &watched()), BTreeSet::from([None]));
        assert_eq!(
            hints_of(Err(notify::Error::generic("x")), &watched()),
            BTreeSet::from([None])
        );
    }
}
