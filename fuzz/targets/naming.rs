//! From git branches and worktrees to names of branches: always a valid one, and never one for two. The first line of the
//! input is the user's name; each other one a git branch, or after a `>` a detached worktree's directory.
#![no_main]

use daemon_core::ids::{BranchId, GitRef, RepositoryId, Slot, WorktreeId};
use daemon_core::naming::{Label, choose};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fn is_valid(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.starts_with("br-")
        && !name.ends_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fuzz_target!(|input: &str| {
    let mut lines = input.split('\n');
    let user = lines.next().unwrap_or_default();
    let mut taken: BTreeMap<BranchId, Slot> = BTreeMap::new();
    for (number, line) in lines.enumerate() {
        let repository = RepositoryId::new(format!("r{}", number % 2));
        let (slot, label) = match line.strip_prefix('>') {
            Some(dir) => (
                Slot::Worktree(WorktreeId::Linked(format!("{number}"))),
                Label::Detached {
                    main_git_branch: Some(user),
                    worktree_dir: dir,
                },
            ),
            None => (
                Slot::Ref(GitRef::new(format!("refs/heads/{line}"))),
                Label::GitBranch(line),
            ),
        };
        let name = choose(user, &label, &repository, &slot, |id| taken.contains_key(id));
        assert!(is_valid(name.as_str()), "{name}");
        assert!(taken.insert(name, slot).is_none());
    }
});
