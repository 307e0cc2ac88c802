//! Settings as text: the value of each key in one spelling, and the whole as a file that parses to the same settings.

use super::Settings;
use crate::state::{OnExisting, WorktreeSource};
use chrono::TimeDelta;
use std::fmt::Write;
use std::time::Duration;

impl Settings {
    /// Returns every key with its value in one spelling; `None` for a key that has to be absent.
    pub fn values(&self) -> [(&'static str, Option<String>); 12] {
        let policy = &self.policy;
        let worktree_source = match policy.worktree_source {
            WorktreeSource::Parent => "parent",
            WorktreeSource::Source => "source",
        };
        let on_existing = match policy.on_existing {
            OnExisting::Adopt => "adopt",
            OnExisting::Separate => "separate",
        };
        let text = |text: &str| Some(text.to_owned());
        [
            ("LAKEBASE_PROJECT_ID", text(self.project.as_str())),
            ("LAKEBASE_SOURCE_BRANCH", text(policy.source_branch.as_str())),
            ("LAKEBASE_BRANCH_TTL", Some(delta(policy.ttl.unwrap_or_default()))),
            ("LAKEBASE_PROFILE", self.profile.clone()),
            ("LAKEBASE_DATABASE", text(&self.database)),
            ("LAKEBASE_WORKTREE_SOURCE", text(worktree_source)),
            ("LAKEBASE_ON_EXISTING", text(on_existing)),
            ("LAKEBASE_REAP_GRACE", Some(delta(policy.reap_grace))),
            ("LAKEBASE_HOOK_WAIT", Some(duration(self.hook_wait))),
            ("LAKEBASE_SUSPEND_TIMEOUT", Some(duration(self.suspend_timeout))),
            (
                "LAKEBASE_ENV_FILE",
                Some(self.env_file.clone().unwrap_or_default()),
            ),
            ("LAKEBASE_ENV_PREFIX", text(&self.env_prefix)),
        ]
    }

    /// Returns a file that parses to these settings.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (key, value) in self.values() {
            let quoted = value.as_deref().map(shlex::try_quote);
            // Values hold no NUL, which alone cannot be quoted.
            if let Some(Ok(value)) = quoted {
                writeln!(text, "{key}={value}").unwrap_or_default();
            }
        }
        text
    }
}

fn delta(delta: TimeDelta) -> String {
    duration(delta.to_std().unwrap_or_default())
}

/// Spells a duration with the largest unit that divides it.
fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(86400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];
    let fits = units
        .into_iter()
        .find(|(each, _)| seconds > 0 && seconds.is_multiple_of(*each));
    fits.map_or_else(
        || "0".to_owned(),
        |(each, unit)| format!("{}{unit}", seconds / each),
    )
}

#[cfg(test)]
mod tests {
    use crate::config_file::parse;

    #[test]
    fn settings_survive_being_written_and_read() {
        let all = r#"
            LAKEBASE_PROJECT_ID="shop"
            LAKEBASE_SOURCE_BRANCH="staging"
            LAKEBASE_BRANCH_TTL="0"
            LAKEBASE_PROFILE="dev@x"
            LAKEBASE_DATABASE="it's \"odd\" $HOME #1"
            LAKEBASE_WORKTREE_SOURCE="source"
            LAKEBASE_ON_EXISTING="separate"
            LAKEBASE_REAP_GRACE="90s"
            LAKEBASE_HOOK_WAIT="0"
            LAKEBASE_SUSPEND_TIMEOUT="7d"
            LAKEBASE_ENV_FILE=""
            LAKEBASE_ENV_PREFIX="SHOP_"
        "#;
        for text in [all, "LAKEBASE_PROJECT_ID=shop"] {
            let settings = parse(text).expect("valid");
            assert_eq!(parse(&settings.to_text()), Ok(settings), "{text}");
        }
    }

    #[test]
    fn one_value_has_one_spelling() {
        let of = |ttl: &str| {
            let text = format!("LAKEBASE_PROJECT_ID=a\nLAKEBASE_BRANCH_TTL={ttl}");
            parse(&text).expect("valid").to_text()
        };
        assert_eq!(of("6h"), of("21600s"));
        assert_eq!(of("24h"), of("1d"));
        assert_ne!(of("0"), of("1d"));
    }
}
