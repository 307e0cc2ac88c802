//! Reads the entry of one linked worktree below `worktrees/`: where its root is, where its HEAD points, whether it is locked.
//! What was read at the last look is taken from there while the files it came from are the same.

use super::fate::StoodIn;
use super::head::HeadVersion;
use super::link::Link;
use super::version::{self, Version};
use super::{Access, Found, Place, born_at, cannot};
use daemon_core::git_file;
use daemon_core::ids::WorktreeId;
use daemon_core::state::Head;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a look has read of git's files in one git directory, and of which version. Nothing is remembered of a file that is not
/// certain to look different after its next change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Remembered {
    pub(super) head: Option<(HeadVersion, Head)>,
    /// The root as it is named there.
    gitdir: Option<(Version, PathBuf)>,
    /// The `.git` in the root, which leads back.
    pub(super) dot_git: Option<Version>,
}

/// One look at the linked worktrees of a repository.
pub(super) struct Look<'a> {
    access: &'a Access,
    common_dir: &'a Path,
    before: Option<&'a Found>,
    /// Many worktrees lie in one directory; by the name that they give it.
    parents: BTreeMap<PathBuf, Option<Parent>>,
}

/// A directory that worktrees lie in.
#[derive(Debug, Clone)]
struct Parent {
    canonical: PathBuf,
    device: u64,
    inode: u64,
}

impl<'a> Look<'a> {
    /// `before` is the look before, unless that was at a file system of others, whose attributes may be old.
    pub(super) fn new(access: &'a Access, common_dir: &'a Path, before: Option<&'a Found>) -> Self {
        Self {
            access,
            common_dir,
            before,
            parents: BTreeMap::new(),
        }
    }

    /// Adds the linked worktree with this entry.
    pub(super) fn add(&mut self, found: &mut Found, name: &str) {
        let admin_dir = self.common_dir.join("worktrees").join(name);
        let id = WorktreeId::Linked(name.to_owned());
        let known = self.before.and_then(|before| before.places.get(&id));
        let known = known.map(|place| place.remembered.clone()).unwrap_or_default();
        let mut place = Place {
            born: born_at(&admin_dir),
            admin_dir,
            ..Place::default()
        };
        let head = match named_root(&place.admin_dir, known.gitdir) {
            Ok((named, gitdir)) => {
                place.remembered.gitdir = gitdir;
                match self.settle(&mut place, named, known.dot_git) {
                    // Somebody copied or wrote the entry, or took the root over. Neither is proven, so the worktree asks for no
                    // branch, and no branch counts as gone: its own ends by its lease, if nobody mends this before.
                    Link::Elsewhere(other) => Head::Unknown(belongs_to(&place.root, &other)),
                    Link::Back | Link::Nowhere => self.access.head_of(&mut place, known.head),
                }
            }
            Err(reason) => Head::Unknown(reason),
        };
        let is_locked = is_locked(&place.admin_dir);
        found.add(id, head, is_locked, place);
    }

    /// Frees a root of links, and says where it stands and where it leads. One that is gone cannot be freed of links; its name is
    /// still good for people.
    fn settle(&mut self, place: &mut Place, named: PathBuf, known: Option<Version>) -> Link {
        place.root = named;
        let parts = place.root.parent().zip(place.root.file_name());
        let Some((parent, name)) = parts.and_then(|(parent, name)| Some((self.parent(parent)?, name))) else {
            return Link::Nowhere;
        };
        let root = parent.canonical.join(name);
        match std::fs::symlink_metadata(&root) {
            Ok(meta) if meta.is_symlink() => settle_anywhere(place, known),
            Ok(meta) => {
                place.root = root;
                place.stands(&meta, Some(&parent), known)
            }
            Err(_) => Link::Nowhere,
        }
    }

    fn parent(&mut self, dir: &Path) -> Option<Parent> {
        let known = self.parents.get(dir).cloned();
        known.unwrap_or_else(|| {
            let parent = Parent::at(dir);
            self.parents.insert(dir.to_owned(), parent.clone());
            parent
        })
    }
}

impl Parent {
    fn at(dir: &Path) -> Option<Self> {
        let canonical = dir.canonicalize().ok()?;
        let meta = std::fs::symlink_metadata(&canonical).ok()?;
        Some(Self {
            canonical,
            device: meta.dev(),
            inode: meta.ino(),
        })
    }
}

impl Place {
    /// Notes where the root stands, if it leads back. A directory without a link, as git leaves it in the middle of a removal,
    /// is nobody else's: what becomes of it tells what became of the worktree.
    fn stands(&mut self, root: &Metadata, parent: Option<&Parent>, known: Option<Version>) -> Link {
        let link = self.follow_link(known);
        self.is_foreign = link != Link::Back;
        self.stands_at = (link == Link::Back).then(|| (root.dev(), root.ino()));
        let is_ours = !matches!(link, Link::Elsewhere(_));
        let parent = parent.filter(|parent| is_ours && root.dev() == parent.device);
        self.stood_in = parent.map(|parent| StoodIn {
            root: (root.dev(), root.ino()),
            parent: (parent.device, parent.inode),
            seen_at: Instant::now(),
        });
        link
    }

    /// Where the root leads; one glance, if its `.git` is the one that led back before.
    fn follow_link(&mut self, known: Option<Version>) -> Link {
        if known.is_some() && Version::of(&self.root.join(".git")) == known {
            self.remembered.dot_git = known;
            return Link::Back;
        }
        let (link, version) = Link::of(&self.root, &self.admin_dir);
        self.remembered.dot_git = version;
        link
    }
}

/// The same for a root that is itself a link.
fn settle_anywhere(place: &mut Place, known: Option<Version>) -> Link {
    let Ok(root) = place.root.canonicalize() else {
        return Link::Nowhere;
    };
    let meta = std::fs::symlink_metadata(&root);
    let parent = root.parent().and_then(Parent::at);
    place.root = root;
    match meta {
        Ok(meta) => place.stands(&meta, parent.as_ref(), known),
        Err(_) => Link::Nowhere,
    }
}

fn belongs_to(root: &Path, other: &Path) -> String {
    format!("`{}` belongs to `{}`", root.display(), other.display())
}

/// The root of a linked worktree, as its admin directory names it.
fn named_root(
    admin_dir: &Path,
    known: Option<(Version, PathBuf)>,
) -> Result<(PathBuf, Option<(Version, PathBuf)>), String> {
    let file = admin_dir.join("gitdir");
    if let Some((version, root)) = known
        && Version::of(&file) == Some(version)
    {
        return Ok((root.clone(), Some((version, root))));
    }
    let (text, version) =
        version::read(&file).map_err(|error| cannot("read `gitdir` in", admin_dir, &error))?;
    let root = git_file::worktree_root(&text, admin_dir)
        .ok_or_else(|| format!("`gitdir` in `{}` names no worktree", admin_dir.display()))?;
    let remembered = version.map(|version| (version, root.clone()));
    Ok((root, remembered))
}

/// `git worktree add` holds a lock of its own while it works; that one is not the user's.
fn is_locked(admin_dir: &Path) -> bool {
    match version::read(&admin_dir.join("locked")) {
        Ok((reason, _)) => reason.trim_ascii() != b"initializing",
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}
