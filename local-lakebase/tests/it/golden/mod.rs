//! The same calls twice. Our client must send what the public SDK sends, and understand the answers as it does; and Local
//! Lakebase must answer the SDK's and our requests with what looks like the recorded answers.
//!
//! The recordings are made by `scripts/record-golden`, which needs the network; the tests do not.

mod calls;
mod recording;
mod shape;
mod tape;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::future::join_all;
use lakebase_api::{Client, Error, Limits, TokenSource, Workspace};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use calls::{By, CASES, Case, Circumstances, Locally};
use recording::{Exchange, Outcome, Recording};
use tape::Tape;

use crate::http::send_as;
use crate::lake::Lake;

const RECORDED_AT: &str = "2026-08-01T10:00:00Z";

fn client(url: &str, token: &str) -> Client {
    let workspace = Workspace::with_token(
        url.parse().unwrap(),
        SecretString::from(token.to_owned()),
        TokenSource::Given("a test".into()),
    );
    let limits = Limits {
        first_pause: Duration::from_millis(1),
        ..Limits::default()
    };
    Client::with_limits(workspace, limits).unwrap()
}

fn circumstances(url: &str, now: DateTime<Utc>) -> Circumstances {
    Circumstances {
        now,
        operation: "projects/shop/branches/dev/operations/7d1c2f".into(),
        stranger: client(url, "wrong"),
    }
}

fn recording_of(case: &Case) -> Recording {
    let found = recording::all().into_iter().find(|one| one.name == case.name);
    found.unwrap_or_else(|| {
        panic!(
            "there is no recording of `{}`; run scripts/record-golden",
            case.name
        )
    })
}

fn requests(exchanges: &[Exchange]) -> Vec<String> {
    exchanges.iter().map(Exchange::request).collect()
}

/// The name of an error's variant.
fn variant(error: &Error) -> String {
    let debug = format!("{error:?}");
    debug.split([' ', '(', '{']).next().unwrap().to_owned()
}

/// What we call what the SDK has a class for.
fn variant_of_class(class: &str) -> &'static str {
    match class {
        "NotFound" => "NotFound",
        "AlreadyExists" => "AlreadyExists",
        "Aborted" => "Conflict",
        "BadRequest" | "InvalidParameterValue" => "Refused",
        "Unauthenticated" => "Unauthenticated",
        "PermissionDenied" => "PermissionDenied",
        "InternalError" => "Unavailable",
        other => panic!("no variant is known for `{other}`"),
    }
}

#[test]
fn every_recording_is_played_in_turn_and_every_method_of_the_client_has_one() {
    let recorded: Vec<_> = recording::all().into_iter().map(|one| one.name).collect();
    let played: Vec<_> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(played, recorded);

    let tested: BTreeSet<&str> = CASES
        .iter()
        .filter_map(|case| match case.by {
            By::Ours(methods, _) => Some(methods),
            By::TheSdk(_) => None,
        })
        .flatten()
        .copied()
        .collect();
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lakebase-api/src/client");
    let mut methods = BTreeSet::new();
    for file in fs::read_dir(client).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let names = text.split("pub async fn ").skip(1);
        methods.extend(names.map(|rest| rest.split(['(', '<']).next().unwrap().to_owned()));
    }
    assert!(methods.len() > 15, "{methods:?}");
    assert_eq!(
        tested.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(),
        methods
    );
}

#[tokio::test]
async fn our_client_sends_what_the_sdk_sends_and_reads_what_it_reads() {
    let checks = CASES.iter().map(|case| async move {
        let call = match case.by {
            By::Ours(_, call) => call,
            By::TheSdk(why) => return eprintln!("{}: not our client's, because {why}", case.name),
        };
        let recording = recording_of(case);
        let tape = Tape::playing(&recording.exchanges).await;
        let about = circumstances(&tape.url, RECORDED_AT.parse().unwrap());
        let answer = call(&client(&tape.url, "dapi-local"), &about).await;
        assert_eq!(
            requests(&tape.take()),
            requests(&recording.exchanges),
            "{}",
            case.name
        );
        check_end(case, &recording, answer);
    });
    join_all(checks).await;
}

fn check_end(case: &Case, recording: &Recording, answer: Result<Value, Error>) {
    let name = case.name;
    match (&recording.outcome, answer) {
        (Outcome::Good { ok }, Ok(read)) => {
            let (ours, sdks) = (sorted(read), sorted(ok.clone()));
            assert_eq!(shape::misread(&ours, &sdks), Vec::<String>::new(), "{name}");
        }
        (outcome, Err(error)) => {
            let expected = match (case.otherwise, outcome) {
                (Some((ours, _)), _) => ours,
                (None, Outcome::Bad { error }) => variant_of_class(error),
                (None, Outcome::Good { .. }) => panic!("{name}: {error:?}"),
            };
            assert_eq!(variant(&error), expected, "{name}: {error:?}");
            check_words(name, recording.exchanges.last().unwrap(), &error);
        }
        (outcome, answer) => panic!("{name}: {answer:?} instead of {outcome:?}"),
    }
}

/// Lists are sorted by our client, and as they come for the SDK.
fn sorted(mut answer: Value) -> Value {
    if let Value::Array(items) = &mut answer {
        items.sort_by_key(|item| item["name"].to_string());
    }
    answer
}

/// The service's own code and words reach whoever is told of the error.
fn check_words(name: &str, last: &Exchange, error: &Error) {
    let said = last.answer.get("error").unwrap_or(&last.answer);
    let Some(code) = said["error_code"].as_str() else {
        return;
    };
    let server = error.server().unwrap_or_else(|| panic!("{name}: {error:?}"));
    assert_eq!(server.code.as_deref(), Some(code), "{name}");
    assert_eq!(said["message"], server.message, "{name}");
    assert_eq!(server.trace_id.as_deref(), Some("0f9d2b7c5e8a4c31"), "{name}");
}

#[tokio::test]
async fn local_lakebase_answers_the_same_calls_in_the_same_form() {
    let lake = Lake::start().await;
    let tape = Tape::before(lake.local.api_url()).await;
    let token = lake.local.token().expose_secret();
    let client = client(&tape.url, token);
    let mut about = circumstances(&tape.url, lake.clock.now());
    let mut wrong = Vec::new();
    for case in CASES {
        let recording = recording_of(case);
        if let Locally::Never(why) = case.locally {
            eprintln!("{}: not of Local Lakebase, because {why}", case.name);
            continue;
        }
        about.now = lake.clock.now();
        let live = match case.by {
            By::Ours(_, call) => {
                drop(call(&client, &about).await);
                tape.take()
            }
            By::TheSdk(_) => resend(&lake, &about, &recording).await,
        };
        let found = differences(case, &recording.exchanges, &live);
        wrong.extend(
            found
                .into_iter()
                .map(|difference| format!("{}: {difference}", case.name)),
        );
        let mut names = live
            .iter()
            .filter_map(|exchange| exchange.answer["name"].as_str());
        if let Some(name) = names.rfind(|name| name.contains("branches/dev/operations/")) {
            name.clone_into(&mut about.operation);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    lake.stop().await;
}

fn differences(case: &Case, recorded: &[Exchange], live: &[Exchange]) -> Vec<String> {
    let pairs: Vec<_> = match case.locally {
        Locally::AtOnce => recorded.last().into_iter().zip(live.last()).collect(),
        Locally::Alike | Locally::InOtherWords | Locally::Never(_) => recorded.iter().zip(live).collect(),
    };
    let mut found = Vec::new();
    if !matches!(case.locally, Locally::AtOnce) && recorded.len() != live.len() {
        found.push(format!("{} requests instead of {}", live.len(), recorded.len()));
    }
    for (recorded, live) in pairs {
        if recorded.status != live.status {
            found.push(format!(
                "HTTP {} instead of {}: {}",
                live.status, recorded.status, live.answer
            ));
        }
        let (mut expected, mut got) = (words(&recorded.answer), words(&live.answer));
        if matches!(case.locally, Locally::InOtherWords) {
            (expected.1, got.1) = (None, None);
        }
        if expected != got {
            found.push(format!("{got:?} instead of {expected:?}"));
        }
        found.extend(shape::differences(&recorded.answer, &live.answer));
    }
    found
}

/// The code and the message of a refusal, without what is another one each time.
fn words(answer: &Value) -> (Option<&str>, Option<&str>) {
    let message = answer["message"].as_str();
    let message = message.and_then(|message| message.split(" [TraceId").next());
    (answer["error_code"].as_str(), message)
}

/// Sends what the SDK sent, with the times, names and secrets of here and now.
async fn resend(lake: &Lake, about: &Circumstances, recording: &Recording) -> Vec<Exchange> {
    let mut token = lake.local.token().expose_secret().to_owned();
    let mut page = String::new();
    let mut live = Vec::new();
    for recorded in &recording.exchanges {
        let mut exchange = recorded.clone();
        exchange.body = at(about.now, &recorded.body);
        if let Some((before, _)) = recorded.query.split_once("page_token=") {
            exchange.query = format!("{before}page_token={page}");
        }
        let auth = match recorded.authorization.as_deref() {
            Some("Bearer") => Some(format!("Bearer {token}")),
            Some(basic) => Some(basic_of(lake, basic)),
            None => None,
        };
        let path = format!("{}?{}", exchange.path, exchange.query);
        let url = lake.local.api_url();
        let answer = send_as(
            url,
            &exchange.method,
            path.trim_end_matches('?'),
            auth.as_deref(),
            &exchange.body,
        )
        .await;
        if let Some(access) = answer.body["access_token"].as_str() {
            access.clone_into(&mut token);
        }
        if let Some(next) = answer.body["next_page_token"].as_str() {
            page = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        }
        (exchange.status, exchange.answer) = (answer.status, answer.body);
        live.push(exchange);
    }
    live
}

/// Moves the times of a recording to now.
fn at(now: DateTime<Utc>, text: &str) -> String {
    let later =
        |minutes: u64| (now + Duration::from_mins(minutes)).to_rfc3339_opts(SecondsFormat::Secs, true);
    text.replace("2026-08-01T16:00:00Z", &later(360))
        .replace("2026-08-01T10:50:00Z", &later(50))
}

/// The id and the secret that Local Lakebase knows, unless the recording has a wrong one.
fn basic_of(lake: &Lake, recorded: &str) -> String {
    use base64::Engine;
    let profiles = fs::read_to_string(lake.local.databricks_config_file()).unwrap();
    let value = |key: &str| {
        let mut lines = profiles.lines();
        lines
            .find_map(|line| line.strip_prefix(&format!("{key} = ")))
            .unwrap()
            .to_owned()
    };
    let secret = if recorded.ends_with(":sec") {
        value("client_secret")
    } else {
        "wrong".to_owned()
    };
    let pair = format!("{}:{secret}", value("client_id"));
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair))
}
