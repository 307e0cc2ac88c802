//! Turns file events into hints. The only user of notify. Reads nothing, decides nothing; a hint that is lost is made good
//! by the controller's clock.

use crate::board::WatchMode;
use crate::config::Watch;
use daemon_core::ids::RepositoryId;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Files whose change can move a worktree; everything else in a git directory is noise.
const TELLING: [&str; 8] = [
    "HEAD",
    "worktrees",
    "gitdir",
    "locked",
    "packed-refs",
    "rebase-merge",
    "rebase-apply",
    "BISECT_START",
];

/// Git's list of tracked files. It changes often, and moves no worktree.
const INDEX: &str = "index";

/// How long a directory is taken to be watched without asking for it again. The kernel tells when it drops a watch, except when
/// a disk goes away.
const ASKED_LATELY: Duration = Duration::from_mins(5);

/// By directory.
type Watched = BTreeMap<PathBuf, Attention>;

/// Which repositories a watched directory matters to, and what of it.
#[derive(Debug, Default)]
struct Attention {
    interests: BTreeSet<(RepositoryId, Interest)>,
    /// When the system was asked to watch it; `None` when it has told that it does so no longer, too.
    asked_at: Option<Instant>,
}

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

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hint {
    /// Events were lost, so it may be about anything.
    LookEverywhere,
    /// A worktree of a repository may have come, gone or moved.
    Look(RepositoryId),
    /// The index in a git directory was written.
    Index(RepositoryId, PathBuf),
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
    pub(crate) fn new(hints: mpsc::Sender<Hint>, watch: Watch) -> Self {
        if watch == Watch::Poll {
            let watched = Arc::default();
            return Self { inner: None, watched };
        }
        let watched: Arc<Mutex<Watched>> = Arc::default();
        let seen = watched.clone();
        let inner = notify::recommended_watcher(move |event: notify::Result<Event>| {
            for hint in hints_of(event, &mut lock(&seen)) {
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
        // Not in the heads of the loops, which would hold the lock to their end.
        let deserted = replace(&mut lock(&self.watched), id, wanted);
        let unasked = unasked(&lock(&self.watched), wanted);
        for dir in deserted {
            // It may be gone already, and its watch with it.
            drop(inner.unwatch(&dir));
        }
        let mut mode = WatchMode::Events;
        for dir in unasked {
            // Before it is asked for: if it goes away in between, that is told after.
            note_asked(&mut lock(&self.watched), &dir, Some(Instant::now()));
            if let Err(error) = inner.watch(&dir, RecursiveMode::NonRecursive) {
                note_asked(&mut lock(&self.watched), &dir, None);
                if !is_missing(&error) {
                    tracing::debug!(dir = %dir.display(), %error, "cannot watch");
                    mode = WatchMode::Polling;
                }
            }
        }
        mode
    }
}

fn note_asked(watched: &mut Watched, dir: &Path, asked_at: Option<Instant>) {
    if let Some(attention) = watched.get_mut(dir) {
        attention.asked_at = asked_at;
    }
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those of the wanted directories that the system was not asked for lately.
fn unasked(watched: &Watched, wanted: &Wanted) -> BTreeSet<PathBuf> {
    let is_asked = |dir: &PathBuf| {
        let asked_at = watched.get(dir).and_then(|attention| attention.asked_at);
        asked_at.is_some_and(|at| at.elapsed() < ASKED_LATELY)
    };
    let dirs = wanted.iter().map(|(dir, _)| dir);
    dirs.filter(|dir| !is_asked(dir)).cloned().collect()
}

/// Makes the interests of one repository just these; returns the directories that nobody is interested in any more.
fn replace(watched: &mut Watched, id: &RepositoryId, wanted: &Wanted) -> Vec<PathBuf> {
    for (dir, interest) in wanted {
        let attention = watched.entry(dir.clone()).or_default();
        attention.interests.insert((id.clone(), interest.clone()));
    }
    let mut deserted = vec![];
    watched.retain(|dir, Attention { interests, .. }| {
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

/// The hints of an event. A directory that went away has lost its watch with it; after an error or
/// a lost event any may have.
fn hints_of(event: notify::Result<Event>, watched: &mut Watched) -> BTreeSet<Hint> {
    let event = match event {
        Ok(event) if !event.need_rescan() => event,
        Ok(_) | Err(_) => {
            for attention in watched.values_mut() {
                attention.asked_at = None;
            }
            return BTreeSet::from([Hint::LookEverywhere]);
        }
    };
    if matches!(event.kind, EventKind::Access(_)) {
        return BTreeSet::new();
    }
    for path in &event.paths {
        note_asked(watched, path, None);
    }
    let looks = event.paths.iter().flat_map(|path| interested(path, watched));
    let looks = looks.map(Hint::Look);
    let indexes = event.paths.iter().flat_map(|path| of_index(path, watched));
    looks.chain(indexes).collect()
}

/// The hints about an index.
fn of_index(path: &Path, watched: &Watched) -> Vec<Hint> {
    let dir = path.parent().filter(|_| path.ends_with(INDEX));
    let Some((dir, attention)) = dir.and_then(|dir| Some((dir, watched.get(dir)?))) else {
        return vec![];
    };
    let of_git = |(_, interest): &&(RepositoryId, Interest)| *interest == Interest::GitFiles;
    let interests = attention.interests.iter().filter(of_git);
    interests
        .map(|(id, _)| Hint::Index(id.clone(), dir.to_owned()))
        .collect()
}

fn interested(path: &Path, watched: &Watched) -> BTreeSet<RepositoryId> {
    let name = path.file_name().unwrap_or_default();
    let interests_in = |dir: &Path| watched.get(dir).map(|attention| &attention.interests);
    let of_parent = path.parent().and_then(interests_in).into_iter().flatten();
    let of_parent = of_parent.filter(|(_, interest)| interest.covers(name));
    // An event about a watched directory itself: it was deleted or moved.
    let of_itself = interests_in(path).into_iter().flatten();
    of_parent.chain(of_itself).map(|(id, _)| id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{AccessKind, CreateKind, Flag, ModifyKind, RemoveKind};

    fn watched() -> Watched {
        let id = |name: &str, interest| (RepositoryId::new(name), interest);
        let attention = |interests| Attention {
            interests,
            asked_at: Some(Instant::now()),
        };
        let of_root = [id("a", Interest::Entries), id("b", Interest::Named("c".into()))];
        [
            ("/a/.git", BTreeSet::from([id("a", Interest::GitFiles)])),
            ("/a/.git/worktrees", BTreeSet::from([id("a", Interest::Entries)])),
            ("/", BTreeSet::from(of_root)),
        ]
        .map(|(dir, interests)| (dir.into(), attention(interests)))
        .into()
    }

    fn hints(kind: EventKind, path: &str) -> Vec<String> {
        let event = Event::new(kind).add_path(path.into());
        let hints = hints_of(Ok(event), &mut watched());
        let shown = |hint| match hint {
            Hint::LookEverywhere => "all".to_owned(),
            Hint::Look(id) => id.to_string(),
            Hint::Index(id, dir) => format!("{id}: index in {}", dir.display()),
        };
        hints.into_iter().map(shown).collect()
    }

    #[test]
    fn only_telling_files_of_a_git_directory_hint() {
        let modify = EventKind::Modify(ModifyKind::Any);
        assert_eq!(hints(modify, "/a/.git/HEAD"), ["a"]);
        assert_eq!(hints(modify, "/a/.git/index"), ["a: index in /a/.git"]);
        assert!(hints(modify, "/a/.git/index.lock").is_empty());
        assert_eq!(
            hints(modify, "/a/.git/worktrees/index"),
            ["a"],
            "its name is no matter"
        );
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
        let everywhere = BTreeSet::from([Hint::LookEverywhere]);
        assert_eq!(hints_of(Ok(overflow), &mut watched()), everywhere);
        assert_eq!(
            hints_of(Err(notify::Error::generic("x")), &mut watched()),
            everywhere
        );
    }

    #[test]
    fn a_directory_is_asked_for_again_once_it_may_have_lost_its_watch() {
        let dirs = ["/a/.git", "/a/.git/worktrees"];
        let wanted = dirs.map(|dir| (dir.into(), Interest::Entries)).into();
        let unasked_after = |event: notify::Result<Event>| {
            let mut watched = watched();
            hints_of(event, &mut watched);
            unasked(&watched, &wanted)
        };
        let on = |kind, path: &str| Ok(Event::new(kind).add_path(path.into()));
        let removed = EventKind::Remove(RemoveKind::Folder);
        let inside = on(removed, "/a/.git/worktrees/x");
        assert_eq!(unasked_after(inside), BTreeSet::new());
        let itself = on(removed, "/a/.git/worktrees");
        assert_eq!(unasked_after(itself), BTreeSet::from([dirs[1].into()]));
        let lost = Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan));
        assert_eq!(unasked_after(lost), dirs.map(PathBuf::from).into());
    }
}
