//! What `up` and `status` say, and end with, when Local Lakebase serves nothing until the user has acted.

use crate::fake::Fake;
use crate::scene::{Scene, failure, json, stdout};
use lakebase_proto::v1::{LocalState, Problem};

const FIX: &str = "run `lakebased local recover`";

/// A daemon whose Local Lakebase is in these states, one for each question.
fn in_states(scene: &Scene, states: &[LocalState]) -> Fake {
    let fake = scene.ready();
    fake.world().local_states = states.to_vec();
    if states.contains(&LocalState::Refused) {
        fake.world().local_problems = vec![Problem {
            message: "the catalog is missing, beside 7 data directories".into(),
            fix: FIX.into(),
        }];
    }
    fake
}

#[test]
fn ll_01_up_and_status_fail_and_name_the_command() {
    let scene = Scene::new();
    let _fake = in_states(
        &scene,
        &[LocalState::Starting, LocalState::Starting, LocalState::Refused],
    );
    for command in ["up", "status"] {
        let (code, text) = failure(&mut scene.lakebase(&[command]));
        assert_eq!(code, 1, "{text}");
        let error = "error: Local Lakebase serves nothing: the catalog is missing, beside 7 data directories";
        assert!(
            text.contains(error) && text.contains(&format!("hint: {FIX}")),
            "{text}"
        );
    }
    for command in ["up", "status"] {
        let out = scene
            .lakebase(&[command, "--json"])
            .assert()
            .code(1)
            .get_output()
            .clone();
        let said: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let daemon = if command == "up" { &said } else { &said["daemon"] };
        assert_eq!(daemon["local_state"], "refused");
        assert_eq!(daemon["problems"][0]["fix"], FIX);
    }
}

#[test]
fn up_waits_until_local_lakebase_has_started() {
    let scene = Scene::new();
    let _fake = in_states(
        &scene,
        &[LocalState::Starting, LocalState::Starting, LocalState::Serving],
    );
    assert_eq!(
        json(&mut scene.lakebase(&["up", "--json"]))["local_state"],
        "serving"
    );
}

#[test]
fn other_problems_are_shown_and_no_failure() {
    let scene = Scene::new();
    let fake = scene.ready();
    fake.world().local_problems = vec![Problem {
        message: "2 data directories that no branch has are in `/data/lost`".into(),
        fix: FIX.into(),
    }];
    let text = stdout(&mut scene.lakebase(&["status"]));
    assert!(text.contains("/data/lost") && text.contains(FIX), "{text}");
    stdout(&mut scene.lakebase(&["up"]));
}
