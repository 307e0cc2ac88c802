//! Names of things as types: parsed at the edge, trusted after.

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

    proptest! {
        #[test]
        fn a_slot_survives_the_ledger(name in "\\PC{0,40}", is_ref: bool) {
            let slot = if is_ref { Slot::Ref(GitRef::new(name)) } else { Slot::Worktree(WorktreeId::parse(&name)) };
            prop_assert_eq!(Slot::parse(&slot.key()), Some(slot));
        }
    }
}
