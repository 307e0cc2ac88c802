//! One repository as it truly is, and what a look at it shows.

use crate::event::Change;
use daemon_core::ids::{GitRef, Slot, WorktreeId};
use daemon_core::state::{GitView, Head, Seen, Worktree};
use std::collections::{BTreeMap, BTreeSet};

/// Git branches, some of which want the same name for their Lakebase branch.
const REFS: [&str; 5] = ["main", "feature/x", "feature-x", "Feature_X", "日本"];

/// What is checked out: a git branch, or a commit.
type On = Option<u32>;

#[derive(Debug, Clone)]
struct Tree {
    on: On,
    moves: u32,
    is_locked: bool,
    is_head_broken: bool,
}

/// The repository.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    main: On,
    trees: BTreeMap<u32, Tree>,
    refs: BTreeSet<u32>,
    /// Worktrees that went by `git worktree remove`.
    removed: BTreeSet<u32>,
    is_broken: bool,
    /// How often a slot has gone.
    ends: BTreeMap<Slot, u32>,
}

impl Git {
    pub(crate) fn new() -> Self {
        Self {
            main: Some(0),
            trees: BTreeMap::new(),
            refs: BTreeSet::from([0]),
            removed: BTreeSet::new(),
            is_broken: false,
            ends: BTreeMap::new(),
        }
    }

    pub(crate) fn change(&mut self, change: Change) {
        let before = self.slots();
        self.apply(change);
        let after = self.slots();
        for gone in before.difference(&after) {
            *self.ends.entry(gone.clone()).or_default() += 1;
        }
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Add { tree, on } if !self.trees.contains_key(&tree) && self.is_free(on) => {
                self.removed.remove(&tree);
                self.refs.extend(on);
                let new = Tree {
                    on,
                    moves: 0,
                    is_locked: false,
                    is_head_broken: false,
                };
                self.trees.insert(tree, new);
            }
            Change::Remove { tree } => {
                if self.trees.get(&tree).is_some_and(|tree| !tree.is_locked) {
                    self.trees.remove(&tree);
                    self.removed.insert(tree);
                }
            }
            Change::Prune { tree } => drop(self.trees.remove(&tree)),
            Change::Lock { tree } => self.with(tree, |tree| tree.is_locked = true),
            Change::Unlock { tree } => self.with(tree, |tree| tree.is_locked = false),
            Change::Move { tree } => self.with(tree, |tree| tree.moves += 1),
            Change::Switch { tree, on } if self.is_free(on) => {
                self.refs.extend(on.filter(|_| self.trees.contains_key(&tree)));
                self.with(tree, |tree| tree.on = on);
            }
            Change::BreakHead { tree } => {
                self.with(tree, |tree| tree.is_head_broken = !tree.is_head_broken);
            }
            Change::SwitchMain { on } if self.is_free(on) => {
                self.refs.extend(on);
                self.main = on;
            }
            Change::RenameRef { from, to } if self.refs.contains(&from) && !self.refs.contains(&to) => {
                self.refs.remove(&from);
                self.refs.insert(to);
                let heads = self.trees.values_mut().map(|tree| &mut tree.on);
                for head in heads.chain([&mut self.main]).filter(|on| **on == Some(from)) {
                    *head = Some(to);
                }
            }
            Change::DeleteRef { name } if self.is_free(Some(name)) => drop(self.refs.remove(&name)),
            Change::BreakRepository => self.is_broken = !self.is_broken,
            Change::Add { .. }
            | Change::Switch { .. }
            | Change::SwitchMain { .. }
            | Change::RenameRef { .. }
            | Change::DeleteRef { .. } => {}
        }
    }

    fn with(&mut self, tree: u32, change: impl FnOnce(&mut Tree)) {
        if let Some(tree) = self.trees.get_mut(&tree) {
            change(tree);
        }
    }

    /// Git checks a branch out once.
    fn is_free(&self, on: On) -> bool {
        on.is_none_or(|_| self.main != on && self.trees.values().all(|tree| tree.on != on))
    }

    /// Everything can be read again.
    pub(crate) fn mend(&mut self) {
        self.is_broken = false;
        for tree in self.trees.values_mut() {
            tree.is_head_broken = false;
        }
    }

    // ---- the truth

    /// Every slot that is there, in use or not.
    fn slots(&self) -> BTreeSet<Slot> {
        let heads = self.trees.values().map(|tree| tree.on).chain([self.main]);
        let refs = self.refs.iter().copied().chain(heads.flatten());
        let trees = self.trees.keys().map(|tree| Slot::Worktree(worktree_id(*tree)));
        refs.map(|name| Slot::Ref(git_ref(name)))
            .chain(trees)
            .chain([Slot::Worktree(WorktreeId::Main)])
            .collect()
    }

    pub(crate) fn has(&self, slot: &Slot) -> bool {
        self.slots().contains(slot)
    }

    /// Counts the lives of a slot: one more each time that it goes.
    pub(crate) fn life(&self, slot: &Slot) -> u32 {
        self.ends.get(slot).copied().unwrap_or_default()
    }

    /// The slots that worktrees stand on.
    pub(crate) fn in_use(&self) -> BTreeSet<Slot> {
        self.worktrees().iter().filter_map(Worktree::slot).collect()
    }

    pub(crate) fn was_removed(&self, slot: &Slot) -> bool {
        self.removed_worktrees().any(|id| *slot == Slot::Worktree(id))
    }

    pub(crate) fn is_locked(&self, slot: &Slot) -> Option<bool> {
        let mut worktrees = self.worktrees().into_iter();
        worktrees
            .find(|worktree| worktree.slot().as_ref() == Some(slot))
            .map(|worktree| worktree.is_locked)
    }

    // ---- what a look shows

    /// One look. `seen` are the worktrees of the look before, `known` the removals that were noticed before.
    pub(crate) fn look(&self, seen: &BTreeSet<WorktreeId>, known: &BTreeSet<WorktreeId>) -> Seen<GitView> {
        if self.is_broken {
            return Seen::Unknown("the repository cannot be read".into());
        }
        let worktrees = self.worktrees();
        let is_listed = |id: &WorktreeId| worktrees.iter().any(|worktree| &worktree.id == id);
        let noticed = self
            .removed_worktrees()
            .filter(|id| seen.contains(id) || known.contains(id))
            .filter(|id| !is_listed(id))
            .collect();
        Seen::Present(GitView {
            main_branch: self.main.map(git_ref),
            refs: self.refs.iter().copied().map(git_ref).collect(),
            worktrees,
            removed_live: noticed,
            ..GitView::default()
        })
    }

    fn removed_worktrees(&self) -> impl Iterator<Item = WorktreeId> {
        self.removed.iter().map(|tree| worktree_id(*tree))
    }

    fn worktrees(&self) -> Vec<Worktree> {
        let main = Worktree {
            id: WorktreeId::Main,
            dir_name: "shop".into(),
            head: head(self.main),
            is_locked: false,
        };
        let linked = self.trees.iter().map(|(id, tree)| Worktree {
            id: worktree_id(*id),
            dir_name: format!("w{}", id + tree.moves),
            head: if tree.is_head_broken {
                Head::Unknown("EIO".into())
            } else {
                head(tree.on)
            },
            is_locked: tree.is_locked,
        });
        std::iter::once(main).chain(linked).collect()
    }
}

fn worktree_id(tree: u32) -> WorktreeId {
    WorktreeId::Linked(format!("w{tree}"))
}

fn head(on: On) -> Head {
    on.map_or_else(
        || Head::Detached("c0ffee".into()),
        |name| Head::Branch(git_ref(name)),
    )
}

fn git_ref(name: u32) -> GitRef {
    GitRef::new(format!("refs/heads/{}", REFS[name as usize % REFS.len()]))
}
