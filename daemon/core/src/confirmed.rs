//! Which part of a changed `lakebase.config` applies at once, and which only when the user has confirmed it. The file comes with
//! a merge or a checkout; it must not move running worktrees to other data, or change what is deleted.

use crate::config_file::Settings;

/// A changed setting that waits for confirmation. `None`: the key is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key in the file.
    pub key: &'static str,
    /// The value in force.
    pub confirmed: Option<String>,
    /// The value in the file.
    pub proposed: Option<String>,
}

/// A proposal, weighed against the confirmed configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The settings that apply now.
    pub in_force: Settings,
    /// The changes that do not.
    pub pending: Vec<Change>,
}

/// A key that needs confirmation.
struct Guarded {
    key: &'static str,
    /// Keeps the confirmed value.
    keep: fn(&mut Settings, &Settings),
}

/// The keys that choose other data, a place for passwords, or what is deleted and kept.
const GUARDED: [Guarded; 8] = [
    Guarded {
        key: "LAKEBASE_PROJECT_ID",
        keep: |to, from| to.project.clone_from(&from.project),
    },
    Guarded {
        key: "LAKEBASE_SOURCE_BRANCH",
        keep: |to, from| to.policy.source_branch.clone_from(&from.policy.source_branch),
    },
    Guarded {
        key: "LAKEBASE_BRANCH_TTL",
        // Another lease applies at once; having none does not: such branches are never cleaned up.
        keep: |to, from| to.policy.ttl = to.policy.ttl.or(from.policy.ttl),
    },
    Guarded {
        key: "LAKEBASE_PROFILE",
        keep: |to, from| to.profile.clone_from(&from.profile),
    },
    Guarded {
        key: "LAKEBASE_WORKTREE_SOURCE",
        keep: |to, from| to.policy.worktree_source = from.policy.worktree_source,
    },
    Guarded {
        key: "LAKEBASE_ON_EXISTING",
        keep: |to, from| to.policy.on_existing = from.policy.on_existing,
    },
    Guarded {
        key: "LAKEBASE_REAP_GRACE",
        keep: |to, from| to.policy.reap_grace = from.policy.reap_grace,
    },
    Guarded {
        key: "LAKEBASE_ENV_FILE",
        keep: |to, from| to.env_file.clone_from(&from.env_file),
    },
];

/// Weighs the file's settings against the confirmed ones. Without confirmed ones the file's apply: to register a repository is the
/// consent to its first configuration, and nothing is moved by it.
pub fn judge(confirmed: Option<&Settings>, proposed: &Settings) -> Verdict {
    let mut in_force = proposed.clone();
    if let Some(confirmed) = confirmed {
        for guarded in &GUARDED {
            (guarded.keep)(&mut in_force, confirmed);
        }
    }
    Verdict {
        pending: changes(&in_force, proposed),
        in_force,
    }
}

/// Returns the keys whose values differ. Spelling makes no difference.
pub fn changes(from: &Settings, to: &Settings) -> Vec<Change> {
    let pairs = from.values().into_iter().zip(to.values());
    let differ = pairs.filter(|((_, from), (_, to))| from != to);
    differ
        .map(|((key, confirmed), (_, proposed))| Change {
            key,
            confirmed,
            proposed,
        })
        .collect()
}

/// Returns every key with its value, for a configuration that replaces an unknown one.
pub fn all(to: &Settings) -> Vec<Change> {
    let values = to.values().into_iter().filter(|(_, value)| value.is_some());
    values
        .map(|(key, proposed)| Change {
            key,
            confirmed: None,
            proposed,
        })
        .collect()
}

/// Returns whether a key needs confirmation, at least for some values.
pub fn is_guarded(key: &str) -> bool {
    GUARDED.iter().any(|guarded| guarded.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::parse;

    const CONFIRMED: &str = "LAKEBASE_PROJECT_ID=shop\nLAKEBASE_PROFILE=local\n";

    fn with(line: &str) -> Settings {
        let key = line.split('=').next().expect("a key");
        let others = CONFIRMED.lines().filter(|line| !line.starts_with(key));
        let text: Vec<&str> = others.chain([line]).collect();
        parse(&text.join("\n")).expect("valid")
    }

    #[test]
    fn sec_50_each_key_that_moves_data_waits_and_each_other_applies() {
        let confirmed = parse(CONFIRMED).expect("valid");
        for line in [
            "LAKEBASE_PROJECT_ID=other",
            "LAKEBASE_SOURCE_BRANCH=staging",
            "LAKEBASE_BRANCH_TTL=0",
            "LAKEBASE_PROFILE=prod",
            "LAKEBASE_WORKTREE_SOURCE=source",
            "LAKEBASE_ON_EXISTING=separate",
            "LAKEBASE_REAP_GRACE=0",
            "LAKEBASE_ENV_FILE=public/env.txt",
        ] {
            let verdict = judge(Some(&confirmed), &with(line));
            let (key, value) = line.split_once('=').expect("a key");
            assert_eq!(verdict.in_force, confirmed, "{line}");
            assert_eq!(verdict.pending.len(), 1, "{line}");
            assert_eq!(verdict.pending[0].key, key);
            assert_eq!(verdict.pending[0].proposed.as_deref(), Some(value));
            assert!(is_guarded(key));
        }
        for line in [
            "LAKEBASE_BRANCH_TTL=1h",
            "LAKEBASE_DATABASE=other",
            "LAKEBASE_HOOK_WAIT=0",
            "LAKEBASE_SUSPEND_TIMEOUT=60s",
            "LAKEBASE_ENV_PREFIX=SHOP_",
        ] {
            let proposed = with(line);
            let verdict = judge(Some(&confirmed), &proposed);
            assert_eq!((verdict.in_force, verdict.pending), (proposed, vec![]), "{line}");
        }
    }

    #[test]
    fn sec_50_a_key_that_is_dropped_waits_too() {
        let confirmed = parse(CONFIRMED).expect("valid");
        let proposed = parse("LAKEBASE_PROJECT_ID=shop").expect("valid");
        let verdict = judge(Some(&confirmed), &proposed);
        assert_eq!(verdict.in_force, confirmed);
        let change = Change {
            key: "LAKEBASE_PROFILE",
            confirmed: Some("local".into()),
            proposed: None,
        };
        assert_eq!(verdict.pending, [change]);
    }

    #[test]
    fn sec_50_another_spelling_is_no_change_and_a_lease_comes_back_at_once() {
        let confirmed = with("LAKEBASE_REAP_GRACE=15m");
        let verdict = judge(Some(&confirmed), &with("LAKEBASE_REAP_GRACE=\"900s\""));
        assert_eq!(verdict.pending, []);
        let verdict = judge(
            Some(&with("LAKEBASE_BRANCH_TTL=0")),
            &with("LAKEBASE_BRANCH_TTL=6h"),
        );
        assert_eq!((verdict.pending, verdict.in_force), (vec![], confirmed));
    }

    #[test]
    fn sec_50_the_first_configuration_applies() {
        let proposed = with("LAKEBASE_BRANCH_TTL=0");
        let verdict = judge(None, &proposed);
        assert_eq!((verdict.in_force, verdict.pending), (proposed, vec![]));
    }

    #[test]
    fn sec_50_what_applies_stays_in_force_while_the_rest_waits() {
        let confirmed = parse(CONFIRMED).expect("valid");
        let proposed =
            parse("LAKEBASE_PROJECT_ID=other\nLAKEBASE_PROFILE=local\nLAKEBASE_DATABASE=d").expect("valid");
        let first = judge(Some(&confirmed), &proposed);
        assert_eq!(first.in_force.project, confirmed.project);
        assert_eq!(first.in_force.database, "d");
        assert_eq!(judge(Some(&first.in_force), &proposed), first, "again and again");
    }
}
