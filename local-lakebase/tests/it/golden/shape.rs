//! Whether two answers look alike: the same keys, the same types, text of the same kind.

use chrono::DateTime;
use serde_json::Value;

/// What Local Lakebase tells beyond the service: what a branch takes of the disk, and a port other than PostgreSQL's own.
const ADDED: [&str; 2] = ["own_size_bytes", "port"];

/// What is told as soon as it is known: a size is measured in the background.
const LATER: [&str; 1] = ["logical_size_bytes"];

/// Lists in what an answer differs from the recorded one.
pub(crate) fn differences(recorded: &Value, live: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("answer", recorded, live, &mut found);
    found
}

fn compare(at: &str, recorded: &Value, live: &Value, found: &mut Vec<String>) {
    match (recorded, live) {
        (Value::Object(expected), Value::Object(got)) => {
            let missing = expected
                .keys()
                .filter(|key| !got.contains_key(*key) && !LATER.contains(&key.as_str()));
            found.extend(missing.map(|key| format!("{at} has no `{key}`")));
            for (key, got) in got {
                match expected.get(key) {
                    Some(expected) => compare(&format!("{at}.{key}"), expected, got, found),
                    None if ADDED.contains(&key.as_str()) => {}
                    None => found.push(format!("{at} has `{key}` too")),
                }
            }
        }
        (Value::Array(expected), Value::Array(got)) => {
            if got.is_empty() != expected.is_empty() {
                found.push(format!("{at} has {} items, not {}", got.len(), expected.len()));
            }
            for item in got {
                if !expected
                    .iter()
                    .any(|expected| differences(expected, item).is_empty())
                {
                    found.push(format!("{at} has an item like no recorded one: {item}"));
                }
            }
        }
        _ if kind(recorded) == kind(live) => {}
        _ => found.push(format!("{at} is {live} and was {recorded}")),
    }
}

/// The type of a value. Text that is a time, a duration or a word of an enum has a type of its own.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(text) if DateTime::parse_from_rfc3339(text).is_ok() => "time",
        Value::String(text) if text.strip_suffix('s').is_some_and(is_number) => "duration",
        Value::String(text) if text.len() > 1 && text.bytes().all(is_of_constant) => "constant",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}

fn is_of_constant(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'_'
}

/// Lists what our client read from an answer and the SDK did not, or read otherwise.
pub(crate) fn misread(ours: &Value, sdks: &Value) -> Vec<String> {
    let mut found = Vec::new();
    agree("answer", ours, sdks, &mut found);
    found
}

fn agree(at: &str, ours: &Value, sdks: &Value, found: &mut Vec<String>) {
    match (ours, sdks) {
        (Value::Object(ours), Value::Object(sdks)) => {
            for (key, value) in ours {
                match sdks.get(key) {
                    Some(theirs) => agree(&format!("{at}.{key}"), value, theirs, found),
                    // The SDK leaves out what is empty when it writes.
                    None if value == &Value::Object(serde_json::Map::new()) => {}
                    None => found.push(format!("{at}.{key} is {value}, and the SDK saw none")),
                }
            }
        }
        (Value::Array(ours), Value::Array(sdks)) if ours.len() == sdks.len() => {
            for (index, (ours, sdks)) in ours.iter().zip(sdks).enumerate() {
                agree(&format!("{at}[{index}]"), ours, sdks, found);
            }
        }
        _ if ours == sdks => {}
        _ => found.push(format!("{at} is {ours}, and {sdks} for the SDK")),
    }
}

#[test]
fn what_differs_in_shape_is_found_and_values_may_differ() {
    let recorded =
        serde_json::json!({"a": "2026-08-01T10:00:00Z", "b": [{"c": 1}], "d": "60s", "e": "READY"});
    let same = serde_json::json!({"a": "2027-01-01T00:00:00.5Z", "b": [{"c": 2}, {"c": 3}], "d": "1.5s", "e": "INIT"});
    assert_eq!(differences(&recorded, &same), Vec::<String>::new());
    for (key, wrong) in [("a", "soon"), ("d", "6h"), ("e", "ready"), ("b", "[]")] {
        let mut live = same.clone();
        live[key] = wrong.into();
        assert_eq!(differences(&recorded, &live).len(), 1, "{key}");
    }
    let less = serde_json::json!({"a": "2026-08-01T10:00:00Z", "b": [{}], "e": "READY", "f": 1});
    assert_eq!(differences(&recorded, &less).len(), 3);
}
