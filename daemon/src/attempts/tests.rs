//! Beliefs about what is left alone after it failed, and for how long.

use super::*;
use daemon_core::ids::{BranchId, WorktreeId};
use lakebase_api::{ServerError, Workspace};

fn slot(name: &str) -> Slot {
    Slot::Worktree(WorktreeId::Linked(name.into()))
}

/// The client's own error for an answer, had from the client itself: its errors cannot be made by hand.
async fn answered(status: u16, after: Option<&str>, body: &str) -> ProviderError {
    let server = wiremock::MockServer::start().await;
    let mut answer = wiremock::ResponseTemplate::new(status).set_body_string(body);
    if let Some(after) = after {
        answer = answer.insert_header("retry-after", after);
    }
    let mock = wiremock::Mock::given(wiremock::matchers::any()).respond_with(answer);
    mock.mount(&server).await;
    let workspace = Workspace::with_token(
        server.uri().parse().expect("an origin"),
        "dapi".to_owned().into(),
        lakebase_api::TokenSource::Environment,
    );
    let limits = lakebase_api::Limits {
        retries: 0,
        ..lakebase_api::Limits::default()
    };
    let client = lakebase_api::Client::with_limits(workspace, limits).expect("a client");
    client.me().await.expect_err("it refuses").into()
}

/// How often a step that always fails so is tried in this time, at the moments when the attempts allow it.
async fn tries_in(time: Duration, error: &ProviderError) -> u32 {
    tokio::time::pause();
    let (mut attempts, end, mut tries) = (Attempts::default(), Instant::now() + time, 0);
    while Instant::now() < end {
        assert!(attempts.backing_off().is_empty());
        attempts.failed(&slot("a"), error);
        tries += 1;
        assert!(attempts.backing_off().contains_key(&slot("a")));
        assert!(
            !attempts.backing_off().contains_key(&slot("b")),
            "only that key waits"
        );
        let wait = attempts.next_in().expect("it comes back by itself");
        tokio::time::advance(wait).await;
    }
    tokio::time::resume();
    tries
}

const HALF_AN_HOUR: Duration = Duration::from_mins(30);

#[tokio::test]
async fn cp_01_as_long_as_asked_and_a_little_longer_but_never_for_ever() {
    for (asked, at_least, at_most) in [("20", 20, 26), ("1000000000", 300, 376)] {
        let error = answered(429, Some(asked), "").await;
        let mut attempts = Attempts::default();
        attempts.failed(&slot("a"), &error);
        let wait = attempts.next_in().expect("it waits").as_secs();
        assert!((at_least - 1..=at_most).contains(&wait), "{asked}: {wait}");
    }
}

#[tokio::test]
async fn cp_02_half_an_hour_of_429_is_a_try_every_two_minutes() {
    let error = answered(429, None, "").await;
    let tries = tries_in(HALF_AN_HOUR, &error).await;
    assert!((18..=26).contains(&tries), "{tries}");
}

#[tokio::test]
async fn cp_17_a_full_project_is_asked_at_most_every_five_minutes_but_a_person_may() {
    let body = r#"{"error_code":"BAD_REQUEST","message":"branches limit exceeded"}"#;
    let ProviderError::Service(source) = answered(400, None, body).await else {
        unreachable!("the service said it")
    };
    let error = ProviderError::Full {
        branch: BranchId::new("jane-x"),
        in_use: 10,
        idle: "a, b".into(),
        source: Box::new(source),
    };
    let tries = tries_in(HALF_AN_HOUR, &error).await;
    assert!((5..=6).contains(&tries), "{tries}");
    let mut attempts = Attempts::default();
    attempts.failed(&slot("a"), &error);
    attempts.room_made(10);
    assert_eq!(attempts.backing_off().len(), 1, "as full as before");
    attempts.room_made(9);
    assert!(attempts.backing_off().is_empty(), "somebody made room");
    attempts.failed(&slot("a"), &error);
    attempts.forgive();
    assert!(attempts.backing_off().is_empty());
    assert!(attempts.next_in().is_none());
}

#[tokio::test]
async fn cp_20_a_refused_token_keeps_the_whole_pass_away_for_a_minute() {
    let error = answered(401, None, "").await;
    let mut attempts = Attempts::default();
    let problem = attempts.look_failed("shop", &error);
    assert!(problem.fix.contains("sign in again"), "{problem:?}");
    assert_eq!(attempts.hindrance(problem.message.clone()), problem);
    assert_eq!(attempts.stopped(), Outcome::StayAway(Duration::from_mins(1)));
    assert_eq!(attempts.stopped(), Outcome::Failed, "another reason");
}

#[tokio::test]
async fn cp_27_what_is_said_again_is_no_news_whatever_its_trace_id() {
    let text = |id: &str| format!("cannot look: not found [TraceId: {id}] (HTTP 404)");
    let mut attempts = Attempts::default();
    assert!(attempts.is_news(Some(&text("1"))));
    assert!(!attempts.is_news(Some(&text("2"))));
    assert!(!attempts.is_news(None));
    assert!(attempts.is_news(Some(&text("3"))), "it was fine in between");
    assert!(attempts.is_news(Some("something else")));
}

#[test]
fn the_servers_word_is_read_to_its_end() {
    let error = ServerError {
        message: "no".into(),
        ..ServerError::default()
    };
    assert_eq!(told(&error.to_string()), "no");
    assert_eq!(told("a [TraceId: x] b"), "a b");
    assert_eq!(told("a [TraceId: x"), "a");
}
