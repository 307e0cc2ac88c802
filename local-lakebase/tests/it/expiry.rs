//! What happens hours and days later.

use std::time::Duration;

use local_lakebase::Limits;
use serde_json::Value;

use crate::lake::{Lake, until};

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_branch_expires_can_come_back_and_is_purged_in_the_end() {
    let lake = Lake::start().await;
    lake.project().await;
    lake.branch("dev").await;
    lake.sql("dev", "CREATE TABLE kept AS SELECT 42 AS n").await;
    let path = "projects/shop/branches/dev";
    let state = || async { lake.get(path).await.body["status"]["current_state"].clone() };

    lake.clock.advance(5 * HOUR);
    assert_eq!(state().await, "READY");
    lake.clock.advance(HOUR);
    until("the branch expires", || async { state().await == "DELETED" }).await;
    let credential = serde_json::json!({"endpoint": format!("{path}/endpoints/primary")});
    assert_eq!(
        lake.send("POST", "credentials", credential).await.message(),
        "branch id not found"
    );

    lake.ok("POST", &format!("{path}/undelete"), Value::Null).await;
    assert_eq!(lake.sql("dev", "SELECT n FROM kept").await, "42");
    lake.ok("DELETE", path, Value::Null).await;
    lake.clock.advance(7 * 24 * HOUR);
    until("the branch is purged", || async {
        lake.get(path).await.status == 404
    })
    .await;
    let undelete = lake.send("POST", &format!("{path}/undelete"), Value::Null).await;
    assert_eq!(undelete.message(), "branch id not found");
    lake.branch("dev").await;
    assert_eq!(lake.sql("dev", "SELECT to_regclass('kept') IS NULL").await, "t");
    lake.stop().await;
}

#[tokio::test]
async fn ck_05_a_wall_clock_that_is_set_ahead_for_an_hour_purges_nothing() {
    let limits = Limits {
        sweep_period: Duration::from_millis(100),
        ..Limits::default()
    };
    let lake = Lake::start_with(limits).await;
    lake.project().await;
    lake.branch("dev").await;
    lake.branch("other").await;
    lake.sql("dev", "CREATE TABLE kept AS SELECT 42 AS n").await;
    let path = "projects/shop/branches/dev";
    lake.ok("DELETE", path, Value::Null).await;
    lake.clock.advance(400 * 24 * HOUR);
    // The sweeper has been there when it has found the other branch expired.
    until("the other branch expires", || async {
        let other = lake.get("projects/shop/branches/other").await;
        other.body["status"]["current_state"] == "DELETED"
    })
    .await;
    lake.clock.retreat(400 * 24 * HOUR);
    for name in ["dev", "other"] {
        let undelete = format!("projects/shop/branches/{name}/undelete");
        lake.ok("POST", &undelete, Value::Null).await;
    }
    assert_eq!(lake.sql("dev", "SELECT n FROM kept").await, "42");
    lake.stop().await;
}
