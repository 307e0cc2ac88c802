//! What `scripts/record-golden` wrote: each call of the public SDK, what was sent, what was answered, and how it ended.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

const FILE: &str = include_str!("recordings.json");

#[derive(Debug, Deserialize)]
struct File {
    recordings: Vec<Recording>,
}

/// One call of the SDK.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Recording {
    pub(crate) name: String,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) outcome: Outcome,
}

/// One request and its answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    pub(crate) path: String,
    /// As it was sent, percent signs and all.
    pub(crate) query: String,
    pub(crate) body: String,
    pub(crate) accept: Option<String>,
    pub(crate) content_type: Option<String>,
    /// `Bearer`, or all of a `Basic` one.
    pub(crate) authorization: Option<String>,
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    /// Text stands for itself, so that there can be answers that are no JSON.
    pub(crate) answer: Value,
}

/// How the SDK saw it.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    Good {
        ok: Value,
    },
    /// The name of the exception's class.
    Bad {
        error: String,
    },
}

impl Exchange {
    /// What a request must agree in, byte for byte. Of the JSON in its body, only blanks between its parts are left out:
    /// Python puts one after each colon and comma.
    pub(crate) fn request(&self) -> String {
        let mark = if self.query.is_empty() { "" } else { "?" };
        let (method, path, query) = (&self.method, &self.path, &self.query);
        let accept = self.accept.as_deref().unwrap_or("-");
        let kind = self.content_type.as_deref().unwrap_or("-");
        let auth = self.authorization.as_deref().unwrap_or("-");
        format!(
            "{method} {path}{mark}{query} | {accept} | {kind} | {auth} | {}",
            without_blanks(&self.body)
        )
    }
}

/// Takes JSON's insignificant white space away, and leaves everything else as it is.
fn without_blanks(json: &str) -> String {
    let (mut in_text, mut is_escaped) = (false, false);
    let significant = |&letter: &char| {
        let keep = in_text || !letter.is_ascii_whitespace();
        in_text ^= letter == '"' && !is_escaped;
        is_escaped = in_text && letter == '\\' && !is_escaped;
        keep
    };
    json.chars().filter(significant).collect()
}

pub(crate) fn all() -> Vec<Recording> {
    let file: File = serde_json::from_str(FILE).expect("scripts/record-golden wrote it");
    file.recordings
}

#[test]
fn only_blanks_between_the_parts_of_json_are_left_out() {
    let cases = [
        (r#"{"a": [1, 2], "b c": "d, e"}"#, r#"{"a":[1,2],"b c":"d, e"}"#),
        (r#"{"a\" b": "c\\", "d": 1}"#, r#"{"a\" b":"c\\","d":1}"#),
        (
            "grant_type=client_credentials&scope=all-apis",
            "grant_type=client_credentials&scope=all-apis",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(without_blanks(text), expected);
    }
}
