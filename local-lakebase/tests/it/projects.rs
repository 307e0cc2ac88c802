//! Projects from creation to the end of their window.

use std::time::Duration;

use serde_json::{Value, json};

use crate::lake::{Lake, until};

#[tokio::test]
async fn a_project_is_changed_by_mask_and_its_settings_reach_later_branches() {
    let lake = Lake::start().await;
    lake.project().await;
    let patch = async |mask: &str, spec: Value| {
        let path = format!("projects/shop?update_mask={mask}");
        lake.send("PATCH", &path, json!({"spec": spec})).await
    };
    let changed = patch(
        "spec.displayName,spec.custom_tags",
        json!({"display_name": "Bricks", "custom_tags": [{"key": "team", "value": "data"}]}),
    );
    let shown = changed.await.body["response"]["status"].clone();
    assert_eq!(
        (&shown["display_name"], &shown["custom_tags"][0]["value"]),
        (&json!("Bricks"), &json!("data"))
    );
    let settings = json!({"default_endpoint_settings": {"suspend_timeout_duration": "120s", "autoscaling_limit_max_cu": 4}});
    assert_eq!(
        patch("spec.default_endpoint_settings", settings).await.status,
        200
    );
    lake.branch("dev").await;
    let endpoint = lake
        .get("projects/shop/branches/dev/endpoints/primary")
        .await
        .body;
    assert_eq!(endpoint["status"]["suspend_timeout_duration"], "120s");
    assert_eq!(endpoint["status"]["autoscaling_limit_max_cu"], 4);

    let refused = patch("spec.display_name", json!({})).await;
    assert_eq!((refused.status, refused.code()), (400, "INVALID_PARAMETER_VALUE"));
    let refused = patch("spec.nothing", json!({})).await;
    assert!(
        refused
            .message()
            .starts_with("Unknown field path in update_mask: 'spec.nothing'")
    );
    let default = |id: &str| json!({"default_branch": format!("projects/shop/branches/{id}")});
    let refused = patch("spec.default_branch", default("dev")).await;
    assert!(refused.message().contains("expiration date"), "{refused:?}");
    lake.ok(
        "POST",
        "projects/shop/branches?branch_id=staging",
        json!({"spec": {"no_expiry": true}}),
    )
    .await;
    assert_eq!(patch("spec.default_branch", default("staging")).await.status, 200);
    let staging = lake.get("projects/shop/branches/staging").await.body;
    assert_eq!(staging["status"]["default"], true);
    let refused = lake
        .send("DELETE", "projects/shop/branches/staging", Value::Null)
        .await;
    assert!(refused.message().starts_with("cannot delete default branch"));
    lake.stop().await;
}

#[tokio::test]
async fn a_deleted_project_can_come_back_and_is_gone_in_the_end() {
    let lake = Lake::start().await;
    lake.project().await;
    lake.sql("production", "CREATE TABLE kept AS SELECT 42 AS n")
        .await;
    let password = lake.password("production").await;
    let operation = lake.ok("DELETE", "projects/shop", Value::Null).await;
    assert_eq!(
        operation["response"]["@type"],
        "type.googleapis.com/google.protobuf.Empty"
    );
    assert_eq!(
        lake.get(operation["name"].as_str().unwrap()).await.body,
        operation
    );
    let branch = lake.get("projects/shop/branches/production").await;
    assert_eq!(
        (
            branch.status,
            branch.message().starts_with("project id not found")
        ),
        (404, true)
    );
    let shown = lake.get("projects/shop").await.body;
    assert!(
        shown["delete_time"].is_string() && shown["purge_time"].is_string(),
        "{shown}"
    );
    assert_eq!(lake.get("projects").await.body["projects"], json!([]));
    let listed = lake.get("projects?show_deleted=true").await.body;
    assert_eq!(listed["projects"][0]["project_id"], "shop");
    let again = lake
        .send("POST", "projects?project_id=shop", json!({"spec": {}}))
        .await;
    assert_eq!(
        (again.status, again.code()),
        (409, "ALREADY_EXISTS"),
        "the id is held"
    );

    let lake = lake.restart().await;
    lake.ok("POST", "projects/shop/undelete", json!({})).await;
    let said = lake.psql("production", &password, "", "SELECT n FROM kept").await;
    assert_eq!(said.out.trim(), "42", "{said:?}");
    lake.ok("DELETE", "projects/shop", Value::Null).await;
    lake.clock.advance(Duration::from_hours(7 * 24));
    until("the project is purged", || async {
        lake.get("projects/shop").await.status == 404
    })
    .await;
    lake.project().await;
    lake.ok("DELETE", "projects/shop?purge=true", Value::Null).await;
    assert_eq!(lake.get("projects/shop").await.status, 404);
    assert_eq!(
        std::fs::read_dir(lake.dir.path().join("local/projects/shop"))
            .unwrap()
            .count(),
        0
    );
    lake.stop().await;
}

#[tokio::test]
async fn a_project_is_born_as_it_is_asked_for_and_a_protected_branch_protects_it() {
    let lake = Lake::start().await;
    let wanted = json!({
        "spec": {"display_name": "Shop"},
        "initial_branch_spec": {"is_protected": true},
        "initial_endpoint_spec": {"suspend_timeout_duration": "90s"},
    });
    lake.ok("POST", "projects?project_id=shop", wanted).await;
    let branch = lake.get("projects/shop/branches/production").await.body;
    assert_eq!(branch["status"]["is_protected"], true);
    let endpoint = lake
        .get("projects/shop/branches/production/endpoints/primary")
        .await
        .body;
    assert_eq!(endpoint["status"]["suspend_timeout_duration"], "90s");
    for path in ["projects/shop", "projects/shop?purge=true"] {
        let refused = lake.send("DELETE", path, Value::Null).await;
        assert_eq!((refused.status, refused.code()), (400, "BAD_REQUEST"));
    }
    lake.stop().await;
}
