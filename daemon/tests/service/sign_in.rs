//! Tokens that are no longer accepted, and people who sign in again while the daemon runs.

use crate::rig::Rig;
use local_lakebase::Limits;

const LIST: &str = "projects/shop/branches";
const ME: &str = "/scim/v2/Me";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_19_a_token_that_was_replaced_in_the_profile_is_used_everywhere_at_once() {
    let rig = Rig::ready().await;
    let main = rig.world.main();
    rig.proxy.accept("second");
    rig.sign_in("second");
    // The endpoint is known from before, and its password is minted with the new token all the same.
    rig.world.reconcile().await;
    rig.credential(&main, true).await.expect("minted");
    rig.add("abc");
    rig.world.branch(&rig.world.path("abc")).await;
    assert_eq!(rig.problems().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_20_a_token_that_is_not_accepted_is_told_and_a_new_one_needs_no_restart() {
    let rig = Rig::ready().await;
    let main = rig.world.main();
    let before = rig.world.credential(&main).await.expect("ready");
    let mark = rig.proxy.mark();
    rig.proxy.accept("second");
    rig.world.reconcile().await;
    let problems = rig.problems().await;
    assert!(
        problems.contains("401") && problems.contains("sign in again"),
        "{problems}"
    );
    let lists = rig.proxy.count(mark, "GET", LIST);
    assert!(lists <= 2, "a refusal is not repeated: {lists}");
    let served = rig.world.credential(&main).await.expect("served to its end");
    assert_eq!(served.password, before.password);
    let error = rig
        .credential(&main, true)
        .await
        .expect_err("it cannot be minted");
    let fix = lakebase_proto::fix_of(&error).expect("a person can help");
    assert!(fix.contains("sign in again"), "{fix}");
    assert_eq!(rig.proxy.changes(mark), Vec::<String>::new());

    rig.sign_in("second");
    rig.world.reconcile().await;
    assert_eq!(rig.problems().await, "");
    rig.credential(&main, true).await.expect("minted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_20_a_token_that_was_never_accepted_is_tried_once_a_minute() {
    let mut rig = Rig::new(Limits::default()).await;
    rig.proxy.accept("second");
    rig.world.start().await;
    rig.world.register().await;
    for _ in 0..3 {
        rig.world.reconcile().await;
    }
    assert!(rig.problems().await.contains("sign in again"));
    assert_eq!(rig.proxy.count(0, "GET", ME), 1);
    assert_eq!(rig.proxy.mark(), 1, "nothing else is asked");
    rig.sign_in("second");
    rig.world.reconcile().await;
    rig.world.branch(&rig.world.main()).await;
}
