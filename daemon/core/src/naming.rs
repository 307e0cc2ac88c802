//! From a slot to the name of its branch: the mission's convention, and what to do when two slots want the same name.
//!
//! | context | name |
//! |---|---|
//! | git branch `main` | `{username}-main` |
//! | git branch `feature/x` | `{username}-feature-x` |
//! | detached worktree | `{username}-{git branch of the main worktree}-worktree-{worktree dir}` |
//!
//! A name is chosen once and recorded; whoever asks again for a recorded slot has asked the wrong room.

use crate::ids::{BranchId, RepositoryId, Slot};
use sha2::{Digest, Sha256};

/// The longest name that the service takes (branches: 1-63 characters).
const MAX_LEN: usize = 63;

/// How many hexadecimal digits tell names apart.
const SUFFIX_LEN: usize = 6;

/// Number of suffixes of a slot that a name is compared with. A slot has used that many after as many resets in a week.
const SUFFIXES_COMPARED: u32 = 16;

/// What a slot is called after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label<'a> {
    /// The short name of a git branch.
    GitBranch(&'a str),
    /// A worktree without one.
    Detached {
        /// The git branch of the main worktree, if it is on one.
        main_git_branch: Option<&'a str>,
        /// The name of the worktree's directory.
        worktree_dir: &'a str,
    },
}

/// Chooses the name of a new slot's branch. `is_taken` says whether another slot's record holds a name.
///
/// The name is plain where it can be. It gets a suffix from the repository and slot when it is taken, had to be cut, or
/// when nothing of the label was left.
pub fn choose(
    user_name: &str,
    label: &Label<'_>,
    repository: &RepositoryId,
    slot: &Slot,
    is_taken: impl Fn(&BranchId) -> bool,
) -> BranchId {
    let wanted = wanted(user_name, label);
    let plain = BranchId::new(wanted.text.clone());
    if wanted.is_faithful && wanted.text.len() <= MAX_LEN && !is_taken(&plain) {
        return plain;
    }
    separate(&wanted.text, repository, slot, is_taken)
}

/// Chooses a name that is not the plain one, for a slot whose plain name belongs to somebody else.
pub fn choose_separate(
    user_name: &str,
    label: &Label<'_>,
    repository: &RepositoryId,
    slot: &Slot,
    is_taken: impl Fn(&BranchId) -> bool,
) -> BranchId {
    separate(&wanted(user_name, label).text, repository, slot, is_taken)
}

/// What the names of all of a user's branches begin with.
pub fn prefix(user_name: &str) -> String {
    let mut name = wanted(user_name, &Label::GitBranch("x")).text;
    name.pop();
    name
}

/// Returns the name without a suffix of a git branch's branch; `None` where such a name would not be faithful or too long.
pub fn plain(user_name: &str, git_branch: &str) -> Option<BranchId> {
    let wanted = wanted(user_name, &Label::GitBranch(git_branch));
    (wanted.is_faithful && wanted.text.len() <= MAX_LEN).then(|| BranchId::new(wanted.text))
}

/// Returns the git branch that a detached worktree's plain name mentions, as far as a name tells it; `None` for the name of
/// another worktree, or of a git branch.
pub fn main_git_branch<'a>(user_name: &str, worktree_dir: &str, name: &'a BranchId) -> Option<&'a str> {
    let dir = sanitise(worktree_dir);
    let rest = name.as_str().strip_prefix(&prefix(user_name))?;
    let main = rest.strip_suffix(&dir)?.strip_suffix("-worktree-")?;
    (!dir.is_empty() && !main.is_empty()).then_some(main)
}

/// Returns whether a short name of a git branch looks like this in names of branches.
pub fn is_spelled(git_branch: &str, spelled: &str) -> bool {
    sanitise(git_branch) == spelled
}

/// Returns the part of a name that may be a suffix; `None` for a name that is not one of this user's.
pub fn suffix<'a>(user_name: &str, name: &'a BranchId) -> Option<&'a str> {
    let (head, suffix) = name.as_str().rsplit_once('-')?;
    (suffix.len() == SUFFIX_LEN && head.starts_with(&prefix(user_name))).then_some(suffix)
}

/// Returns the suffixes that only this repository gives to this slot, in the order in which they are tried.
pub fn suffixes(repository: &RepositoryId, slot: &Slot) -> Vec<String> {
    (0..SUFFIXES_COMPARED)
        .map(|n| suffix_of(repository, slot, n))
        .collect()
}

struct Wanted {
    text: String,
    /// False when a part of the label vanished altogether.
    is_faithful: bool,
}

fn wanted(user_name: &str, label: &Label<'_>) -> Wanted {
    let user = sanitise(user_name.split('@').next().unwrap_or_default());
    let user = if user.is_empty() { "u".to_owned() } else { user };
    let (slot_part, is_faithful) = match label {
        Label::GitBranch(name) => {
            let part = sanitise(name);
            let is_faithful = !part.is_empty();
            (part, is_faithful)
        }
        Label::Detached {
            main_git_branch,
            worktree_dir,
        } => {
            let main = sanitise(main_git_branch.unwrap_or("detached"));
            let dir = sanitise(worktree_dir);
            let is_faithful = !main.is_empty() && !dir.is_empty();
            (join(&[&main, "worktree", &dir]), is_faithful)
        }
    };
    let text = join(&[&user, &slot_part]);
    // A uid is written br-..., and the service takes it for nothing else.
    let needs_prefix = !text.starts_with(|c: char| c.is_ascii_lowercase()) || text.starts_with("br-");
    Wanted {
        text: if needs_prefix { format!("u-{text}") } else { text },
        is_faithful,
    }
}

fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

/// Lower case; every other character than `[a-z0-9]` becomes `-`; runs collapse; ends are trimmed.
fn sanitise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => out.push(c),
            _ if out.is_empty() || out.ends_with('-') => {}
            _ => out.push('-'),
        }
    }
    out.truncate(out.trim_end_matches('-').len());
    out
}

fn separate(
    text: &str,
    repository: &RepositoryId,
    slot: &Slot,
    is_taken: impl Fn(&BranchId) -> bool,
) -> BranchId {
    // The first does, unless the slot had a branch before whose name is not free yet.
    let attempt = |n: u32| suffixed(text, &suffix_of(repository, slot, n));
    (0..10_000)
        .map(attempt)
        .find(|name| !is_taken(name))
        .unwrap_or_else(|| attempt(0))
}

/// The suffix of a slot's attempt at a name.
fn suffix_of(repository: &RepositoryId, slot: &Slot, attempt: u32) -> String {
    let salt = if attempt == 0 {
        String::new()
    } else {
        format!("\0{attempt}")
    };
    let digest = Sha256::digest(format!("{repository}\0{}{salt}", slot.key()));
    hex::encode(digest)[..SUFFIX_LEN].to_owned()
}

fn suffixed(text: &str, suffix: &str) -> BranchId {
    let room = MAX_LEN - suffix.len() - 1;
    let head = text[..text.len().min(room)].trim_end_matches('-');
    BranchId::new(format!("{head}-{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{GitRef, WorktreeId};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn repo() -> RepositoryId {
        RepositoryId::new("r1")
    }

    fn of_ref(user: &str, name: &str) -> String {
        let slot = Slot::Ref(GitRef::new(format!("refs/heads/{name}")));
        choose(user, &Label::GitBranch(name), &repo(), &slot, |_| false).to_string()
    }

    fn of_detached(main: Option<&str>, dir: &str) -> String {
        let slot = Slot::Worktree(WorktreeId::Linked(dir.into()));
        let label = Label::Detached {
            main_git_branch: main,
            worktree_dir: dir,
        };
        choose("jane.doe@example.com", &label, &repo(), &slot, |_| false).to_string()
    }

    #[test]
    fn names_follow_the_convention() {
        assert_eq!(of_ref("jane.doe@example.com", "main"), "jane-doe-main");
        assert_eq!(of_ref("jane@example.com", "feature/x"), "jane-feature-x");
        assert_eq!(of_ref("Jane@example.com", "Fix__It--now!"), "jane-fix-it-now");
        assert_eq!(of_detached(Some("main"), "abc"), "jane-doe-main-worktree-abc");
        assert_eq!(of_detached(None, "abc"), "jane-doe-detached-worktree-abc");
    }

    #[test]
    fn a_name_starts_with_a_letter_and_never_like_a_uid() {
        assert_eq!(of_ref("0ac1-uuid", "main"), "u-0ac1-uuid-main");
        assert_eq!(of_ref("br@example.com", "main"), "u-br-main");
        assert_eq!(of_ref("@", "main"), "u-main");
    }

    #[test]
    fn a_label_without_a_usable_character_gets_a_suffix() {
        let name = of_ref("jane", "日本");
        assert!(
            name.starts_with("jane-") && name.len() == "jane-".len() + 6,
            "{name}"
        );
        assert_ne!(name, of_ref("jane", "中国"));
    }

    #[test]
    fn a_name_that_is_too_long_is_cut_and_told_apart() {
        let (a, b) = (of_ref("jane", &"x".repeat(255)), of_ref("jane", &"x".repeat(254)));
        assert_eq!((a.len(), b.len()), (63, 63));
        assert_ne!(a, b);
    }

    #[test]
    fn a_name_is_traced_to_the_slot_that_it_was_chosen_for() {
        let slot = Slot::Worktree(WorktreeId::Linked("abc".into()));
        let label = Label::Detached {
            main_git_branch: Some("feature/x"),
            worktree_dir: "abc",
        };
        let (first, user) = (choose("jane", &label, &repo(), &slot, |_| false), "jane@x");
        assert_eq!(main_git_branch(user, "abc", &first), Some("feature-x"));
        assert_eq!(main_git_branch(user, "bc", &first), None);
        assert_eq!(main_git_branch("joe", "abc", &first), None);
        assert!(is_spelled("feature/x", "feature-x") && !is_spelled("feature", "feature-x"));
        assert_eq!(plain(user, "feature/x"), Some(BranchId::new("jane-feature-x")));
        assert_eq!(plain(user, "日本"), None);
        assert_eq!(plain(user, &"x".repeat(60)), None);
        let second = choose("jane", &label, &repo(), &slot, |name| name == &first);
        let third = choose("jane", &label, &repo(), &slot, |name| {
            name == &first || name == &second
        });
        let known = suffixes(&repo(), &slot);
        for (n, name) in [second, third].iter().enumerate() {
            assert_eq!(suffix(user, name), Some(&*known[n]));
            assert_eq!(suffix("joe", name), None);
        }
        assert!(!suffixes(&RepositoryId::new("r2"), &slot).contains(&known[0]));
    }

    #[test]
    fn a_slot_that_had_many_branches_still_gets_a_new_name() {
        let slot = Slot::Worktree(WorktreeId::Linked("abc".into()));
        let label = Label::Detached {
            main_git_branch: Some("main"),
            worktree_dir: "abc",
        };
        let mut taken = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let name = choose("jane", &label, &repo(), &slot, |id| taken.contains(id));
            assert!(name.as_str().starts_with("jane-main-worktree-abc"), "{name}");
            assert!(taken.insert(name));
        }
    }

    /// What people and other programs call things: any script and direction, composed or not, and names made to collide.
    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![
            "\\PC{1,80}",
            "[a-zA-Z_/.\\-0-9éß日🎈]{1,80}",
            "[aA\u{e1}\u{301}\u{202e}\u{5d0}_.\\-]{1,6}",
            "[\\-._/+=~]{1,8}",
            "x{240,255}",
            Just("main.lock".into()),
            Just("br-main".into()),
        ]
    }

    proptest! {
        /// Whatever git allows as names, the service takes ours, and no two slots of any two repositories get the same.
        #[test]
        fn git_10_the_mapping_is_total_valid_and_injective(
            user in "\\PC{0,20}",
            names in prop::collection::btree_set((hostile(), 0..2_u8, any::<bool>()), 1..40),
        ) {
            let mut taken: BTreeMap<BranchId, Slot> = BTreeMap::new();
            for (name, repository, is_detached) in names {
                let (slot, label) = if is_detached {
                    let label = Label::Detached { main_git_branch: Some("main"), worktree_dir: &name };
                    (Slot::Worktree(WorktreeId::Linked(name.clone())), label)
                } else {
                    (Slot::Ref(GitRef::new(format!("refs/heads/{name}"))), Label::GitBranch(&name))
                };
                let repository = RepositoryId::new(format!("r{repository}"));
                let branch = choose(&user, &label, &repository, &slot, |id| taken.contains_key(id));
                let text = branch.as_str();
                prop_assert!((3..=63).contains(&text.len()), "{}", text);
                prop_assert!(text.starts_with(|c: char| c.is_ascii_lowercase()), "{}", text);
                prop_assert!(!text.ends_with('-') && !text.contains("--"), "{}", text);
                prop_assert!(text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-')), "{}", text);
                prop_assert!(!text.starts_with("br-"), "{}", text);
                prop_assert!(taken.insert(branch, slot).is_none());
            }
        }
    }
}
