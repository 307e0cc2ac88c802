//! Each resource reads what the service writes, and writes it back the same.

use std::fmt::Debug;

use secrecy::ExposeSecret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::branch::{Branch, BranchPage, BranchSpec, BranchState};
use super::credential::{CredentialRequest, DatabaseCredential};
use super::database::Database;
use super::endpoint::{Endpoint, EndpointSpec, EndpointState, EndpointType};
use super::operation::Operation;
use super::project::Project;
use super::role::{IdentityType, Role, RolePassword, RoleSpec};
use super::user::User;
use super::{Empty, SpecBody};

fn read<T: DeserializeOwned>(json: &Value) -> T {
    serde_json::from_value(json.clone()).unwrap()
}

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &Value) -> T {
    let value: T = read(json);
    assert_eq!(&serde_json::to_value(&value).unwrap(), json);
    value
}

fn branch() -> Value {
    json!({"name":"projects/shop/branches/jane-wt1","branch_id":"jane-wt1","parent":"projects/shop",
        "uid":"br-quiet-moon-d2x8y1zz","create_time":"2026-08-01T10:00:00Z","update_time":"2026-08-01T10:00:00Z",
        "status":{"branch_id":"jane-wt1","current_state":"READY","default":false,"is_protected":false,
            "source_branch":"projects/shop/branches/production","source_branch_lsn":"0/1A2B3C8",
            "source_branch_time":"2026-08-01T10:00:00.123Z","expire_time":"2026-08-01T16:00:00Z",
            "logical_size_bytes":33_554_432,"state_change_time":"2026-08-01T10:00:02Z"}})
}

fn endpoint() -> Value {
    let host = "ep-calm-river-e4rrnat1.database.us-east-1.cloud.databricks.com";
    json!({"name":"projects/shop/branches/jane-wt1/endpoints/primary","endpoint_id":"primary",
        "parent":"projects/shop/branches/jane-wt1","uid":"ep-calm-river-e4rrnat1",
        "create_time":"2026-08-01T10:00:00Z","update_time":"2026-08-01T10:00:00Z",
        "status":{"endpoint_id":"primary","endpoint_type":"ENDPOINT_TYPE_READ_WRITE","current_state":"ACTIVE",
            "disabled":false,"autoscaling_limit_min_cu":0.5,"autoscaling_limit_max_cu":1,
            "suspend_timeout_duration":"86400s","settings":{},
            "group":{"min":1,"max":1,"enable_readable_secondaries":false},
            "hosts":{"host":host,"port":5499,"read_write_pooled_host":"ep-calm-river-e4rrnat1-pooler.example"}}})
}

fn changed(mut json: Value, pointer: &str, value: Value) -> Value {
    *json.pointer_mut(pointer).unwrap() = value;
    json
}

#[test]
fn a_project() {
    let project: Project = survives(&json!({"name":"projects/shop","project_id":"shop","uid":"0b8f",
        "create_time":"2026-08-01T09:00:00Z","update_time":"2026-08-01T09:00:00Z",
        "status":{"project_id":"shop","display_name":"Shop","owner":"jane.doe@example.com","pg_version":17,
            "default_branch":"projects/shop/branches/production","history_retention_duration":"604800s",
            "enable_pg_native_login":false,
            "default_endpoint_settings":{"autoscaling_limit_min_cu":1,"autoscaling_limit_max_cu":1,
                "suspend_timeout_duration":"86400s"},
            "branch_logical_size_limit_bytes":8_796_093_022_208_i64,"synthetic_storage_size_bytes":0}}));
    assert_eq!(project.status.default_branch.unwrap().id(), "production");
}

#[test]
fn a_branch() {
    let branch: Branch = survives(&branch());
    assert_eq!(branch.status.current_state, Some(BranchState::Ready));
    assert!(!branch.is_deleted());
}

#[test]
fn an_endpoint() {
    let read: Endpoint = survives(&endpoint());
    assert_eq!(read.status.endpoint_type, Some(EndpointType::ReadWrite));
    assert_eq!(read.status.current_state, Some(EndpointState::Active));
    assert_eq!(read.status.hosts.port(), 5499);
    let public: Endpoint = self::read(&changed(endpoint(), "/status/hosts", json!({ "host": "h" })));
    assert_eq!(public.status.hosts.port(), 5432);
}

#[test]
fn a_role() {
    let parent = "projects/shop/branches/jane-wt1";
    let wire = json!({"name":format!("{parent}/roles/app"),"role_id":"app","parent":parent,
        "create_time":"2026-08-01T10:00:00Z","update_time":"2026-08-01T10:00:00Z",
        "status":{"role_id":"app","postgres_role":"app_role","identity_type":"IDENTITY_TYPE_UNSPECIFIED",
            "auth_method":"PG_PASSWORD_SCRAM_SHA_256","membership_roles":["DATABRICKS_SUPERUSER"],
            "attributes":{"bypassrls":false,"createdb":true,"createrole":false}}});
    let role: Role = survives(&wire);
    assert_eq!(role.status.identity_type, Some(IdentityType::Unspecified));
    let spec: RoleSpec = read(&json!({"attributes":{"createdb":false}}));
    assert_eq!(spec.attributes.unwrap().createdb, Some(false));
    let password: RolePassword = read(&json!({"password":"s3cret"}));
    assert!(!format!("{password:?}").contains("s3cret"));
    assert_eq!(
        serde_json::to_value(&password).unwrap(),
        json!({"password":"s3cret"})
    );
}

#[test]
fn a_database_a_user_and_a_credential() {
    let parent = "projects/shop/branches/jane-wt1";
    let database: Database = survives(
        &json!({"name":format!("{parent}/databases/app-db"),"database_id":"app-db","parent":parent,
        "status":{"database_id":"app-db","postgres_database":"app","role":format!("{parent}/roles/jane-doe")}}),
    );
    assert_eq!(database.status.postgres_database.as_deref(), Some("app"));
    let user: User =
        survives(&json!({"id":"7","userName":"jane.doe@example.com","displayName":"Jane","active":true}));
    assert!(user.active);
    let sparse: User = read(&json!({"userName":"3f2c","emails":[{"value":"x"}]}));
    assert!(sparse.active);

    let wire = json!({"token":"eyJ-secret","expire_time":"2026-08-01T11:00:00Z"});
    let credential: DatabaseCredential = read(&wire);
    assert_eq!(credential.token.expose_secret(), "eyJ-secret");
    assert!(!format!("{credential:?}").contains("eyJ-secret"));
    assert_eq!(serde_json::to_value(&credential).unwrap(), wire);
    let request: CredentialRequest =
        survives(&json!({"endpoint":format!("{parent}/endpoints/primary"),"ttl":"900s"}));
    assert_eq!(request.endpoint.id(), "primary");
}

#[test]
fn false_booleans_are_written_and_missing_ones_are_read_as_false() {
    let bare: Branch = read(&json!({"name":"projects/shop/branches/a"}));
    let written = serde_json::to_value(&bare).unwrap();
    assert_eq!(
        written,
        json!({"name":"projects/shop/branches/a","status":{"default":false,"is_protected":false}})
    );
}

#[test]
fn what_is_new_to_us_is_tolerated() {
    let state = changed(branch(), "/status/current_state", json!("HIBERNATING"));
    let read_state: Branch = survives(&state);
    assert_eq!(
        read_state.status.current_state,
        Some(BranchState::Unknown("HIBERNATING".to_owned()))
    );

    let mut extra = branch();
    extra["status"]["colour"] = json!({ "deep": [1] });
    extra["spec"] = json!({ "ttl": "1s" });
    assert_eq!(read::<Branch>(&extra), read::<Branch>(&branch()));

    let text = changed(branch(), "/status/logical_size_bytes", json!("33554432"));
    assert_eq!(read::<Branch>(&text).status.logical_size_bytes, Some(33_554_432));
    let null = changed(branch(), "/status/expire_time", Value::Null);
    assert_eq!(read::<Branch>(&null).status.expire_time, None);
    let zone = changed(branch(), "/create_time", json!("2026-08-01T12:00:00.000+02:00"));
    assert_eq!(
        read::<Branch>(&zone).create_time,
        read::<Branch>(&branch()).create_time
    );
}

#[test]
fn tombstones_are_recognised_by_state_or_time() {
    let state = changed(branch(), "/status/current_state", json!("DELETED"));
    assert!(read::<Branch>(&state).is_deleted());
    let mut time = branch();
    time["status"]["delete_time"] = json!("2026-08-01T12:00:00Z");
    assert!(read::<Branch>(&time).is_deleted());
}

#[test]
fn an_empty_page_may_lack_its_list() {
    assert_eq!(read::<BranchPage>(&json!({})), BranchPage::default());
}

#[test]
fn specs_are_written_without_what_is_not_set() {
    let body = SpecBody {
        spec: BranchSpec {
            no_expiry: Some(true),
            ..BranchSpec::default()
        },
    };
    assert_eq!(
        serde_json::to_string(&body).unwrap(),
        r#"{"spec":{"no_expiry":true}}"#
    );
    let spec = EndpointSpec {
        endpoint_type: Some(EndpointType::ReadOnly),
        autoscaling_limit_min_cu: Some(0.5),
        autoscaling_limit_max_cu: Some(2.0),
        suspend_timeout_duration: Some("300s".parse().unwrap()),
        ..EndpointSpec::default()
    };
    let golden = r#"{"spec":{"autoscaling_limit_max_cu":2,"autoscaling_limit_min_cu":0.5,"endpoint_type":"ENDPOINT_TYPE_READ_ONLY","suspend_timeout_duration":"300s"}}"#;
    assert_eq!(serde_json::to_string(&SpecBody { spec }).unwrap(), golden);
}

#[test]
fn operations() {
    let name = "projects/shop/branches/jane-wt1/operations/7d1c";
    let running: Operation<Branch> = survives(&json!({"name":name,"metadata":{"@type":"x"}}));
    assert!(!running.done && running.result.is_none());
    let early: Operation<Branch> = read(&json!({"name":name,"done":false,"response":branch()}));
    assert_eq!(
        early.result, None,
        "what an unfinished operation shows is not its result"
    );

    let done: Operation<Branch> = survives(&json!({"name":name,"done":true,"response":branch()}));
    assert_eq!(done.result.unwrap().unwrap().name.id(), "jane-wt1");

    let failed: Operation<Branch> = survives(&json!({"name":name,"done":true,
        "error":{"error_code":"BAD_REQUEST","message":"no","details":[{"reason":"x"}]}}));
    assert_eq!(
        failed.result.unwrap().unwrap_err().error_code.as_deref(),
        Some("BAD_REQUEST")
    );

    let numbered: Operation<Branch> =
        read(&json!({"name":name,"done":true,"error":{"error_code":3,"message":"no"}}));
    assert_eq!(
        numbered.result.unwrap().unwrap_err().error_code.as_deref(),
        Some("3")
    );

    let empty: Operation<Empty> = read(
        &json!({"name":name,"done":true,"response":{"@type":"type.googleapis.com/google.protobuf.Empty"}}),
    );
    assert_eq!(empty.result, Some(Ok(Empty {})));
}

#[test]
fn an_operation_with_a_name_that_leaves_the_api_is_refused() {
    let escape = json!({"name":"projects/../../../oauth/token"});
    assert!(serde_json::from_value::<Operation<Empty>>(escape).is_err());
}
