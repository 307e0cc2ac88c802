//! `HEAD`, `gitdir`, and what a rebase or a bisect notes, as anybody may have written them.
#![no_main]

use daemon_core::git_file::{parse_bisect_start, parse_head, parse_head_name, worktree_root};
use daemon_core::ids::GitRef;
use daemon_core::state::Head;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    match parse_head(bytes) {
        Head::Branch(name) => {
            assert!(name.as_str().starts_with("refs/") && !name.as_str().contains(|c: char| c.is_ascii_control()));
        }
        Head::Detached(commit) => assert!(matches!(commit.len(), 40 | 64)),
        Head::Unknown(reason) => assert!(!reason.is_empty()),
    }
    for named in [parse_head_name(bytes), parse_bisect_start(bytes)] {
        match named {
            Ok(Some(name)) => assert_eq!(GitRef::parse_short(name.short()), Some(name)),
            Ok(None) => {}
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
    let admin_dir = Path::new("/r/.git/worktrees/w");
    if let Some(root) = worktree_root(bytes, admin_dir) {
        assert!(root.has_root());
    }
});
