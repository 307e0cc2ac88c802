//! Requests and answers over HTTP.

use serde_json::{Value, json};

use crate::http::{header, send};
use crate::lake::{Lake, USER};

const PRODUCTION: &str = "projects/shop/branches/production";

#[tokio::test]
async fn a_project_is_born_with_production_and_its_endpoint() {
    let lake = Lake::start().await;
    let operation = lake
        .ok(
            "POST",
            "projects?project_id=shop",
            json!({"spec": {"display_name": "Shop"}}),
        )
        .await;
    assert_eq!(operation["done"], true);
    let response = &operation["response"];
    assert_eq!(
        response["@type"],
        "type.googleapis.com/databricks.postgres.v1.Project"
    );
    assert_eq!(response["status"]["owner"], USER);
    assert_eq!(response["status"]["default_branch"], PRODUCTION);
    assert_eq!(response["spec"], Value::Null, "a spec is never shown");
    let again = lake
        .ok("GET", operation["name"].as_str().unwrap(), Value::Null)
        .await;
    assert_eq!(again, operation);

    let project = lake.ok("GET", "projects/shop", Value::Null).await;
    assert_eq!(project["uid"], response["uid"]);
    let branch = lake.ok("GET", PRODUCTION, Value::Null).await;
    let status = &branch["status"];
    assert_eq!(
        (&status["default"], &status["is_protected"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(status["current_state"], "READY");
    assert!(
        status["logical_size_bytes"].as_i64().unwrap() > 1_000_000,
        "{status}"
    );
    let endpoints = lake
        .ok("GET", &format!("{PRODUCTION}/endpoints"), Value::Null)
        .await;
    let endpoint = &endpoints["endpoints"][0];
    assert_eq!(endpoint["status"]["endpoint_type"], "ENDPOINT_TYPE_READ_WRITE");
    assert!(endpoint["uid"].as_str().unwrap().starts_with("ep-"));
    let databases = lake
        .ok("GET", &format!("{PRODUCTION}/databases"), Value::Null)
        .await;
    let database = &databases["databases"][0];
    assert_eq!(database["status"]["postgres_database"], "databricks_postgres");
    let name = database["name"].as_str().unwrap();
    assert_eq!(&lake.ok("GET", name, Value::Null).await, database);
    lake.stop().await;
}

/// A request below `/api/2.0/postgres/` with its body, and the status, code and message it is refused with.
pub(crate) type Refusal<'a> = (&'a str, &'a str, u16, &'a str, &'a str);

pub(crate) const BAD: &str = "BAD_REQUEST";
pub(crate) const INVALID: &str = "INVALID_PARAMETER_VALUE";
const NOT_FOUND: &str = "NOT_FOUND";
const NO_API: &str = "ENDPOINT_NOT_FOUND";

#[rustfmt::skip]
const REFUSALS: &[Refusal<'_>] = &[
    ("POST projects?project_id=shop", "{}", 409, "ALREADY_EXISTS",
        "project with such id already exists in the workspace"),
    ("POST projects", "{}", 400, INVALID, r#"Field 'project_id' is required, expected non-default value (not "")!"#),
    ("GET projects/nope", "", 404, NOT_FOUND, "project id not found"),
    ("GET projects/nope/branches/x", "", 404, NOT_FOUND, "project id not found"),
    ("GET projects/shop/branches/nope", "", 404, NOT_FOUND, "branch id not found"),
    ("GET projects/shop/branches/dev/endpoints/nope", "", 404, NOT_FOUND, "endpoint id not found"),
    ("GET projects/shop/branches/dev/databases/nope", "", 404, NOT_FOUND, "database id not found"),
    ("GET projects/shop/branches/dev/operations/nope", "", 404, NOT_FOUND, "operation id not found"),
    ("POST projects/shop/branches", r#"{"spec":{"ttl":"3600s"}}"#, 400, INVALID,
        r#"Field 'branch_id' is required, expected non-default value (not "")!"#),
    ("POST projects/nope/branches", r#"{"spec":{"ttl":"3600s"}}"#, 404, NOT_FOUND, "project id not found"),
    ("POST projects/shop/branches?branch_id=dev", r#"{"spec":{"ttl":"3600s"}}"#, 400, BAD,
        r#"branch already exists; branch_name:"dev""#),
    ("POST projects/shop/branches?branch_id=new", r#"{"spec":{}}"#, 400, INVALID,
        "Expiration must be specified when creating a branch"),
    ("POST projects/shop/branches?branch_id=new", "", 400, INVALID,
        "Expiration must be specified when creating a branch"),
    ("POST projects/shop/branches?branch_id=new", r#"{"spec":{"ttl":"2592001s"}}"#, 400, INVALID,
        "requested expiration time exceeds the maximum expiration time"),
    ("POST projects/shop/branches?branch_id=new",
        r#"{"spec":{"ttl":"3600s","source_branch":"projects/shop/branches/dev"}}"#, 400, BAD,
        "Branches with an expiration date cannot have child branches"),
    ("POST projects/shop/branches?branch_id=new",
        r#"{"spec":{"ttl":"3600s","source_branch":"projects/shop/branches/br-quiet-moon-d2x8y1zz"}}"#, 404,
        NOT_FOUND, "branch id not found"),
    ("POST projects/shop/branches?branch_id=new",
        r#"{"spec":{"ttl":"3600s","source_branch":"projects/other/branches/production"}}"#, 400, INVALID,
        "source_branch field must point to the branch from the same Project"),
    ("PATCH projects/shop/branches/dev?update_mask=spec.no_such", r#"{"spec":{"ttl":"3600s"}}"#, 400, INVALID,
        "Unknown field path in update_mask: 'spec.no_such'"),
    ("PATCH projects/shop/branches/dev?update_mask=spec.is_protected", r#"{"spec":{"ttl":"3600s"}}"#, 400, INVALID,
        "Field 'spec.is_protected' is named in update_mask but not set in the request body"),
    ("PATCH projects/shop/branches/dev", r#"{"spec":{"ttl":"3600s"}}"#, 400, INVALID,
        r#"Field 'update_mask' is required, expected non-default value (not "")!"#),
    ("PATCH projects/shop/branches/production?update_mask=spec.expiration", r#"{"spec":{"ttl":"3600s"}}"#, 400, BAD,
        "cannot set an expiration date on the default branch"),
    ("DELETE projects/shop/branches/production", "", 400, BAD,
        "Cannot delete root branch 'projects/shop/branches/production'. \
         Root branches cannot be deleted independently."),
    ("DELETE projects/shop/branches/nope", "", 404, NOT_FOUND, "branch id not found"),
    ("POST projects/shop/branches/dev/undelete", "{}", 400, BAD, r#"branch is not deleted; branch_name:"dev""#),
    ("POST projects/shop/branches/dev/endpoints?endpoint_id=two",
        r#"{"spec":{"endpoint_type":"ENDPOINT_TYPE_READ_WRITE"}}"#, 400, BAD, "read_write endpoint already exists"),
    ("DELETE projects/shop/branches/dev/endpoints/primary", "", 400, BAD,
        "Cannot delete read-write endpoint 'projects/shop/branches/dev/endpoints/primary'. \
         Read-write endpoints cannot be deleted."),
    ("POST credentials", "{}", 400, INVALID, r#"Field 'endpoint' is required, expected non-default value (not "")!"#),
    ("POST credentials", r#"{"endpoint":"projects/shop/branches/dev/endpoints/nope"}"#, 404, NOT_FOUND,
        "endpoint id not found"),
    ("POST credentials", r#"{"endpoint":"projects/shop/branches/dev/endpoints/primary","ttl":"60s"}"#, 400, INVALID,
        "ttl must be between 300s and 3600s"),
    ("GET snapshots?x=1", "", 404, NO_API, "No API found for 'GET /postgres/snapshots'"),
    ("PUT projects/shop/branches/dev", "", 404, NO_API,
        "No API found for 'PUT /postgres/projects/shop/branches/dev'"),
];

#[tokio::test]
async fn every_rule_refuses_in_the_words_of_the_service() {
    let lake = Lake::start().await;
    lake.project().await;
    lake.branch("dev").await;
    for (request, body, status, code, message) in REFUSALS {
        let (method, path) = request.split_once(' ').unwrap();
        let answer = lake.send_text(method, path, body).await;
        let got = (answer.status, answer.code(), answer.message());
        assert_eq!(got, (*status, *code, *message), "{request} {body}");
        let text = answer.body["message"].as_str().unwrap();
        let trace = text
            .split("[TraceId: ")
            .nth(1)
            .and_then(|rest| rest.strip_suffix(']'));
        let details = answer.body["details"].as_array().unwrap();
        assert_eq!(trace, details.last().unwrap()["request_id"].as_str(), "{text}");
        assert!(trace.is_some_and(|trace| trace.len() == 32), "{text}");
    }
    for wrong in [
        r#"{"spec":{"ttl":{"seconds":21600}}}"#,
        r#"{"spec":{"ttl":"6h"}}"#,
        "{",
        "[]",
    ] {
        let path = "projects/shop/branches?branch_id=new";
        let answer = lake.send_text("POST", path, wrong).await;
        assert_eq!((answer.status, answer.code()), (400, INVALID), "{wrong}");
    }
    let large = format!(r#"{{"spec":{{"x":"{}"}}}}"#, "x".repeat(300_000));
    let answer = lake
        .send_text("POST", "projects/shop/branches?branch_id=new", &large)
        .await;
    assert_eq!(
        (answer.status, answer.message()),
        (413, "the request body is too large")
    );
    lake.stop().await;
}

fn ids(body: &Value) -> Vec<&str> {
    let branches = body["branches"].as_array().unwrap();
    branches
        .iter()
        .map(|branch| branch["branch_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn branches_come_in_pages_and_go_softly() {
    let lake = Lake::start().await;
    lake.project().await;
    for id in ["b-1", "b-2", "b-3"] {
        lake.branch(id).await;
    }
    let first = lake
        .ok("GET", "projects/shop/branches?page_size=3", Value::Null)
        .await;
    assert_eq!(ids(&first), ["b-1", "b-2", "b-3"]);
    let token = first["next_page_token"].as_str().unwrap();
    let path = format!("projects/shop/branches?page_size=3&page_token={token}");
    let last = lake.ok("GET", &path, Value::Null).await;
    assert_eq!(
        (ids(&last), &last["next_page_token"]),
        (vec!["production"], &Value::Null)
    );

    let path = "projects/shop/branches/b-2";
    let deleted = lake.ok("DELETE", path, Value::Null).await;
    assert_eq!(
        deleted["response"]["@type"],
        "type.googleapis.com/google.protobuf.Empty"
    );
    let listed = lake.ok("GET", "projects/shop/branches", Value::Null).await;
    assert_eq!(ids(&listed), ["b-1", "b-3", "production"]);
    let listed = lake
        .ok("GET", "projects/shop/branches?show_deleted=true", Value::Null)
        .await;
    assert_eq!(ids(&listed), ["b-1", "b-2", "b-3", "production"]);
    let tombstone = &listed["branches"][1]["status"];
    assert_eq!(tombstone["current_state"], "DELETED");
    assert!(
        tombstone["delete_time"].is_string() && tombstone["purge_time"].is_string(),
        "{tombstone}"
    );
    assert_eq!(lake.send("DELETE", path, Value::Null).await.status, 404);
    assert_eq!(lake.get(&format!("{path}/endpoints")).await.status, 404);

    lake.ok("POST", &format!("{path}/undelete"), json!({})).await;
    let back = lake.ok("GET", path, Value::Null).await;
    assert_eq!(back["status"]["current_state"], "READY");
    assert_eq!(
        back["status"]["expire_time"],
        Value::Null,
        "it comes back without an expiration"
    );
    lake.ok("DELETE", &format!("{path}?purge=true"), Value::Null)
        .await;
    assert_eq!(lake.get(path).await.message(), "branch id not found");
    let name = deleted["name"].as_str().unwrap();
    assert_eq!(
        lake.ok("GET", name, Value::Null).await,
        deleted,
        "an operation outlives its branch"
    );
    lake.stop().await;
}

#[tokio::test]
async fn renewals_masks_and_settings_take_effect() {
    let lake = Lake::start().await;
    lake.project().await;
    lake.branch("dev").await;
    let dev = "projects/shop/branches/dev";
    let in_a_day = (lake.clock.now() + std::time::Duration::from_hours(24)).to_rfc3339();
    let body = json!({"name": dev, "spec": {"expire_time": in_a_day}});
    let renewed = lake
        .ok("PATCH", &format!("{dev}?update_mask=spec.expiration"), body)
        .await;
    let shown: chrono::DateTime<chrono::Utc> = renewed["response"]["status"]["expire_time"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(shown.to_rfc3339(), in_a_day);
    lake.ok(
        "PATCH",
        &format!("{dev}?update_mask=spec.expiration"),
        json!({"spec": {"no_expiry": true}}),
    )
    .await;
    lake.ok(
        "PATCH",
        &format!("{dev}?update_mask=spec.isProtected"),
        json!({"spec": {"is_protected": true}}),
    )
    .await;
    let branch = lake.ok("GET", dev, Value::Null).await;
    assert_eq!(branch["status"]["is_protected"], true);
    assert_eq!(
        lake.send("DELETE", dev, Value::Null).await.message(),
        "cannot delete protected branch"
    );

    let both = json!({"spec": {"is_protected": false, "ttl": "21600s"}});
    let path = format!("{dev}?update_mask=spec.is_protected%2Cspec.expiration");
    let branch = lake.ok("PATCH", &path, both).await;
    assert!(branch["response"]["status"]["expire_time"].is_string());

    let endpoint = format!("{dev}/endpoints/primary");
    let spec =
        json!({"spec": {"endpoint_type": "ENDPOINT_TYPE_READ_WRITE", "suspend_timeout_duration": "60s"}});
    lake.ok("PATCH", &format!("{endpoint}?update_mask=spec.suspension"), spec)
        .await;
    let shown = lake.ok("GET", &endpoint, Value::Null).await;
    assert_eq!(shown["status"]["suspend_timeout_duration"], "60s");
    assert_eq!(shown["status"]["autoscaling_limit_min_cu"], 1);
    lake.stop().await;
}

#[tokio::test]
async fn without_the_token_there_is_nothing_but_the_way_in() {
    let lake = Lake::start().await;
    let url = lake.local.api_url();
    for token in [None, Some("wrong"), Some("")] {
        for path in [
            "/api/2.0/postgres/projects",
            "/api/2.0/preview/scim/v2/Me",
            "/nope",
        ] {
            let answer = send(url, "GET", path, token, "").await;
            assert_eq!((answer.status, answer.code()), (401, "UNAUTHENTICATED"), "{path}");
        }
    }
    let config = send(url, "GET", "/.well-known/databricks-config", None, "").await;
    assert_eq!(config.status, 200);
    assert_eq!(config.body["oidc_endpoint"], format!("{url}/oidc"));
    let number = config.body["workspace_id"].as_str().unwrap();
    assert_eq!(header(&config.head, "x-databricks-org-id"), Some(number));
    assert_eq!(header(&config.head, "content-type"), Some("application/json"));
    let discovery = send(
        url,
        "GET",
        "/oidc/.well-known/oauth-authorization-server",
        None,
        "",
    )
    .await;
    assert_eq!(discovery.body["token_endpoint"], format!("{url}/oidc/v1/token"));

    let profiles = std::fs::read_to_string(lake.local.databricks_config_file()).unwrap();
    let value = |key: &str| {
        let line = profiles
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{key} = ")));
        line.unwrap().to_owned()
    };
    assert_eq!(value("host"), url);
    let form = format!(
        "grant_type=client_credentials&scope=all-apis&client_id={}&client_secret={}",
        value("client_id"),
        value("client_secret")
    );
    let token = send(url, "POST", "/oidc/v1/token", None, &form).await;
    assert_eq!(
        (&token.body["token_type"], &token.body["expires_in"]),
        (&json!("Bearer"), &json!(3600))
    );
    let access = token.body["access_token"].as_str().unwrap();
    let me = send(url, "GET", "/api/2.0/preview/scim/v2/Me", Some(access), "").await;
    assert_eq!(
        me.body["userName"],
        value("client_id"),
        "it is a service principal"
    );
    lake.clock.advance(std::time::Duration::from_hours(1));
    let me = send(url, "GET", "/api/2.0/preview/scim/v2/Me", Some(access), "").await;
    assert_eq!(me.status, 401, "an access token expires");
    let form = form.replace(&value("client_secret"), "wrong");
    assert_eq!(send(url, "POST", "/oidc/v1/token", None, &form).await.status, 401);
    lake.stop().await;
}

#[tokio::test]
async fn an_eleventh_branch_is_refused_until_one_goes() {
    let limits = local_lakebase::Limits {
        unarchived_branches: 3,
        ..local_lakebase::Limits::default()
    };
    let lake = Lake::start_with(limits).await;
    lake.project().await;
    lake.branch("one").await;
    lake.branch("two").await;
    let path = "projects/shop/branches?branch_id=three";
    let body = || json!({"spec": {"ttl": "3600s"}});
    let full = lake.send("POST", path, body()).await;
    assert_eq!(full.status, 400);
    assert!(full.message().contains("limit exceeded"), "{full:?}");
    lake.ok("DELETE", "projects/shop/branches/one", Value::Null).await;
    lake.ok("POST", path, body()).await;
    lake.stop().await;
}
