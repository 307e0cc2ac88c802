//! Names of things as types: parsed at the edge, trusted after.

use crate::Timestamp;
use std::fmt;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes a text that is known to be one.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// One registered repository, whatever its path is today.
    RepositoryId
}
text_id! {
    /// A Lakebase project, as in `shop`.
    ProjectId
}
text_id! {
    /// The name of a branch in its project, as in `jane-main`. A label: two branches may carry it one after the other.
    BranchId
}
text_id! {
    /// What the service calls one branch for ever. Never used again after it is gone.
    BranchUid
}
text_id! {
    /// A local git branch by its full name, as in `refs/heads/feature/x`.
    GitRef
}

impl GitRef {
    const HEADS: &str = "refs/heads/";
    /// What git's own lock files end with.
    const LOCK: &str = ".lock";

    /// Takes a full name, if it is one by git's rules (`git help check-ref-format`).
    pub fn parse(text: &str) -> Option<Self> {
        let is_odd = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
        let is_no_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(Self::LOCK);
        let is_name = text.starts_with("refs/")
            && !text.contains(is_odd)
            && !["..", "@{"].iter().any(|odd| text.contains(odd))
            && !text.ends_with('.')
            && !text.split('/').any(is_no_part);
        is_name.then(|| Self::new(text))
    }

    /// Takes the short name of a local git branch.
    pub fn parse_short(text: &str) -> Option<Self> {
        Self::parse(&format!("{}{text}", Self::HEADS))
    }

    /// Takes the full name of a local git branch.
    pub fn parse_head(text: &str) -> Option<Self> {
        Self::parse(text).filter(|name| name.0.starts_with(Self::HEADS))
    }

    /// The short name, as in `feature/x`.
    pub fn short(&self) -> &str {
        self.0.strip_prefix(Self::HEADS).unwrap_or(&self.0)
    }
}

/// Which of a repository's worktrees: the main one, or a linked one by the name of its admin directory. Survives
/// `git worktree move`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorktreeId {
    /// The worktree that holds the repository.
    Main,
    /// A directory below `worktrees/`.
    Linked(String),
}

impl WorktreeId {
    /// What a worktree is called in the records when another one has its name. Git's own names hold no slash.
    #[must_use]
    pub fn succeeded(&self, since: Timestamp) -> Self {
        Self::Linked(format!("{}/{}", self.as_str(), since.timestamp_millis()))
    }

    /// The form in the ledger and the contract: empty for the main worktree.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Main => "",
            Self::Linked(name) => name,
        }
    }

    /// The inverse of [`WorktreeId::as_str`].
    pub fn parse(text: &str) -> Self {
        if text.is_empty() {
            Self::Main
        } else {
            Self::Linked(text.to_owned())
        }
    }
}

/// What a branch belongs to. Its repository is known from where the slot stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// A git branch, wherever it is checked out.
    Ref(GitRef),
    /// A worktree whose HEAD is detached.
    Worktree(WorktreeId),
}

impl Slot {
    /// The form in the ledger: `ref:refs/heads/x` or `worktree:name`.
    pub fn key(&self) -> String {
        match self {
            Self::Ref(name) => format!("ref:{name}"),
            Self::Worktree(id) => format!("worktree:{}", id.as_str()),
        }
    }

    /// The inverse of [`Slot::key`]; `None` for any other text.
    pub fn parse(key: &str) -> Option<Self> {
        let (kind, name) = key.split_once(':')?;
        match kind {
            "ref" => Some(Self::Ref(GitRef::new(name))),
            "worktree" => Some(Self::Worktree(WorktreeId::parse(name))),
            _ => None,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ref(name) => write!(f, "git branch {}", name.short()),
            Self::Worktree(WorktreeId::Main) => f.write_str("detached main worktree"),
            Self::Worktree(WorktreeId::Linked(name)) => write!(f, "detached worktree {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn git_05_a_ref_has_a_name_by_gits_rules() {
        let long = "n/".repeat(2000);
        let good = [
            "x",
            "-x",
            "a/b",
            "a.b",
            "x.lock_",
            "a@b",
            "{",
            "caf\u{e9}",
            "!!!",
            "a{@",
            "\u{202e}x",
        ];
        for name in good.into_iter().map(str::to_owned).chain([format!("{long}x")]) {
            assert_eq!(
                GitRef::parse_short(&name).map(|name| name.short().to_owned()),
                Some(name)
            );
        }
        let odd = [
            "", "/", "a/", "/a", "a//b", "a..b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "a b", "a~", "a^",
            "a:b", "a?", "a*", "a[", "a\\b", "a@{b", "a\u{7f}", "a\tb", "a\nb",
        ];
        for name in odd {
            assert_eq!(GitRef::parse_short(name), None, "{name:?}");
        }
        assert_eq!(GitRef::parse("HEAD"), None);
        assert_eq!(GitRef::parse_head("refs/tags/a"), None);
    }

    proptest! {
        #[test]
        fn a_slot_survives_the_ledger(name in "\\PC{0,40}", is_ref: bool) {
            let slot = if is_ref { Slot::Ref(GitRef::new(name)) } else { Slot::Worktree(WorktreeId::parse(&name)) };
            prop_assert_eq!(Slot::parse(&slot.key()), Some(slot));
        }
    }
}
