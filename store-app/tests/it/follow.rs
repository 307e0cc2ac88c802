//! The store follows the daemon: new passwords, other branches, a daemon that goes away and comes back.

use crate::control::Control;
use crate::postgres::Postgres;
use crate::relay::Relay;
use crate::store::{DEADLINE, Hammer, Store, daemon, eventually};
use lakebase_proto::{Reason, status, v1};
use serde_json::{Value, json};
use sqlx::Connection;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store_app::RunError;
use store_app::config::Serve;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

struct Scene {
    postgres: Postgres,
    control: Control,
    store: Store,
}

fn socket(postgres: &Postgres) -> PathBuf {
    postgres.dir().join("l.sock")
}

/// A store that serves the database `shop` as the branch `jane-shop`.
async fn scene() -> Scene {
    let postgres = Postgres::with_shop().await;
    let control = Control::start(&socket(&postgres));
    control.publish(postgres.credential("shop"));
    let store = Store::ready(daemon(&socket(&postgres))).await;
    Scene {
        postgres,
        control,
        store,
    }
}

/// The same database for `joe`: what a rotation that also changes the user looks like.
fn for_joe(postgres: &Postgres) -> v1::Credential {
    v1::Credential {
        user: "joe".into(),
        password: "joes-password".into(),
        ..postgres.credential("shop")
    }
}

/// Says whether an answer is that the database is away, and why.
fn is_away(why: &str) -> impl Fn(u16, &Value) -> bool {
    move |status, document| {
        let told = document["message"].as_str();
        status == 503 && told.is_some_and(|text| text.contains(why))
    }
}

/// Waits until no connection to `shop` is left.
async fn until_shop_is_left(postgres: &Postgres) {
    let sql =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'store-app' AND datname = 'shop'";
    eventually("nobody is connected to what was left", async || {
        postgres.count("postgres", sql).await == 0
    })
    .await;
}

async fn assert_no_failure(hammer: Hammer) -> Vec<Vec<String>> {
    let answers = hammer.answers().await;
    let told = |(status, body): (u16, String)| {
        assert_eq!(status, 200, "{body}");
        body
    };
    let answers: Vec<Vec<_>> = answers
        .into_iter()
        .map(|side| side.into_iter().map(told).collect())
        .collect();
    assert!(answers.iter().all(|side| !side.is_empty()));
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn the_branch_of_the_credential_is_told() {
    let Scene { postgres, store, .. } = scene().await;
    assert_eq!(
        store.ok("/api/branch").await,
        json!({
            "name": "jane-shop",
            "uid": postgres.credential("shop").branch.expect("named").uid,
            "source": "production",
            "expires_at": "2030-03-17T17:46:40Z",
            "ownership": "owned",
            "host": "127.0.0.1",
            "endpoint": "projects/shop/branches/jane-shop/endpoints/primary",
            "credential": 1,
            "credential_expires_at": null,
        })
    );
    assert_eq!(store.ok("/api/current-user").await["user_name"], "jane");
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_rotates_under_running_requests() {
    let Scene {
        postgres,
        control,
        store,
    } = scene().await;
    let calm = store.hammer("/api/products/1", 1);
    let before = postgres
        .count(
            "shop",
            "SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint",
        )
        .await;
    postgres
        .run("shop", "ALTER ROLE jane PASSWORD 'second-password'")
        .await;
    // More at once than there are connections: new ones are opened with the password that is no longer right.
    let busy = store.hammer("/api/products", 3);
    eventually("a login with the old password is refused", async || {
        postgres
            .log()
            .contains("password authentication failed for user \"jane\"")
    })
    .await;
    let rotated = v1::Credential {
        password: "second-password".into(),
        ..postgres.credential("shop")
    };
    control.publish(rotated);
    store
        .wait_for("/api/branch", |_, branch| branch["credential"] == 2)
        .await;
    let fresh = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE application_name = 'store-app' AND extract(epoch FROM backend_start) * 1e6 > {before}"
    );
    eventually("connections are opened with the new password", async || {
        postgres.count("shop", &fresh).await > 0
    })
    .await;
    busy.swing().await;
    assert_no_failure(calm).await;
    assert_no_failure(busy).await;
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_connections_live_on_when_the_user_changes() {
    let Scene {
        postgres,
        control,
        store,
    } = scene().await;
    let by = |user| {
        format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'store-app' AND usename = '{user}'"
        )
    };
    let hammer = store.hammer("/api/products", 1);
    eventually("jane is connected", async || {
        postgres.count("shop", &by("jane")).await > 0
    })
    .await;
    control.publish(for_joe(&postgres));
    store
        .wait_for("/api/current-user", |_, user| user["user_name"] == "joe")
        .await;
    assert!(postgres.count("shop", &by("jane")).await > 0);
    let more = store.hammer("/api/products", 3);
    eventually("joe is connected", async || {
        postgres.count("shop", &by("joe")).await > 0
    })
    .await;
    hammer.swing().await;
    assert_no_failure(hammer).await;
    assert_no_failure(more).await;
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rotations_under_load_fail_no_request() {
    let postgres = Postgres::with_shop().await;
    let control = Control::start(&socket(&postgres));
    control.publish(postgres.credential("shop"));
    // Connections that are replaced all the time: each replacement needs the password of that moment.
    let store = Store::start_with(daemon(&socket(&postgres)), Duration::from_millis(100)).await;
    store.wait_for_status("/api/health/ready", 200).await;
    let hammer = store.hammer("/api/products", 12);
    for n in 2..=21 {
        let password = format!("password-{n}");
        postgres
            .run("shop", &format!("ALTER ROLE jane PASSWORD '{password}'"))
            .await;
        let before = newest_connection(&postgres).await;
        control.publish(v1::Credential {
            password,
            ..postgres.credential("shop")
        });
        store
            .wait_for("/api/branch", |_, branch| branch["credential"] == n)
            .await;
        hammer.swing().await;
        eventually("connections are opened with the new password", async || {
            newest_connection(&postgres).await > before
        })
        .await;
    }
    assert_no_failure(hammer).await;
    store.end().await.expect("ends well");
}

/// When the newest connection of the store was opened, in microseconds; 0 if there is none.
async fn newest_connection(postgres: &Postgres) -> i64 {
    let sql =
        "SELECT coalesce(max((extract(epoch FROM backend_start) * 1e6)::bigint), 0) FROM pg_stat_activity
               WHERE application_name = 'store-app'";
    postgres.count("shop", sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_branch_swaps_the_pool_under_running_requests() {
    let Scene {
        postgres,
        control,
        store,
    } = scene().await;
    postgres
        .run("shop", "UPDATE products SET name = 'Left Behind' WHERE id = 1")
        .await;
    postgres.create_database("other").await;
    let hammer = store.hammer("/api/products/1", 4);
    hammer.swing().await;
    control.publish(postgres.credential("other"));
    store
        .wait_for("/api/products/1", |_, product| {
            product["name"] == "Premium JSON Blob"
        })
        .await;
    assert_eq!(store.ok("/api/branch").await["name"], "jane-other");
    hammer.swing().await;
    assert!(store.fetch("/plain").await.1.contains(">jane-other</b>"));
    for side in assert_no_failure(hammer).await {
        // Once the new branch has answered, the old one never does again.
        assert!(side.is_sorted_by_key(|body| !body.contains("Left Behind")));
        assert!(side.iter().any(|body| body.contains("Left Behind")));
    }
    until_shop_is_left(&postgres).await;
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_swaps_the_pool_although_the_branch_keeps_its_name() {
    let Scene {
        postgres,
        control,
        store,
    } = scene().await;
    postgres
        .run("shop", "UPDATE products SET name = 'Broken' WHERE id = 1")
        .await;
    let hammer = store.hammer("/api/products/1", 4);
    hammer.swing().await;
    // The branch has its old name and another uid; elsewhere is where its data are.
    postgres.create_database("anew").await;
    let mut reset = postgres.credential("anew");
    let (old, new) = (
        postgres.credential("shop").branch.expect("named"),
        reset.branch.as_mut().expect("named"),
    );
    (new.branch_id, new.name) = (old.branch_id, old.name);
    control.publish(reset);
    store
        .wait_for("/api/products/1", |_, product| {
            product["name"] == "Premium JSON Blob"
        })
        .await;
    hammer.swing().await;
    assert_eq!(store.ok("/api/branch").await["name"], "jane-shop");
    assert_eq!(store.ok("/api/branch").await["credential"], 2);
    for side in assert_no_failure(hammer).await {
        assert!(side.is_sorted_by_key(|body| !body.contains("Broken")));
    }
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_moves_who_waits_and_lets_finish_who_is_under_way() {
    let Scene {
        postgres,
        control,
        store,
    } = scene().await;
    postgres.create_database("other").await;
    let mut admin = postgres.admin("shop").await;
    for statement in [
        "UPDATE products SET name = 'Left Behind' WHERE id = 1",
        "BEGIN",
        "LOCK TABLE products",
    ] {
        sqlx::raw_sql(statement)
            .execute(&mut admin)
            .await
            .expect(statement);
    }
    let store = Arc::new(store);
    let mut requests = JoinSet::new();
    for _ in 0..16 {
        let store = Arc::clone(&store);
        requests.spawn(async move { store.ok("/api/products/1").await["name"].clone() });
    }
    // The pool has eight connections; the other half waits for one.
    eventually("every connection is busy", async || postgres.blocked().await == 8).await;
    control.publish(postgres.credential("other"));
    for _ in 0..8 {
        let name = requests.join_next().await.expect("a request").expect("no panic");
        assert_eq!(name, "Premium JSON Blob");
    }
    admin.close().await.expect("unlocked");
    for name in requests.join_all().await {
        assert_eq!(name, "Left Behind");
    }
    let store = Arc::into_inner(store).expect("nobody else holds it");
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_falls_silent_does_not_hold_up_who_waits_for_it() {
    let postgres = Postgres::with_shop().await;
    let relay = Relay::start(postgres.port).await;
    let control = Control::start(&socket(&postgres));
    let through_relay = v1::Credential {
        port: relay.port.into(),
        ..postgres.credential("shop")
    };
    control.publish(through_relay);
    let store = Arc::new(Store::ready(daemon(&socket(&postgres))).await);
    relay.freeze();
    let away = store.get("/api/health/ready").await;
    assert_eq!((away.0, &away.1["code"]), (503, &json!("unavailable")));
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.get("/api/products/1").await }
    });
    control.publish(postgres.credential("shop"));
    let (status, document) = waiting.await.expect("no panic");
    assert_eq!(status, 200, "{document}");
    drop(relay);
    let store = Arc::into_inner(store).expect("nobody else holds it");
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_cannot_be_prepared_is_not_ready_until_it_can() {
    let Scene {
        postgres,
        control,
        store,
    } = scene().await;
    postgres
        .run("postgres", "CREATE DATABASE closed OWNER postgres")
        .await;
    control.publish(postgres.credential("closed"));
    // Answers from the branch that was left would be wrong ones.
    let away = store
        .wait_for("/api/health/ready", |status, document| {
            status == 503
                && document["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("permission denied"))
        })
        .await;
    assert_eq!(away["code"], "unavailable");
    assert_eq!(store.get("/api/products").await.0, 503);
    postgres
        .run("postgres", "ALTER DATABASE closed OWNER TO databricks_superuser")
        .await;
    store.wait_for_status("/api/health/ready", 200).await;
    assert_eq!(store.ok("/api/products/1").await["price"], "49.99");
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_goes_away_changes_nothing_and_is_found_again() {
    let Scene {
        postgres,
        mut control,
        store,
    } = scene().await;
    control.stop();
    eventually("the store has lost its stream", async || control.watchers() == 0).await;
    let hammer = store.hammer("/api/products", 4);
    eventually("connections are opened without the daemon", async || {
        postgres.connections().await > 1
    })
    .await;
    store.ok("/api/health/ready").await;
    control.resume();
    eventually("the store follows again", async || control.watchers() > 0).await;
    control.publish(for_joe(&postgres));
    store
        .wait_for("/api/current-user", |_, user| user["user_name"] == "joe")
        .await;
    assert_no_failure(hammer).await;
    store.end().await.expect("ends well");
    eventually("the stream has ended with the store", async || {
        control.watchers() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_waits_for_a_daemon_and_for_its_branch() {
    let postgres = Postgres::with_shop().await;
    let store = tokio::spawn(Store::ready(daemon(&socket(&postgres))));
    let control = Control::start(&socket(&postgres));
    eventually("the store asks", async || control.watchers() > 0).await;
    assert!(!store.is_finished());
    control.publish(postgres.credential("shop"));
    let store = store.await.expect("ready");
    assert_eq!(store.ok("/api/branch").await["name"], "jane-shop");
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_waits_answers_and_says_for_what() {
    let postgres = Postgres::with_shop().await;
    let store = Store::start(daemon(&socket(&postgres))).await;
    store.ok("/api/health/live").await;
    let waits_for = async |what| store.wait_for("/api/branch", is_away(what)).await;
    waits_for("it is not running").await;
    let control = Control::start(&socket(&postgres));
    control.refuse(status(Reason::NotReady, "no room yet", ""));
    waits_for("lakebased says: no room yet").await;
    control.publish(postgres.credential("shop"));
    store.wait_for_status("/api/health/ready", 200).await;
    assert_eq!(store.ok("/api/health/ready").await, json!({"status": "ready"}));
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_the_worktree_left_serves_no_more_although_there_is_no_other() {
    let Scene {
        postgres,
        control,
        store,
    } = scene().await;
    postgres.create_database("other").await;
    control.refuse(status(Reason::Blocked, "4 of 4 branches in use", ""));
    for page in ["/api/branch", "/api/health/ready", "/api/products"] {
        store.wait_for(page, is_away("4 of 4 branches in use")).await;
    }
    until_shop_is_left(&postgres).await;
    control.publish(postgres.credential("other"));
    store
        .wait_for("/api/branch", |_, branch| branch["name"] == "jane-other")
        .await;
    assert_eq!(store.ok("/api/health/ready").await, json!({"status": "ready"}));
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_nobody_registered_is_refused_at_once() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let socket = dir.path().join("l.sock");
    let control = Control::start(&socket);
    control.refuse(status(
        Reason::NotRegistered,
        "not registered",
        "run `lakebase init`",
    ));
    let config = Serve {
        addr: "127.0.0.1:0".parse().expect("an address"),
        connection_life: DEADLINE,
        people: None,
        source: daemon(&socket),
    };
    let started = std::time::Instant::now();
    let error = store_app::serve(config, |_| {}, CancellationToken::new())
        .await
        .expect_err("no credential");
    assert!(started.elapsed() < DEADLINE / 3);
    assert!(matches!(error, RunError::NoCredential(_)), "{error:?}");
    assert_eq!(
        error.fix().as_deref(),
        Some("run `lakebase init`, or set DATABASE_URL")
    );
}
