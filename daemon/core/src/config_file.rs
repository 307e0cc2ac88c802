//! `lakebase.config`: text in, checked settings out. It is data: nothing in it is expanded or executed, and no key of it
//! can name a host.

mod format;

use crate::confirmed;
use crate::ids::{BranchId, ProjectId};
use crate::state::{OnExisting, Policy, WorktreeSource};
use chrono::TimeDelta;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The largest file that is read.
pub const MAX_BYTES: usize = 64 * 1024;

/// The longest lease that the service grants (branches: 30 days from now).
const MAX_TTL: Duration = Duration::from_hours(30 * 24);
/// The limits of an endpoint's suspend timeout (endpoints: 60 s to 7 days).
const SUSPEND_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_mins(1)..=Duration::from_hours(7 * 24);

const DEFAULT_TTL: Duration = Duration::from_hours(6);
const DEFAULT_REAP_GRACE: Duration = Duration::from_mins(15);
const DEFAULT_HOOK_WAIT: Duration = Duration::from_secs(3);
/// Limit on what a repository may make each `git checkout` of its users wait.
const MAX_HOOK_WAIT: Duration = Duration::from_mins(1);
const DEFAULT_SUSPEND: Duration = Duration::from_mins(5);

/// The keys, in the order of the example file.
const KEYS: [&str; 12] = [
    "LAKEBASE_PROJECT_ID",
    "LAKEBASE_SOURCE_BRANCH",
    "LAKEBASE_BRANCH_TTL",
    "LAKEBASE_PROFILE",
    "LAKEBASE_DATABASE",
    "LAKEBASE_WORKTREE_SOURCE",
    "LAKEBASE_ON_EXISTING",
    "LAKEBASE_REAP_GRACE",
    "LAKEBASE_HOOK_WAIT",
    "LAKEBASE_SUSPEND_TIMEOUT",
    "LAKEBASE_ENV_FILE",
    "LAKEBASE_ENV_PREFIX",
];

/// The checked settings of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `LAKEBASE_PROJECT_ID`.
    pub project: ProjectId,
    /// `LAKEBASE_PROFILE`; `None`: whatever the machine's configuration gives, else Local Lakebase.
    pub profile: Option<String>,
    /// `LAKEBASE_DATABASE`.
    pub database: String,
    /// `LAKEBASE_HOOK_WAIT`; zero: a hook does not wait.
    pub hook_wait: Duration,
    /// `LAKEBASE_SUSPEND_TIMEOUT`.
    pub suspend_timeout: Duration,
    /// `LAKEBASE_ENV_FILE`, relative to the worktree; `None`: write none.
    pub env_file: Option<String>,
    /// `LAKEBASE_ENV_PREFIX`; empty: none.
    pub env_prefix: String,
    /// The rules for branches.
    pub policy: Policy,
}

/// What is wrong with the text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Line number from 1; `None` when the whole text is meant.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Parses the text of a `lakebase.config`.
///
/// # Errors
/// The first thing that is wrong: a line that is no `KEY="value"`, an unknown or repeated key, a value outside its
/// grammar, or no `LAKEBASE_PROJECT_ID`.
pub fn parse(text: &str) -> Result<Settings, ConfigError> {
    if text.len() > MAX_BYTES {
        return Err(whole(format!("the file is larger than {MAX_BYTES} bytes")));
    }
    let values = Values(read_lines(text)?);
    let ttl = values.checked("LAKEBASE_BRANCH_TTL", DEFAULT_TTL, ttl)?;
    let project = values
        .optional("LAKEBASE_PROJECT_ID", |text| {
            resource_id(text).map(ProjectId::new)
        })?
        .ok_or_else(|| whole("LAKEBASE_PROJECT_ID is missing".into()))?;
    Ok(Settings {
        project,
        profile: values.optional("LAKEBASE_PROFILE", profile)?,
        database: values.checked("LAKEBASE_DATABASE", "databricks_postgres".into(), database)?,
        hook_wait: values.checked("LAKEBASE_HOOK_WAIT", DEFAULT_HOOK_WAIT, hook_wait)?,
        suspend_timeout: values.checked("LAKEBASE_SUSPEND_TIMEOUT", DEFAULT_SUSPEND, suspend_timeout)?,
        env_file: values.checked("LAKEBASE_ENV_FILE", Some(".env".into()), env_file)?,
        env_prefix: values.checked("LAKEBASE_ENV_PREFIX", String::new(), env_prefix)?,
        policy: Policy {
            source_branch: values.checked("LAKEBASE_SOURCE_BRANCH", BranchId::new("production"), |text| {
                resource_id(text).map(BranchId::new)
            })?,
            ttl: (!ttl.is_zero()).then(|| delta(ttl)),
            reap_grace: delta(values.checked("LAKEBASE_REAP_GRACE", DEFAULT_REAP_GRACE, duration)?),
            worktree_source: values.checked(
                "LAKEBASE_WORKTREE_SOURCE",
                WorktreeSource::Parent,
                worktree_source,
            )?,
            on_existing: values.checked("LAKEBASE_ON_EXISTING", OnExisting::Adopt, on_existing)?,
        },
    })
}

/// Parses a text that was valid when it was stored, perhaps for an earlier release. A key or a value that is not valid today has
/// its default. `None`: there is no project, or a value that is refused has a key that needs confirmation; its default may choose
/// other data.
pub fn parse_stored(text: &str) -> Option<Settings> {
    // With the project first, every prefix of the text is a configuration.
    let is_project = |line: &&str| line.trim_start().starts_with("LAKEBASE_PROJECT_ID");
    let (project, others): (Vec<&str>, Vec<&str>) = text.lines().partition(is_project);
    let mut kept = project.join("\n");
    for line in others {
        let with_line = format!("{kept}\n{line}");
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        match parse(&with_line) {
            Ok(_) => kept = with_line,
            Err(_) if confirmed::is_guarded(key) => return None,
            Err(_) => {}
        }
    }
    parse(&kept).ok()
}

/// The raw values by key, with their line numbers.
struct Values(BTreeMap<&'static str, (usize, String)>);

impl Values {
    fn optional<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((line, text)) = self.0.get(key) else {
            return Ok(None);
        };
        let error = |message| ConfigError {
            line: Some(*line),
            message: format!("{key}: {message}"),
        };
        parse(text).map(Some).map_err(error)
    }

    fn checked<T>(
        &self,
        key: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        Ok(self.optional(key, parse)?.unwrap_or(default))
    }
}

fn read_lines(text: &str) -> Result<BTreeMap<&'static str, (usize, String)>, ConfigError> {
    let mut values = BTreeMap::new();
    for (line, content) in (1..).zip(text.lines()) {
        let content = content.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let error = |message| ConfigError {
            line: Some(line),
            message,
        };
        let (key, value) = read_line(content).map_err(error)?;
        if values.insert(key, (line, value)).is_some() {
            return Err(error(format!("`{key}` is set twice")));
        }
    }
    Ok(values)
}

fn read_line(content: &str) -> Result<(&'static str, String), String> {
    let (key, value) = content.split_once('=').ok_or("expected KEY=\"value\"")?;
    let key = key.trim();
    let known = KEYS
        .into_iter()
        .find(|known| *known == key)
        .ok_or_else(|| unknown_key(key))?;
    let mut words = shlex::split(value).ok_or_else(|| format!("`{known}` has a quote that is not closed"))?;
    let value = words.pop().unwrap_or_default();
    if !words.is_empty() {
        return Err(format!("`{known}` has more than one word; put quotes around it"));
    }
    if value.contains(char::is_control) {
        return Err(format!("`{known}` holds a control character"));
    }
    Ok((known, value))
}

fn unknown_key(key: &str) -> String {
    let distance = |known: &&str| strsim::damerau_levenshtein(&key.to_uppercase(), known);
    let nearest = KEYS.into_iter().min_by_key(distance).unwrap_or(KEYS[0]);
    format!(
        "unknown key `{}`; the nearest known one is `{nearest}`",
        key.escape_debug()
    )
}

fn whole(message: String) -> ConfigError {
    ConfigError { line: None, message }
}

// ---- the grammars of the values

fn resource_id(text: &str) -> Result<String, String> {
    let is_valid = (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err("must start with a lower-case letter and hold only a-z, 0-9 and -, at most 63 characters".into())
    }
}

fn profile(text: &str) -> Result<String, String> {
    let is_valid = (1..=128).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@'));
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err("must be the name of a Databricks profile, or `local`".into())
    }
}

/// Reads a name that libpq takes for a database's name alone. One with `=` or the prefix of a URI is a whole connection string
/// there, and can name another host
/// (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-DBNAME>).
fn database(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let is_connection = text.contains('=')
        || ["postgres://", "postgresql://"]
            .iter()
            .any(|uri| lower.starts_with(uri));
    match text.len() {
        1..=63 if !is_connection => Ok(text.to_owned()),
        1..=63 => Err("must be a database's name, without `=` and not a URI".into()),
        _ => Err("must have 1 to 63 bytes".into()),
    }
}

fn hook_wait(text: &str) -> Result<Duration, String> {
    let wait = duration(text)?;
    if wait > MAX_HOOK_WAIT {
        return Err("must be at most 60s: `git checkout` waits for the hook".into());
    }
    Ok(wait)
}

fn env_file(text: &str) -> Result<Option<String>, String> {
    let is_inside = !text.starts_with('/')
        && text
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git"));
    match text {
        "" => Ok(None),
        text if is_inside => Ok(Some(text.to_owned())),
        _ => Err("must be a path inside the worktree, as in `.env`".into()),
    }
}

fn env_prefix(text: &str) -> Result<String, String> {
    let is_valid = text.len() <= 64
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if is_valid {
        Ok(text.to_owned())
    } else {
        Err("must hold only A-Z, 0-9 and _, as in `SHOP_`".into())
    }
}

fn worktree_source(text: &str) -> Result<WorktreeSource, String> {
    match text {
        "parent" => Ok(WorktreeSource::Parent),
        "source" => Ok(WorktreeSource::Source),
        _ => Err("must be `parent` or `source`".into()),
    }
}

fn on_existing(text: &str) -> Result<OnExisting, String> {
    match text {
        "adopt" => Ok(OnExisting::Adopt),
        "separate" => Ok(OnExisting::Separate),
        _ => Err("must be `adopt` or `separate`".into()),
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration(text)?;
    if ttl > MAX_TTL {
        return Err("must be at most 30 days".into());
    }
    if !ttl.is_zero() && ttl < Duration::from_mins(2) {
        return Err("must be at least 2 minutes, or 0 for no expiration".into());
    }
    Ok(ttl)
}

fn suspend_timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    if SUSPEND_RANGE.contains(&timeout) {
        Ok(timeout)
    } else {
        Err("must be from 60s to 7d".into())
    }
}

/// Reads `21600s`, `6h`, `15m`, `30d` or `0`.
fn duration(text: &str) -> Result<Duration, String> {
    const HINT: &str = "must be a whole number with a unit, as in 90s, 15m, 6h or 7d, or 0";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit = text.chars().last().ok_or(HINT)?;
    let seconds_each: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return Err(HINT.into()),
    };
    let digits = &text[..text.len() - unit.len_utf8()];
    let is_plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| is_plain).ok_or(HINT)?;
    let seconds = count
        .checked_mul(seconds_each)
        .filter(|seconds| *seconds <= 366 * 86400);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "must be at most a year".into())
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).expect("durations are at most a year")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINIMAL: &str = "LAKEBASE_PROJECT_ID=\"shop\"\n";

    fn error(text: &str) -> String {
        parse(text).expect_err("the text is wrong").to_string()
    }

    #[test]
    fn defaults_fill_what_is_not_said() {
        let settings = parse(MINIMAL).expect("minimal");
        assert_eq!(settings.project.as_str(), "shop");
        assert_eq!(settings.policy.source_branch.as_str(), "production");
        assert_eq!(settings.policy.ttl, Some(TimeDelta::hours(6)));
        assert_eq!(settings.env_file.as_deref(), Some(".env"));
        assert_eq!(settings.hook_wait, Duration::from_secs(3));
    }

    #[test]
    fn an_unknown_key_names_the_line_and_the_nearest_key() {
        let text = format!("{MINIMAL}\n# ttl\nLAKEBASE_BRANCH_TLT=\"6h\"\n");
        assert_eq!(
            error(&text),
            "line 4: unknown key `LAKEBASE_BRANCH_TLT`; the nearest known one is `LAKEBASE_BRANCH_TTL`"
        );
    }

    #[test]
    fn sec_10_nothing_is_expanded_or_executed() {
        for value in [
            "$(touch /tmp/x)",
            "`id`",
            "$HOME",
            "a;b",
            "a b",
            "../x",
            "https://evil",
            "a\\\"b",
        ] {
            let text = format!("LAKEBASE_PROJECT_ID=\"{value}\"\n");
            assert!(error(&text).starts_with("line 1: "), "{value}");
        }
    }

    #[test]
    fn values_outside_their_grammar_are_named() {
        let cases = [
            (
                "LAKEBASE_BRANCH_TTL=6x",
                "line 2: LAKEBASE_BRANCH_TTL: must be a whole number",
            ),
            (
                "LAKEBASE_BRANCH_TTL=31d",
                "line 2: LAKEBASE_BRANCH_TTL: must be at most 30 days",
            ),
            (
                "LAKEBASE_ENV_FILE=../.env",
                "line 2: LAKEBASE_ENV_FILE: must be a path inside",
            ),
            (
                "LAKEBASE_ENV_FILE=/etc/passwd",
                "line 2: LAKEBASE_ENV_FILE: must be a path inside",
            ),
            (
                "LAKEBASE_ENV_FILE=.git/config",
                "line 2: LAKEBASE_ENV_FILE: must be a path inside",
            ),
            (
                "LAKEBASE_ENV_FILE=sub/.GIT/config",
                "line 2: LAKEBASE_ENV_FILE: must be a path inside",
            ),
            (
                "LAKEBASE_SUSPEND_TIMEOUT=5s",
                "line 2: LAKEBASE_SUSPEND_TIMEOUT: must be from 60s",
            ),
            (
                "LAKEBASE_HOOK_WAIT=61s",
                "line 2: LAKEBASE_HOOK_WAIT: must be at most 60s",
            ),
            (
                "LAKEBASE_WORKTREE_SOURCE=both",
                "line 2: LAKEBASE_WORKTREE_SOURCE: must be `parent`",
            ),
            (
                "LAKEBASE_PROFILE=\"a b\"",
                "line 2: LAKEBASE_PROFILE: must be the name",
            ),
            (
                "LAKEBASE_PROFILE=a b",
                "line 2: `LAKEBASE_PROFILE` has more than one word",
            ),
            (
                "LAKEBASE_PROFILE=\"a",
                "line 2: `LAKEBASE_PROFILE` has a quote that is not closed",
            ),
            (
                "LAKEBASE_PROJECT_ID=x",
                "line 2: `LAKEBASE_PROJECT_ID` is set twice",
            ),
            ("hello", "line 2: expected KEY=\"value\""),
        ];
        for (line, expected) in cases {
            let error = error(&format!("{MINIMAL}{line}\n"));
            assert!(error.starts_with(expected), "{line}: {error}");
        }
    }

    /// libpq expands a database's name that looks like a connection string.
    #[test]
    fn sec_40_a_database_cannot_name_a_host() {
        for database in [
            "host=evil.example sslmode=disable",
            "dbname=shop host=evil.example",
            "postgres://evil.example/shop",
            "PostgreSQL://evil.example/shop",
            &"x".repeat(64),
            "",
        ] {
            let text = format!("{MINIMAL}LAKEBASE_DATABASE=\"{database}\"\n");
            assert!(
                error(&text).starts_with("line 2: LAKEBASE_DATABASE: must "),
                "{database}"
            );
        }
        let text = format!("{MINIMAL}LAKEBASE_DATABASE=\"shop\u{7}\"\n");
        assert_eq!(
            error(&text),
            "line 2: `LAKEBASE_DATABASE` holds a control character"
        );
        for database in ["shop", "my shop", "sh:op//", "größe"] {
            let text = format!("{MINIMAL}LAKEBASE_DATABASE='{database}'\n");
            assert_eq!(parse(&text).expect("a name").database, database);
        }
    }

    #[test]
    fn the_project_is_required() {
        assert_eq!(error("# nothing\n"), "LAKEBASE_PROJECT_ID is missing");
    }

    #[test]
    fn the_example_file_names_every_key_with_its_default() {
        let example = include_str!("../../../lakebase.config.example");
        let mut spelt_out = String::new();
        for line in example.lines() {
            let setting = line
                .strip_prefix("# ")
                .filter(|rest| rest.starts_with("LAKEBASE_"))
                .unwrap_or(line);
            spelt_out.push_str(setting);
            spelt_out.push('\n');
        }
        for key in KEYS {
            assert!(
                spelt_out.lines().any(|line| line.starts_with(&format!("{key}="))),
                "{key} is not in the example"
            );
        }
        let plain = parse(example).expect("the example is valid");
        // An empty profile in the example would not parse; its default is "not set".
        let without_profile: String = spelt_out
            .lines()
            .filter(|l| !l.starts_with("LAKEBASE_PROFILE"))
            .fold(String::new(), |all, l| all + l + "\n");
        assert_eq!(parse(&without_profile).expect("every default is valid"), plain);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            drop(parse(&text));
        }

        #[test]
        fn no_value_makes_it_panic(key in 0..KEYS.len(), value in "\\PC{0,60}") {
            drop(parse(&format!("{}={value}\n", KEYS[key])));
        }
    }

    #[test]
    fn sec_57_a_stored_text_is_read_as_far_as_it_is_valid_today() {
        let stored = "# lakebase\nLAKEBASE_HOOK_WAIT=\"5m\"\nLAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_OLD=1\n\
                      LAKEBASE_DATABASE=\"host=evil\"\nLAKEBASE_ENV_FILE=\"a\"\n";
        let settings = parse_stored(stored).expect("it has a project");
        let same = parse("LAKEBASE_PROJECT_ID=shop\nLAKEBASE_ENV_FILE=a\n").expect("valid");
        assert_eq!(settings, same);
        assert_eq!(parse_stored("LAKEBASE_ENV_FILE=\"a\"\n"), None);
        assert_eq!(parse_stored("LAKEBASE_PROJECT_ID=\"Not One\"\n"), None);
        assert_eq!(parse_stored("garbage"), None);
        let refused = "LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_PROFILE=\"of another form\"\n";
        assert_eq!(parse_stored(refused), None, "the default is another place");
    }
}
