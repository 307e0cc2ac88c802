//! Answers that are late, broken, too much or about something else: nothing is decided by them, and nobody waits for them.

use crate::proxy::{Fault, SECOND_PAGE, answer, edit, error, rewrite, with_header};
use crate::rig::{Rig, make_project};
use crate::world::{bytes, until};
use lakebase_proto::v1;
use serde_json::json;
use std::fs;
use std::time::Duration;

type Change = fn(&mut serde_json::Value);

const LIST: &str = "projects/shop/branches";

/// While lists are answered so, a worktree goes and another one comes: nothing is done about either, what is cached is
/// served, and a person is told. Afterwards both get what is theirs.
async fn decide_nothing(faults: Vec<(&str, Vec<(String, Fault)>)>) {
    let rig = Rig::ready().await;
    rig.add("gone");
    rig.world.branch(&rig.world.path("gone")).await;
    let before = rig.world.credential(&rig.world.main()).await.expect("ready");
    let mut mark = 0;
    for (what, rules) in faults {
        rig.proxy.behave();
        for (tail, fault) in rules {
            rig.proxy.on("", tail, fault);
        }
        if mark == 0 {
            mark = rig.proxy.mark();
            rig.remove("gone");
            rig.add("new");
        }
        rig.world.reconcile().await;
        assert!(rig.problems().await.contains("cannot"), "{what} is not told");
        assert_eq!(rig.proxy.changes(mark), Vec::<String>::new(), "{what}");
        let now = rig
            .world
            .credential(&rig.world.main())
            .await
            .expect("it is cached");
        assert_eq!(now.password, before.password, "{what}");
    }
    rig.proxy.behave();
    rig.world.reconcile().await;
    assert_eq!(
        rig.world.branch(&rig.world.path("new")).await,
        "jane-doe-main-worktree-new"
    );
    until("the removed one's branch is deleted", async || {
        rig.uid("jane-doe-main-worktree-gone").await.is_none()
    })
    .await;
    assert_eq!(rig.problems().await, "");
}

fn list(fault: Fault) -> Vec<(String, Fault)> {
    vec![(LIST.to_owned(), fault)]
}

fn page(body: &str) -> Fault {
    with_header(answer(body), "content-type", "text/html")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_01_a_429_with_retry_after_is_waited_for_and_only_there() {
    let rig = Rig::ready().await;
    let throttled = |after| {
        let fault = error(429, "RESOURCE_EXHAUSTED", "Too many requests");
        with_header(fault, "retry-after", after)
    };
    let mark = rig.proxy.mark();
    rig.proxy.times(1, "POST", LIST, throttled("2"));
    rig.add("soon");
    rig.world.branch(&rig.world.path("soon")).await;
    let posts: Vec<_> = rig
        .proxy
        .since(mark)
        .into_iter()
        .filter(|seen| seen.is("POST", LIST))
        .collect();
    assert_eq!(posts.len(), 2);
    assert!(posts[1].at - posts[0].at > Duration::from_secs(2), "{posts:?}");

    let mark = rig.proxy.mark();
    rig.proxy.on("POST", LIST, throttled("1000000000"));
    rig.add("later");
    rig.until_problem("later", "429").await;
    for name in ["shop", "soon"] {
        rig.world
            .credential(&rig.world.path(name))
            .await
            .expect("unaffected");
    }
    assert_eq!(rig.proxy.count(mark, "POST", LIST), 1, "it stays away");
    rig.proxy.behave();
    rig.world.reconcile().await;
    rig.world.branch(&rig.world.path("later")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_03_a_500_or_a_page_of_a_gateway_decides_nothing() {
    let Fault::Answer(mut gateway) = page("<html><title>502 Bad Gateway</title></html>") else {
        unreachable!("it is an answer")
    };
    gateway.status = 502;
    let internal = error(500, "INTERNAL_ERROR", "try again later");
    decide_nothing(vec![(
        "a 500, then a page",
        vec![
            (SECOND_PAGE.to_owned(), internal),
            (LIST.to_owned(), Fault::Answer(gateway)),
        ],
    )])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_05_a_captive_portal_or_no_network_at_all_decides_nothing() {
    let portal = page("<html><h1>Welcome to the hotel</h1></html>");
    decide_nothing(vec![
        ("a portal", vec![(String::new(), portal)]),
        ("nobody there", vec![(String::new(), Fault::Refuse)]),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_06_a_list_that_breaks_in_its_second_page_decides_nothing() {
    let more = edit(|list| list["next_page_token"] = json!("ours"));
    decide_nothing(vec![(
        "half a list",
        vec![(SECOND_PAGE.to_owned(), Fault::Cut), (LIST.to_owned(), more)],
    )])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_07_a_project_that_answers_a_byte_a_second_holds_up_no_other() {
    let mut rig = Rig::ready().await;
    make_project(&rig.world.service(), "slow").await;
    rig.proxy.on("GET", "projects/slow/branches", Fault::Drip);
    let other = rig.world.path("other");
    rig.world.git(&["clone", "-q", ".", &other.to_string_lossy()]);
    fs::write(other.join("lakebase.config"), "LAKEBASE_PROJECT_ID=\"slow\"\n").expect("written");
    let request = v1::RegisterRepositoryRequest { path: bytes(&other) };
    let mut client = rig.world.client().await;
    client.register_repository(request).await.expect("registered");
    until("it hangs", async || {
        rig.proxy.count(0, "GET", "projects/slow/branches") == 1
    })
    .await;
    for name in ["a", "b"] {
        rig.add(name);
        rig.world.branch(&rig.world.path(name)).await;
    }
    assert_eq!(
        rig.proxy.count(0, "GET", "projects/slow/branches"),
        1,
        "it hangs still"
    );
    // Asked to end in order, it would wait for the slow one for a while.
    rig.world.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_08_json_that_is_cut_garbage_doubled_or_huge_decides_nothing() {
    let huge = format!("{{\"branches\":[],\"x\":\"{}\"}}", "x".repeat(5 << 20));
    let doubled = |text: String| text.replacen('{', "{\"branches\":[],", 1);
    let half = |text: String| text[..text.len() / 2].to_owned();
    decide_nothing(vec![
        ("half of it", list(rewrite(half))),
        ("garbage", list(answer("\u{0}\u{1}]}{"))),
        ("another kind", list(answer("[1]"))),
        ("a key twice", list(rewrite(doubled))),
        ("5 MiB", list(answer(huge))),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_09_a_branch_of_which_too_little_is_known_is_not_deleted() {
    let rig = Rig::ready().await;
    let id = "jane-doe-main-worktree-abc";
    rig.add("abc");
    rig.world.branch(&rig.world.path("abc")).await;
    let strip = |change: Change| {
        edit(move |answer| match answer["branches"].as_array_mut() {
            Some(branches) => branches
                .iter_mut()
                .filter(|branch| branch["branch_id"] == id)
                .for_each(change),
            None => change(answer),
        })
    };
    let mark = rig.proxy.mark();
    let changes: [(&str, Change); 3] = [
        ("a new state", |branch| {
            branch["status"]["current_state"] = json!("HIBERNATING");
        }),
        ("no uid", |branch| branch["uid"] = json!(null)),
        ("no status", |branch| branch["status"] = json!({})),
    ];
    for (what, change) in changes {
        rig.proxy.behave();
        rig.proxy.on("GET", LIST, strip(change));
        rig.proxy.on("GET", id, strip(change));
        if rig.world.path("abc").exists() {
            rig.remove("abc");
        }
        for _ in 0..3 {
            rig.world.reconcile().await;
        }
        let changes = rig.proxy.changes(mark);
        assert!(
            !changes.iter().any(|change| change.starts_with("DELETE")),
            "{what}: {changes:?}"
        );
        rig.world
            .credential(&rig.world.main())
            .await
            .expect("the others are read");
    }
    rig.proxy.behave();
    until("it is deleted when all is known", async || {
        rig.world.reconcile().await;
        rig.uid(id).await.is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_22_a_list_that_begins_again_decides_nothing() {
    let again = edit(|list| list["next_page_token"] = json!("ours"));
    decide_nothing(vec![("an endless list", list(again))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_25_a_list_with_a_branch_of_another_project_decides_nothing() {
    let moved = edit(|list| list["branches"][0]["name"] = json!("projects/bank/branches/x"));
    decide_nothing(vec![("a stranger", list(moved))]).await;
}
