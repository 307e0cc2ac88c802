//! A service of which a third of all requests fail, and worktrees that come and go meanwhile.

use crate::rig::Rig;
use crate::world::{World, until_within};
use local_lakebase::Limits;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PERCENT: u64 = 30;
const FOREIGN: [&str; 2] = ["bob-main", "jane-doe-of-another-machine"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_third_of_all_requests_failing_each_worktree_gets_its_branch_and_no_other_is_touched() {
    let given = std::env::var("LAKEBASE_TEST_SEED").ok();
    let seed = given.map_or(std::process::id().into(), |text| text.parse().expect("a number"));
    eprintln!("seed {seed}; have it again with LAKEBASE_TEST_SEED={seed}");
    let mut rig = Rig::new(Limits {
        unarchived_branches: 40,
        ..Limits::default()
    })
    .await;
    let mut untouched = BTreeMap::new();
    for id in FOREIGN {
        rig.foreign(id).await;
    }
    for id in FOREIGN.into_iter().chain(["production"]) {
        untouched.insert(id, rig.uid(id).await);
    }
    rig.proxy.fail_at_random(PERCENT, seed);
    rig.world.start().await;
    rig.world.register().await;
    let present = come_and_go(&rig, seed).await;

    // Still with a third of all requests failing.
    let mut expected: BTreeSet<String> = untouched.keys().map(|id| (*id).to_owned()).collect();
    for dir in present.iter().map(String::as_str).chain(["shop"]) {
        let mut branch = None;
        until_within(Duration::from_mins(3), &format!("`{dir}` is ready"), async || {
            rig.world.reconcile().await;
            branch = rig.world.credential(&rig.world.path(dir)).await.ok();
            branch.is_some()
        })
        .await;
        let id = branch
            .and_then(|credential| credential.branch)
            .expect("ready")
            .branch_id;
        assert!(expected.insert(id.clone()), "{id} serves two");
    }
    until_within(Duration::from_mins(3), "exactly these are left", async || {
        rig.world.reconcile().await;
        rig.world.service_names().await == expected.iter().cloned().collect::<Vec<_>>()
    })
    .await;
    for (id, uid) in untouched {
        assert_eq!(rig.uid(id).await, uid, "{id}");
    }
    let touched = |id: &str| {
        let path = World::branch_name(id).to_string();
        rig.proxy
            .seen()
            .into_iter()
            .any(|seen| seen.is_change() && seen.path.ends_with(&path))
    };
    for id in FOREIGN.into_iter().chain(["production"]) {
        assert!(!touched(id), "{id}");
    }
}

/// Adds and removes worktrees without waiting for anything but that the daemon saw them. Returns those that are left.
async fn come_and_go(rig: &Rig, seed: u64) -> BTreeSet<String> {
    let (mut present, mut state) = (BTreeSet::new(), seed);
    for _ in 0..14 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let name = format!("w{}", (state >> 33) % 5);
        if present.remove(&name) {
            rig.remove(&name);
            continue;
        }
        rig.add(&name);
        let dir = rig.world.path(&name);
        until_within(Duration::from_mins(1), "it is seen", async || {
            rig.world.worktree(&dir).await.is_some()
        })
        .await;
        present.insert(name);
    }
    present
}
