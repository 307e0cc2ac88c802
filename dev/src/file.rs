//! `lakebase.dev.toml`: text in, checked processes out. Reads no disk, and starts nothing.

use crate::ready::Probe;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// The largest file that is read.
pub(crate) const MAX_BYTES: u64 = 64 * 1024;
/// As many ports as a worktree has.
const MAX_PROCESSES: usize = 10;

const KEYS: &[&str] = &["open", "process", "check", "build"];
const PROCESS_KEYS: &[&str] = &[
    "run", "build", "dir", "port", "ready", "url", "env", "watch", "after", "once", "database",
];
const LIST_KEYS: &[&str] = &["run"];

/// What is wrong with the text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileError {
    /// Line number from 1; `None` when the whole text is meant.
    line: Option<usize>,
    message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for FileError {}

/// The checked file.
#[derive(Debug, Clone)]
pub(crate) struct DevFile {
    /// In the order of the file.
    pub(crate) processes: Vec<Process>,
    /// Which process has the URL that is printed.
    pub(crate) open: Option<usize>,
    pub(crate) check: Vec<String>,
    pub(crate) build: Vec<String>,
}

/// One process as it is written, places of ports still to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) name: String,
    /// Indexes of those that are ready before it starts.
    pub(crate) after: Vec<usize>,
    raw: RawProcess,
}

#[derive(Debug, Clone, Deserialize)]
struct RawFile {
    open: Option<String>,
    #[serde(default)]
    process: BTreeMap<String, RawProcess>,
    check: Option<RawList>,
    build: Option<RawList>,
}

#[derive(Debug, Clone, Deserialize)]
struct RawList {
    run: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct RawProcess {
    run: String,
    build: Option<String>,
    #[serde(default)]
    dir: String,
    port: Option<String>,
    ready: Option<String>,
    url: Option<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    watch: Vec<String>,
    #[serde(default)]
    after: Vec<String>,
    #[serde(default)]
    once: bool,
    #[serde(default)]
    database: bool,
}

/// One process, ready to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) run: String,
    /// Run before it is started, and on each change, while the last good one goes on.
    pub(crate) build: Option<String>,
    /// Below the root.
    pub(crate) dir: String,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) port: Option<u16>,
    pub(crate) url: Option<String>,
    pub(crate) probe: Probe,
    pub(crate) watch: Vec<String>,
    pub(crate) after: Vec<usize>,
    pub(crate) once: bool,
    pub(crate) database: bool,
}

/// Parses the text of a `lakebase.dev.toml`.
///
/// # Errors
/// The first thing that is wrong.
pub(crate) fn parse(text: &str) -> Result<DevFile, FileError> {
    let at = |span: Option<Range<usize>>, message: String| FileError {
        line: span.map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1),
        message,
    };
    let syntax = |error: &toml::de::Error| at(error.span(), error.message().trim().replace('\n', "; "));
    let table = DeTable::parse(text).map_err(|error| syntax(&error))?;
    let names = known_keys(table.get_ref()).map_err(|(span, message)| at(Some(span), message))?;
    let raw: RawFile = toml::from_str(text).map_err(|error| syntax(&error))?;
    let place = |name: &str| {
        names
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, span)| span.clone())
    };
    let names: Vec<String> = names.iter().map(|(name, _)| name.clone()).collect();
    check(&raw, &names).map_err(|(name, message)| at(name.as_deref().and_then(place), message))
}

/// A process's name, and where it stands.
type Named = (String, Range<usize>);
/// Where something is wrong, and what.
type Misplaced = (Range<usize>, String);

/// Refuses keys that nobody knows, and returns the processes' names in the order of the file.
fn known_keys(file: &DeTable<'_>) -> Result<Vec<Named>, Misplaced> {
    let mut names = Vec::new();
    known(file, KEYS)?;
    for (key, value) in file {
        let DeValue::Table(table) = value.get_ref() else {
            continue;
        };
        match key.get_ref().as_ref() {
            "process" => {
                for (name, value) in table {
                    if let DeValue::Table(process) = value.get_ref() {
                        known(process, PROCESS_KEYS)?;
                    }
                    names.push((name.get_ref().to_string(), name.span()));
                }
            }
            _ => known(table, LIST_KEYS)?,
        }
    }
    names.sort_by_key(|(_, span)| span.start);
    Ok(names)
}

fn known(table: &DeTable<'_>, keys: &[&str]) -> Result<(), Misplaced> {
    let unknown = table.keys().find(|key| !keys.contains(&key.get_ref().as_ref()));
    unknown.map_or(Ok(()), |key| {
        Err((key.span(), unknown_word("key", key.get_ref(), keys)))
    })
}

fn unknown_word(what: &str, word: &str, known: &[&str]) -> String {
    let distance = |known: &&&str| strsim::damerau_levenshtein(&word.to_lowercase(), known);
    let nearest = known.iter().min_by_key(distance).copied().unwrap_or("none");
    format!(
        "unknown {what} `{}`; the nearest known one is `{nearest}`",
        word.escape_debug()
    )
}

/// The process that is meant, and what is wrong with it.
type Wrong = (Option<String>, String);

fn check(raw: &RawFile, names: &[String]) -> Result<DevFile, Wrong> {
    let whole = |message: &str| (None, message.to_owned());
    if names.len() > MAX_PROCESSES {
        return Err(whole("there are more than ten processes"));
    }
    let mut processes = Vec::new();
    for name in names {
        let wrong = |message: String| (Some(name.clone()), format!("process `{name}`: {message}"));
        let process = raw
            .process
            .get(name)
            .ok_or_else(|| whole("a process has no table"))?;
        is_fine(name, process).map_err(wrong)?;
        let after = process.after.iter().map(|other| index_of(other, names));
        let after = after
            .collect::<Result<_, _>>()
            .map_err(|message| wrong(format!("after: {message}")))?;
        processes.push(Process {
            name: name.clone(),
            after,
            raw: process.clone(),
        });
    }
    if let Some(name) = in_a_circle(&processes) {
        return Err((
            Some(name.clone()),
            format!("process `{name}` waits for itself: see `after`"),
        ));
    }
    let file = DevFile {
        open: open(raw, &processes).map_err(|message| (None, message))?,
        check: raw.check.clone().map(|list| list.run).unwrap_or_default(),
        build: raw.build.clone().map(|list| list.run).unwrap_or_default(),
        processes,
    };
    // With any ports, so that a wrong place for one is found now.
    let ports: BTreeMap<String, u16> = file.with_ports().map(|name| (name.to_owned(), 1)).collect();
    file.plans(&ports)
        .map_err(|(name, message)| (Some(name.clone()), format!("process `{name}`: {message}")))?;
    Ok(file)
}

fn is_fine(name: &str, process: &RawProcess) -> Result<(), String> {
    let is_word = |word: &str, more: &[char]| {
        let good = |c: char| c.is_ascii_alphanumeric() || more.contains(&c);
        word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && word.chars().all(good)
    };
    if !is_word(name, &['-', '_']) || name.len() > 20 {
        return Err("a name is at most 20 of a-z, A-Z, 0-9, - and _, and begins with a letter".into());
    }
    if process.run.trim().is_empty() {
        return Err("`run` is empty".into());
    }
    let variables = process.port.iter().chain(process.env.keys());
    if let Some(wrong) = variables.into_iter().find(|name| !is_word(name, &['_'])) {
        return Err(format!("`{}` is no name of a variable", wrong.escape_debug()));
    }
    if process.once && (process.port.is_some() || process.ready.is_some() || process.build.is_some()) {
        return Err("one that runs `once` has no `port`, `ready` or `build`".into());
    }
    let is_outside = |path: &&String| path.starts_with('/') || path.split('/').any(|part| part == "..");
    if let Some(path) = process.watch.iter().chain([&process.dir]).find(is_outside) {
        return Err(format!(
            "`{}` is not below the directory of this file",
            path.escape_debug()
        ));
    }
    Ok(())
}

fn index_of(name: &str, names: &[String]) -> Result<usize, String> {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = names.iter().position(|known| known == name);
    found.ok_or_else(|| unknown_word("process", name, &known))
}

/// Finds a process that can never start, because it waits for those that wait for it.
fn in_a_circle(processes: &[Process]) -> Option<String> {
    let mut can_start = vec![false; processes.len()];
    for _ in processes {
        for (index, process) in processes.iter().enumerate() {
            can_start[index] = process.after.iter().all(|other| can_start[*other]);
        }
    }
    let stuck = can_start.iter().position(|can| !can)?;
    processes.get(stuck).map(|process| process.name.clone())
}

fn open(raw: &RawFile, processes: &[Process]) -> Result<Option<usize>, String> {
    let has_url = |process: &Process| process.raw.port.is_some() || process.raw.url.is_some();
    if let Some(name) = &raw.open {
        let names: Vec<String> = processes.iter().map(|process| process.name.clone()).collect();
        let index = index_of(name, &names).map_err(|message| format!("open: {message}"))?;
        return if has_url(&processes[index]) {
            Ok(Some(index))
        } else {
            Err(format!("open: process `{name}` has neither `port` nor `url`"))
        };
    }
    let with: Vec<usize> = (0..processes.len())
        .filter(|index| has_url(&processes[*index]))
        .collect();
    match with.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err("`open` is missing: it names the process whose URL `lakebase dev start` prints".into()),
    }
}

impl DevFile {
    /// Whether `lakebase dev start` would run the same.
    pub(crate) fn runs_the_same(&self, other: &Self) -> bool {
        self.processes == other.processes && self.open == other.open
    }

    /// The processes that have a port.
    pub(crate) fn with_ports(&self) -> impl Iterator<Item = &str> {
        let with = self.processes.iter().filter(|process| process.raw.port.is_some());
        with.map(|process| process.name.as_str())
    }

    /// Fills the ports in.
    ///
    /// # Errors
    /// The process, and what is wrong with it.
    pub(crate) fn plans(&self, ports: &BTreeMap<String, u16>) -> Result<Vec<Plan>, (String, String)> {
        let plan =
            |process: &Process| plan(process, ports).map_err(|message| (process.name.clone(), message));
        self.processes.iter().map(plan).collect()
    }
}

fn plan(process: &Process, ports: &BTreeMap<String, u16>) -> Result<Plan, String> {
    let raw = &process.raw;
    let port = raw.port.as_ref().and_then(|_| ports.get(&process.name).copied());
    let fill = |text: &String| fill(text, port, ports);
    let probe = match (&raw.ready, port) {
        (Some(url), _) => http_probe(&fill(url)?)?,
        (None, Some(port)) => Probe::Port(port),
        (None, None) => Probe::Nothing,
    };
    let url = raw.url.as_ref().map(fill).transpose()?;
    let mut env = Vec::new();
    for (name, value) in &raw.env {
        env.push((name.clone(), fill(value)?));
    }
    env.extend(
        raw.port
            .iter()
            .zip(port)
            .map(|(name, port)| (name.clone(), port.to_string())),
    );
    Ok(Plan {
        name: process.name.clone(),
        run: fill(&raw.run)?,
        build: raw.build.as_ref().map(fill).transpose()?,
        dir: raw.dir.clone(),
        env,
        port,
        url: url.or_else(|| Some(format!("http://127.0.0.1:{}", port?))),
        probe,
        watch: raw.watch.clone(),
        after: process.after.clone(),
        once: raw.once,
        database: raw.database,
    })
}

fn http_probe(url: &str) -> Result<Probe, String> {
    let uri: hyper::Uri = url
        .parse()
        .map_err(|error| format!("ready: `{url}` is no URL: {error}"))?;
    if uri.scheme_str() != Some("http") {
        return Err(format!("ready: `{url}` does not begin with `http://`"));
    }
    Ok(Probe::Http(uri))
}

/// Puts ports where `{port}` and `{NAME.port}` stand; other braces are the shell's.
fn fill(text: &str, own: Option<u16>, ports: &BTreeMap<String, u16>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out += before;
        rest = after;
        let inside = after
            .split_once('}')
            .map(|(inside, _)| inside)
            .unwrap_or_default();
        let port = match inside.strip_suffix(".port") {
            _ if before.ends_with('$') => None,
            None if inside == "port" => Some(own.ok_or("`{port}` is used, but it has no `port`")?),
            Some(name) => {
                let missing = || format!("`{{{inside}}}`: there is no process `{name}` with a `port`");
                Some(*ports.get(name).ok_or_else(missing)?)
            }
            None => None,
        };
        if let Some(port) = port {
            out += &port.to_string();
            rest = &after[inside.len() + 1..];
        } else {
            out.push('{');
        }
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
open = "ui"
[process.backend]
run = "serve"
port = "PORT"
ready = "http://127.0.0.1:{port}/ready"
[process.ui]
run = "npm run dev"
dir = "ui"
port = "UI_PORT"
env = { BACKEND = "http://127.0.0.1:{backend.port}" }
after = ["backend"]
[check]
run = ["true"]
"#;

    fn wrong(text: &str) -> String {
        parse(text).expect_err("it is wrong").to_string()
    }

    #[test]
    fn ports_are_put_where_they_are_named() {
        let file = parse(TWO).expect("it is right");
        assert_eq!(file.open, Some(1));
        let ports = BTreeMap::from([("backend".to_owned(), 2000), ("ui".to_owned(), 2001)]);
        let plans = file.plans(&ports).expect("they fit");
        assert_eq!(
            plans[0].probe,
            Probe::Http("http://127.0.0.1:2000/ready".parse().expect("a URL"))
        );
        assert_eq!(plans[0].env, [("PORT".to_owned(), "2000".to_owned())]);
        assert_eq!(plans[1].env[0].1, "http://127.0.0.1:2000");
        assert_eq!(plans[1].probe, Probe::Port(2001));
        assert_eq!(plans[1].after, [0]);
        assert_eq!(file.check, ["true"]);
    }

    #[test]
    fn processes_stay_in_the_order_of_the_file() {
        let file = parse("[process.z]\nrun = 'a'\n[process.a]\nrun = 'b'").expect("it is right");
        let names: Vec<_> = file
            .processes
            .iter()
            .map(|process| process.name.as_str())
            .collect();
        assert_eq!(names, ["z", "a"]);
        assert_eq!(file.open, None);
    }

    #[test]
    fn the_shells_own_braces_are_left_alone() {
        let ports = BTreeMap::from([("a".to_owned(), 7)]);
        let filled = fill("echo ${port} {x,y} {port} ${a.port} {a.port} {", Some(5), &ports);
        assert_eq!(filled.as_deref(), Ok("echo ${port} {x,y} 5 ${a.port} 7 {"));
    }

    #[test]
    fn an_error_names_the_line_and_the_nearest_known_word() {
        assert_eq!(
            wrong("[process.a]\nrun = 'x'\nwacth = ['src']"),
            "line 3: unknown key `wacth`; the nearest known one is `watch`"
        );
        assert_eq!(
            wrong("\n[proces.a]\n"),
            "line 2: unknown key `proces`; the nearest known one is `process`"
        );
        assert_eq!(
            wrong("[check]\nrum = []"),
            "line 2: unknown key `rum`; the nearest known one is `run`"
        );
        assert_eq!(
            wrong("[process.a]\nrun = 'x'\n[process.b]\nrun = 'x'\nafter = ['aa']"),
            "line 3: process `b`: after: unknown process `aa`; the nearest known one is `a`"
        );
        assert!(wrong("[process.a]\nrun = 5").starts_with("line 2: invalid type: integer"));
        assert!(wrong("[process.a]\nrun = 'x").starts_with("line 2: "));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (text, why) in [
            ("[process.a]\nport = 'P'", "missing field `run`"),
            ("[process.a]\nrun = ' '", "`run` is empty"),
            ("[process.a]\nrun = 'x'\nport = 'A-B'", "is no name of a variable"),
            (
                "[process.a]\nrun = 'x'\nready = 'http://h:{port}'",
                "but it has no `port`",
            ),
            (
                "[process.a]\nrun = 'x'\nready = 'https://h'",
                "does not begin with",
            ),
            (
                "[process.a]\nrun = 'x {b.port}'",
                "there is no process `b` with a `port`",
            ),
            ("[process.a]\nrun = 'x'\nwatch = ['../b']", "is not below"),
            ("[process.a]\nrun = 'x'\nafter = ['a']", "waits for itself"),
            ("[process.a]\nrun = 'x'\nonce = true\nport = 'P'", "runs `once`"),
            ("[process.'a b']\nrun = 'x'", "a name is at most"),
            ("open = 'a'\n[process.a]\nrun = 'x'", "neither `port` nor `url`"),
            (
                "[process.a]\nrun = 'x'\nport = 'P'\n[process.b]\nrun = 'x'\nport = 'P'",
                "`open` is missing",
            ),
        ] {
            assert!(wrong(text).contains(why), "{text}: {}", wrong(text));
        }
    }
}
