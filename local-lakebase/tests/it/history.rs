//! Branches of a point in time: exact, or refused.

use serde_json::json;

use crate::http::Answer;
use crate::lake::Lake;

async fn fork_at(lake: &Lake, id: &str, time: &str) -> Answer {
    let path = format!("projects/shop/branches?branch_id={id}");
    let spec = json!({"spec": {"ttl": "3600s", "source_branch_time": time}});
    lake.send("POST", &path, spec).await
}

/// The time by the source's clock, never a whole minute.
async fn now(lake: &Lake) -> String {
    let sql = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.') \
               || to_char(clock_timestamp(), 'US') || 'Z'";
    lake.sql("production", sql).await
}

#[tokio::test]
async fn a_time_since_the_last_change_is_served_and_one_before_it_is_refused() {
    let lake = Lake::start().await;
    lake.project().await;
    lake.sql("production", "CREATE TABLE t AS SELECT 1 AS n").await;
    let between = now(&lake).await;
    let forked = fork_at(&lake, "same", &between).await;
    assert_eq!(forked.status, 200, "{forked:?}");
    assert_eq!(forked.body["response"]["status"]["source_branch_time"], between);
    assert_eq!(lake.sql("same", "SELECT n FROM t").await, "1");

    lake.sql("production", "UPDATE t SET n = 2").await;
    let refused = fork_at(&lake, "past", &between).await;
    assert_eq!((refused.status, refused.code()), (400, "BAD_REQUEST"));
    assert!(
        refused
            .message()
            .starts_with("source_branch_time is outside the history"),
        "{refused:?}"
    );
    assert_eq!(
        lake.get("projects/shop/branches/past").await.status,
        404,
        "nothing is left of it"
    );
    let after = now(&lake).await;
    assert_eq!(fork_at(&lake, "after", &after).await.status, 200);

    for (id, time, status) in [
        ("minute", "2026-01-01T10:00:00Z", 500),
        ("future", "2999-01-01T10:00:01Z", 400),
        ("before", "2001-01-01T10:00:01Z", 400),
    ] {
        let refused = fork_at(&lake, id, time).await;
        assert_eq!(refused.status, status, "{refused:?}");
    }
    // Asleep it is known from its files, to the second.
    let lake = lake.restart().await;
    let refused = fork_at(&lake, "asleep-past", &between).await;
    assert!(
        refused
            .message()
            .starts_with("source_branch_time is outside the history"),
        "{refused:?}"
    );
    lake.stop().await;
}
