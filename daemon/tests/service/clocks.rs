//! Clocks that disagree, and a machine that slept longer than its leases.

use crate::proxy::Fault;
use crate::rig::Rig;
use crate::world::{World, until};
use chrono::{DateTime, TimeDelta, Utc};
use local_lakebase::Limits;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_24_a_server_whose_clock_is_hours_off_is_understood() {
    for (name, ahead) in [("late", TimeDelta::hours(-4)), ("early", TimeDelta::minutes(10))] {
        let mut rig = Rig::new(Limits::default()).await;
        rig.proxy.on("", "", Fault::Skew(ahead));
        rig.world.start().await;
        rig.world.register().await;
        rig.add(name);
        let dir = rig.world.path(name);
        rig.world.branch(&dir).await;
        for _ in 0..3 {
            rig.world.reconcile().await;
            rig.world.credential(&dir).await.expect("ready");
        }
        #[expect(clippy::disallowed_methods, reason = "what a user's clock shows")]
        let now = Utc::now();
        let credential = rig.world.credential(&dir).await.expect("ready");
        let good_until = credential.expire_time.expect("it ends");
        let good_until = DateTime::from_timestamp(good_until.seconds, 0).expect("a time");
        let left = good_until - now;
        assert!((50..=61).contains(&left.num_minutes()), "{name}: {left}");
        let mints = rig.proxy.seen().into_iter().filter(|seen| {
            seen.path.ends_with("/credentials") && seen.body["endpoint"].to_string().contains(name)
        });
        assert_eq!(mints.count(), 1, "{name}");
        let renewals = rig
            .proxy
            .changes(0)
            .into_iter()
            .filter(|c| c.contains("expire_time"));
        assert_eq!(renewals.collect::<Vec<_>>(), Vec::<String>::new(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ck_03_a_branch_whose_lease_ran_out_in_our_sleep_is_brought_back() {
    let mut rig = Rig::ready().await;
    let (id, before) = ("jane-doe-main", rig.uid("jane-doe-main").await);
    rig.world.shut_down().await;
    rig.age_ledger().await;
    // The service lives on for four days, and this machine learns of it by the service's word.
    rig.clock.advance(Duration::from_hours(80));
    rig.proxy.on("", "", Fault::Date(TimeDelta::hours(80)));
    until("it is gone", async || rig.uid(id).await.is_none()).await;
    rig.world.start().await;
    assert_eq!(rig.world.branch(&rig.world.main()).await, id);
    assert_eq!(rig.uid(id).await, before, "it is the same branch");
    until("it has a lease again", async || {
        let branch = rig
            .world
            .service()
            .branch(&World::branch_name(id))
            .await
            .expect("there");
        branch.status.expire_time.is_some()
    })
    .await;
    let events = rig.events(id).await;
    assert!(events.contains(&"brought back".to_owned()), "{events:?}");
    assert!(rig.uid("production").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ck_03_a_branch_that_cannot_be_brought_back_is_made_anew() {
    let mut rig = Rig::ready().await;
    let (id, before) = ("jane-doe-main", rig.uid("jane-doe-main").await);
    rig.world.shut_down().await;
    rig.age_ledger().await;
    // Longer than a deleted branch is kept.
    for days in [1, 8] {
        rig.clock.advance(Duration::from_hours(24 * days));
        until("it is gone", async || rig.uid(id).await.is_none()).await;
    }
    let name = World::branch_name(id);
    until("it is purged", async || {
        rig.world.service().branch(&name).await.is_err()
    })
    .await;
    rig.proxy.on("", "", Fault::Date(TimeDelta::days(9)));
    rig.world.start().await;
    assert_eq!(rig.world.branch(&rig.world.main()).await, id);
    assert_ne!(rig.uid(id).await, before);
}
