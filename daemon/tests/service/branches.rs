//! What becomes of branches when requests, answers and other people cross each other.

use crate::proxy::{Fault, Seen, answer, edit, error};
use crate::rig::Rig;
use crate::world::{World, until};
use chrono::{DateTime, TimeDelta, Utc};
use lakebase_api::{BranchSpec, ProtoDuration};
use lakebase_proto::v1;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

const LIST: &str = "projects/shop/branches";
const ABC: &str = "jane-doe-main-worktree-abc";

/// A list that leaves a branch out.
fn without(id: &'static str) -> Fault {
    edit(move |answer| {
        if let Some(branches) = answer["branches"].as_array_mut() {
            branches.retain(|branch| branch["branch_id"] != id);
        }
    })
}

/// A creation whose operation goes on.
fn unfinished() -> Fault {
    edit(|operation| {
        operation["done"] = json!(false);
        operation["response"] = Value::Null;
    })
}

async fn names(rig: &Rig, part: &str) -> Vec<String> {
    let mut names = rig.world.service_names().await;
    names.retain(|name| name.contains(part));
    names
}

async fn ownership(rig: &Rig, name: &str) -> v1::Ownership {
    let worktree = rig.world.worktree(&rig.world.path(name)).await.expect("listed");
    worktree.branch.expect("it has one").ownership()
}

/// Lets passes go by that nobody asked for.
async fn passes(rig: &Rig, count: usize) {
    let mark = rig.proxy.mark();
    until("passes go by", async || {
        // A rotation hints at every repository.
        rig.credential(&rig.world.main(), true).await.expect("ready");
        rig.proxy.count(mark, "GET", LIST) >= count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_10_a_branch_whose_creation_was_not_answered_is_ours_and_the_only_one() {
    let rig = Rig::ready().await;
    let mark = rig.proxy.mark();
    rig.proxy.times(1, "POST", LIST, Fault::Lose);
    rig.add("abc");
    assert_eq!(rig.world.branch(&rig.world.path("abc")).await, ABC);
    assert_eq!(names(&rig, "abc").await, [ABC]);
    assert_eq!(ownership(&rig, "abc").await, v1::Ownership::Owned);
    assert_eq!(rig.proxy.count(mark, "POST", LIST), 1, "the look was enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_10_a_branch_that_neither_answer_nor_list_shows_is_found_by_name() {
    let rig = Rig::ready().await;
    rig.proxy.times(1, "POST", LIST, Fault::Lose);
    rig.proxy.on("GET", LIST, without(ABC));
    // Nor does the first look by name find it, so that it is asked for again, and the name is taken.
    let missing = error(404, "NOT_FOUND", "branch id not found");
    rig.proxy.times(1, "GET", ABC, missing);
    rig.add("abc");
    assert_eq!(rig.world.branch(&rig.world.path("abc")).await, ABC);
    assert_eq!(names(&rig, "abc").await, [ABC]);
    assert_eq!(ownership(&rig, "abc").await, v1::Ownership::Owned);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_11_a_branch_that_somebody_makes_between_look_and_request_is_not_ours() {
    let rig = Rig::ready().await;
    let gate = Arc::new(Semaphore::new(0));
    let mark = rig.proxy.mark();
    rig.proxy.times(1, "POST", LIST, Fault::Hold(gate.clone()));
    rig.add("abc");
    until("it is asked for", async || {
        rig.proxy.count(mark, "POST", LIST) == 1
    })
    .await;
    rig.foreign(ABC).await;
    let theirs = rig.uid(ABC).await;
    gate.add_permits(1);
    assert_eq!(rig.world.branch(&rig.world.path("abc")).await, ABC);
    assert_eq!(ownership(&rig, "abc").await, v1::Ownership::Adopted);
    rig.remove("abc");
    rig.world.reconcile().await;
    assert_eq!(rig.uid(ABC).await, theirs);
    assert!(!rig.proxy.changes(mark).iter().any(|c| c.starts_with("DELETE")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_11_a_branch_that_somebody_makes_after_we_were_refused_is_not_ours() {
    let rig = Rig::ready().await;
    let refused = error(403, "PERMISSION_DENIED", "not today");
    rig.proxy.times(1, "POST", LIST, refused);
    rig.add("abc");
    rig.until_problem("abc", "not today").await;
    assert_eq!(rig.intents().await, 0, "what was refused is not on its way");
    rig.foreign(ABC).await;
    let theirs = rig.uid(ABC).await;
    rig.world.reconcile().await;
    assert_eq!(rig.world.branch(&rig.world.path("abc")).await, ABC);
    assert_eq!(ownership(&rig, "abc").await, v1::Ownership::Adopted);
    rig.remove("abc");
    rig.world.reconcile().await;
    assert_eq!(rig.uid(ABC).await, theirs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_11_an_adopted_branch_that_a_list_leaves_out_is_still_not_ours() {
    let rig = Rig::ready().await;
    rig.foreign(ABC).await;
    let theirs = rig.uid(ABC).await;
    rig.add("abc");
    rig.world.branch(&rig.world.path("abc")).await;
    let mark = rig.proxy.mark();
    rig.proxy.on("GET", LIST, without(ABC));
    rig.world.reconcile().await;
    until("it is asked for again", async || {
        rig.proxy.count(mark, "POST", LIST) > 0
    })
    .await;
    rig.proxy.behave();
    rig.world.reconcile().await;
    assert_eq!(rig.world.branch(&rig.world.path("abc")).await, ABC);
    assert_eq!(ownership(&rig, "abc").await, v1::Ownership::Adopted);
    rig.remove("abc");
    rig.world.reconcile().await;
    assert_eq!(rig.uid(ABC).await, theirs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_12_an_operation_that_fails_is_told_with_its_reason() {
    let rig = Rig::ready().await;
    let operation = json!({ "name": "projects/shop/operations/op-1" });
    let failed = json!({ "name": "projects/shop/operations/op-1", "done": true,
        "error": { "error_code": "INTERNAL_ERROR", "message": "the disk is on fire" } });
    rig.proxy.on("POST", LIST, answer(operation.to_string()));
    rig.proxy.on("GET", "operations/op-1", answer(failed.to_string()));
    rig.add("abc");
    let problem = rig.until_problem("abc", "the disk is on fire").await;
    assert!(problem.message.contains("op-1"), "{problem:?}");
    rig.proxy.behave();
    rig.world.reconcile().await;
    assert_eq!(rig.world.branch(&rig.world.path("abc")).await, ABC);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_14_a_forgotten_operation_is_settled_by_looking_at_the_branch() {
    let rig = Rig::ready().await;
    let mark = rig.proxy.mark();
    rig.proxy.on("POST", LIST, unfinished());
    rig.proxy.on("GET", LIST, without(ABC));
    let missing = error(404, "NOT_FOUND", "operation id not found");
    rig.proxy.on("GET", "*/operations/", missing);
    rig.add("abc");
    assert_eq!(rig.world.branch(&rig.world.path("abc")).await, ABC);
    let is_asked = |seen: &Seen| seen.path.contains("/operations/");
    assert!(rig.proxy.since(mark).iter().any(is_asked));
    assert_eq!(rig.proxy.count(mark, "POST", LIST), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_15_a_branch_that_somebody_deleted_is_made_anew_and_its_password_dropped() {
    let mut rig = Rig::ready().await;
    // A branch that is seconds old may be missing from a lagging list, so it is made older.
    rig.world.shut_down().await;
    rig.age_ledger().await;
    rig.world.start().await;
    let old = rig.world.credential(&rig.world.main()).await.expect("ready");
    let name = World::branch_name("jane-doe-main");
    rig.world.service().delete_branch(&name).await.expect("deleted");
    rig.world.reconcile().await;
    let mut new = None;
    until("it has another branch", async || {
        new = rig.world.credential(&rig.world.main()).await.ok();
        let uid = |credential: &v1::Credential| credential.branch.clone().map(|branch| branch.uid);
        new.as_ref().is_some_and(|new| uid(new) != uid(&old))
    })
    .await;
    assert_ne!(new.expect("it was just there").password, old.password);
    let tombstone = rig
        .world
        .service()
        .branch(&name)
        .await
        .expect("it can be looked at");
    assert!(tombstone.is_deleted(), "what a person deleted stays deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_16_a_branch_of_the_same_name_and_another_uid_is_left_alone() {
    let rig = Rig::ready().await;
    rig.add("abc");
    rig.world.branch(&rig.world.path("abc")).await;
    let uid = rig.uid(ABC).await;
    let mark = rig.proxy.mark();
    let replaced = || {
        edit(|answer| match answer["branches"].as_array_mut() {
            Some(branches) => branches
                .iter_mut()
                .filter(|branch| branch["branch_id"] == ABC)
                .for_each(|branch| branch["uid"] = json!("br-other-one-12345678")),
            None => answer["uid"] = json!("br-other-one-12345678"),
        })
    };
    rig.proxy.on("GET", LIST, replaced());
    rig.proxy.on("GET", ABC, replaced());
    rig.world.reconcile().await;
    rig.until_problem("abc", "another branch has its name now").await;
    assert_eq!(rig.record(ABC).await, ["quarantined"]);
    rig.remove("abc");
    for _ in 0..3 {
        rig.world.reconcile().await;
    }
    assert_eq!(rig.proxy.changes(mark), Vec::<String>::new());
    assert_eq!(rig.uid(ABC).await, uid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_18_a_delete_that_is_forbidden_is_not_tried_again_and_told_once() {
    let rig = Rig::ready().await;
    rig.add("abc");
    rig.world.branch(&rig.world.path("abc")).await;
    let mark = rig.proxy.mark();
    let forbidden = || error(403, "PERMISSION_DENIED", "assign the user 'Can Manage'");
    rig.proxy.on("DELETE", ABC, forbidden());
    rig.remove("abc");
    until("it is tried", async || rig.proxy.count(mark, "DELETE", ABC) == 1).await;
    passes(&rig, 5).await;
    assert_eq!(rig.proxy.count(mark, "DELETE", ABC), 1);
    assert_eq!(rig.record(ABC).await, ["owned"]);
    rig.world.reconcile().await;
    until("a person's wish is a try", async || {
        rig.proxy.count(mark, "DELETE", ABC) == 2
    })
    .await;
    let told = log(&rig).matches("a step failed; it is tried again").count();
    assert_eq!(told, 1);
    rig.proxy.behave();
    until("it goes when it may", async || {
        rig.world.reconcile().await;
        rig.uid(ABC).await.is_none()
    })
    .await;
}

fn log(rig: &Rig) -> String {
    let files = fs::read_dir(rig.world.path("state/log"))
        .expect("listed")
        .flatten();
    files
        .map(|file| fs::read_to_string(file.path()).expect("text"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_18_a_project_that_may_not_be_looked_at_is_told_once() {
    let rig = Rig::ready().await;
    let before = rig.world.credential(&rig.world.main()).await.expect("ready");
    let mark = rig.proxy.mark();
    rig.proxy.on(
        "GET",
        LIST,
        error(403, "PERMISSION_DENIED", "assign the user 'Can Use'"),
    );
    for _ in 0..3 {
        rig.world.reconcile().await;
    }
    assert!(rig.problems().await.contains("CAN MANAGE"));
    assert_eq!(rig.proxy.changes(mark), Vec::<String>::new());
    assert_eq!(log(&rig).matches("a pass stopped").count(), 1);
    let now = rig
        .world
        .credential(&rig.world.main())
        .await
        .expect("it is cached");
    assert_eq!(now.password, before.password);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_21_a_branch_that_is_not_to_be_seen_yet_is_neither_made_twice_nor_given_up() {
    let rig = Rig::ready().await;
    let mark = rig.proxy.mark();
    rig.proxy.on("GET", LIST, without(ABC));
    rig.proxy
        .on("GET", ABC, error(404, "NOT_FOUND", "branch id not found"));
    rig.add("abc");
    until("it is asked for", async || {
        rig.proxy.count(mark, "POST", LIST) == 1
    })
    .await;
    passes(&rig, 5).await;
    assert_eq!(rig.proxy.count(mark, "POST", LIST), 1);
    assert_eq!(rig.record(ABC).await, ["owned"]);
    rig.proxy.behave();
    assert_eq!(rig.world.branch(&rig.world.path("abc")).await, ABC);
    assert_eq!(names(&rig, "abc").await, [ABC]);
    let changes = rig.proxy.changes(mark);
    assert!(
        !changes.iter().any(|change| change.starts_with("DELETE")),
        "{changes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_23_a_child_that_comes_between_the_gate_and_the_delete_saves_its_parent() {
    let rig = Rig::ready().await;
    rig.add("abc");
    rig.world.branch(&rig.world.path("abc")).await;
    let uid = rig.uid(ABC).await;
    let gate = Arc::new(Semaphore::new(0));
    let mark = rig.proxy.mark();
    rig.proxy.times(1, "DELETE", ABC, Fault::Hold(gate.clone()));
    rig.remove("abc");
    until("it is on its way", async || {
        rig.proxy.count(mark, "DELETE", ABC) == 1
    })
    .await;
    let service = rig.world.service();
    let parent = World::branch_name(ABC);
    service.set_no_expiry(&parent).await.expect("held");
    let spec = BranchSpec {
        source_branch: Some(parent),
        ttl: Some(ProtoDuration::from(Duration::from_hours(1))),
        ..BranchSpec::default()
    };
    service
        .create_branch(&World::project(), "of-somebody", &spec)
        .await
        .expect("made");
    gate.add_permits(1);
    for _ in 0..3 {
        rig.world.reconcile().await;
    }
    assert_eq!(rig.uid(ABC).await, uid);
    assert_eq!(rig.record(ABC).await, ["owned"]);
    assert_eq!(rig.proxy.count(mark, "DELETE", ABC), 1, "the look was enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_26_a_renewal_whose_answer_is_lost_is_repeated_and_never_shortens() {
    let rig = Rig::ready().await;
    let (service, name) = (rig.world.service(), World::branch_name("jane-doe-main"));
    let lease = async || {
        let branch = service.branch(&name).await.expect("there");
        branch.status.expire_time.expect("it has a lease")
    };
    let granted = lease().await;
    let shorter = granted - TimeDelta::hours(5);
    service.renew_branch(&name, shorter).await.expect("shortened");
    let mark = rig.proxy.mark();
    rig.proxy.times(1, "PATCH", "jane-doe-main", Fault::Refuse);
    rig.proxy.times(1, "PATCH", "jane-doe-main", Fault::Lose);
    until("it is renewed", async || {
        rig.world.reconcile().await;
        lease().await >= granted
    })
    .await;
    rig.world.reconcile().await;
    let renewals = rig
        .proxy
        .since(mark)
        .into_iter()
        .filter(|seen| seen.method == "PATCH");
    let ends: Vec<DateTime<Utc>> = renewals
        .map(|seen| seen.body["spec"]["expire_time"].as_str().expect("a time").parse())
        .collect::<Result<_, _>>()
        .expect("times");
    assert_eq!(ends.len(), 2, "once in vain, once without an answer: {ends:?}");
    assert!(ends.is_sorted() && ends[0] >= shorter, "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_27_a_project_that_is_deleted_is_told_once_and_all_is_back_when_it_is() {
    let rig = Rig::ready().await;
    let main = rig.world.main();
    let before = rig.world.credential(&main).await.expect("ready").branch;
    let deleted = rig.proxy.ask("DELETE", "projects/shop", "").await;
    assert_eq!(deleted.status, 200, "{}", deleted.body);
    let mark = rig.proxy.mark();
    for _ in 0..3 {
        rig.world.reconcile().await;
    }
    let error = rig.world.credential(&main).await.expect_err("it is gone");
    assert!(error.message().contains("projects/shop"), "{error:?}");
    assert!(rig.problems().await.contains("LAKEBASE_PROJECT_ID"));
    assert_eq!(log(&rig).matches("a pass stopped").count(), 1);
    assert_eq!(rig.proxy.changes(mark), Vec::<String>::new());
    let lists = rig.proxy.count(mark, "GET", LIST);
    assert!(lists <= 4, "{lists} looks, three of them asked for");

    let back = rig.proxy.ask("POST", "projects/shop/undelete", "{}").await;
    assert_eq!(back.status, 200, "{}", back.body);
    rig.world.reconcile().await;
    let after = rig.world.credential(&main).await.expect("ready").branch;
    assert_eq!(after.map(|branch| branch.uid), before.map(|branch| branch.uid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s8_a_lease_that_was_held_for_children_is_given_back_after_the_repository_is_given_up() {
    let mut rig = Rig::ready().await;
    rig.add("abc");
    rig.world.branch(&rig.world.path("abc")).await;
    let ends = async |rig: &Rig| {
        let branch = World::branch_name("jane-doe-main");
        let branch = rig.world.service().branch(&branch).await.expect("it is there");
        branch.status.expire_time.is_some()
    };
    assert!(
        !ends(&rig).await,
        "a branch that others fork from has no expiration"
    );
    let request = v1::UnregisterRepositoryRequest {
        path: crate::world::bytes(&rig.world.main()),
        delete_branches: false,
    };
    let mut client = rig.world.client().await;
    client.unregister_repository(request).await.expect("given up");
    rig.world.shut_down().await;
    rig.world.start().await;
    assert!(!ends(&rig).await, "its child lives");
    let child = World::branch_name(ABC);
    rig.world.service().delete_branch(&child).await.expect("deleted");
    until("the child is gone", async || names(&rig, "abc").await.is_empty()).await;
    rig.world.shut_down().await;
    rig.world.start().await;
    until("the parent has an end again", async || ends(&rig).await).await;
    until("its record is gone", async || {
        rig.record("jane-doe-main").await.is_empty()
    })
    .await;
}
