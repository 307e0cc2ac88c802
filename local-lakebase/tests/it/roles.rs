//! Roles: over HTTP, and as whoever logs in with them.

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::api::{BAD, INVALID, Refusal};
use crate::http::{Answer, send};
use crate::lake::{Lake, Said, USER, psql};

const PRODUCTION: &str = "projects/shop/branches/production";
const ROLES: &str = "projects/shop/branches/production/roles";

impl Lake {
    pub(crate) async fn role(&self, id: &str, spec: Value) -> Value {
        let path = format!("{ROLES}?role_id={id}");
        self.ok("POST", &path, json!({"spec": spec})).await["response"].clone()
    }

    pub(crate) async fn role_password(&self, branch: &str, id: &str) -> String {
        let path = format!("projects/shop/branches/{branch}/roles/{id}/password");
        let answer = self.ok("POST", &path, json!({})).await;
        answer["password"].as_str().unwrap().to_owned()
    }

    /// Sends requests below a parent that must be refused just so.
    pub(crate) async fn refuses(&self, parent: &str, refusals: &[Refusal<'_>]) {
        for (request, body, status, code, message) in refusals {
            let (method, rest) = request.split_once(' ').unwrap();
            let answer = self.send_text(method, &format!("{parent}/{rest}"), body).await;
            let seen = (&answer.status, &answer.code(), &answer.message());
            assert_eq!(seen, (status, code, message), "{request}");
        }
    }

    pub(crate) async fn login(&self, branch: &str, user: &str, password: &str, sql: &str) -> Said {
        self.login_to(branch, "databricks_postgres", user, password, sql)
            .await
    }

    pub(crate) async fn login_to(
        &self,
        branch: &str,
        database: &str,
        user: &str,
        password: &str,
        sql: &str,
    ) -> Said {
        let (host, port) = self.address(branch).await;
        let connection = format!("host={host} port={port} user={user} dbname={database} sslmode=require");
        psql(&connection, password, sql).await
    }

    /// Returns the id of the client of `local-m2m` and a token for it.
    async fn client(&self) -> (String, String) {
        let profiles = std::fs::read_to_string(self.local.databricks_config_file()).unwrap();
        let value = |key: &str| {
            let line = profiles.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap().trim_start_matches([' ', '=']).to_owned()
        };
        let (id, secret) = (value("client_id"), value("client_secret"));
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let answer = send(self.local.api_url(), "POST", "/oidc/v1/token", None, &form).await;
        let token = answer.body["access_token"].as_str().unwrap().to_owned();
        (id, token)
    }

    async fn as_client(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        send(self.local.api_url(), method, path, Some(token), body).await
    }

    async fn client_password(&self, token: &str, branch: &str) -> String {
        let endpoint = format!("projects/shop/branches/{branch}/endpoints/primary");
        let body = json!({ "endpoint": endpoint }).to_string();
        let path = "/api/2.0/postgres/credentials";
        let answer = self.as_client(token, "POST", path, &body).await;
        answer.body["token"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_project_is_born_with_two_roles_and_new_ones_are_shown_as_the_service_shows_them() {
    let lake = Lake::start().await;
    lake.project().await;
    let born = lake.ok("GET", ROLES, Value::Null).await;
    let shown: Vec<_> = (born["roles"].as_array().unwrap().iter())
        .map(|role| role["status"]["postgres_role"].as_str().unwrap())
        .collect();
    assert_eq!(shown, ["databricks_superuser", USER]);
    let creator = &born["roles"][1]["status"];
    assert_eq!(creator["identity_type"], "USER");
    assert_eq!(creator["auth_method"], "LAKEBASE_OAUTH_V1");
    assert_eq!(creator["membership_roles"], json!(["DATABRICKS_SUPERUSER"]));

    let spec = json!({"identity_type": "USER", "membership_roles": ["DATABRICKS_SUPERUSER"],
        "postgres_role": "ann@example.com"});
    let path = format!("{ROLES}?role_id=ann");
    let operation = lake.ok("POST", &path, json!({ "spec": spec })).await;
    let again = lake
        .ok("GET", operation["name"].as_str().unwrap(), Value::Null)
        .await;
    assert_eq!(again, operation);
    assert_eq!(operation["done"], true);
    let response = &operation["response"];
    assert_eq!(
        response["@type"],
        "type.googleapis.com/databricks.postgres.v1.Role"
    );

    let mut plain = lake.role("app", json!({"postgres_role": "app_role"})).await;
    assert!(plain["create_time"].is_string() && plain["update_time"].is_string());
    for extra in ["@type", "create_time", "update_time"] {
        plain.as_object_mut().unwrap().remove(extra);
    }
    let golden = json!({
        "name": format!("{ROLES}/app"), "parent": PRODUCTION, "role_id": "app",
        "status": {
            "attributes": {"bypassrls": false, "createdb": false, "createrole": false},
            "auth_method": "PG_PASSWORD_SCRAM_SHA_256", "identity_type": "IDENTITY_TYPE_UNSPECIFIED",
            "postgres_role": "app_role", "role_id": "app",
        },
    });
    assert_eq!(plain, golden);
    let first = lake.ok("GET", &format!("{ROLES}?page_size=1"), Value::Null).await;
    assert_eq!(first["roles"][0]["role_id"], "ann");
    let next = format!(
        "{ROLES}?page_size=9&page_token={}",
        first["next_page_token"].as_str().unwrap()
    );
    let rest = lake.ok("GET", &next, Value::Null).await;
    assert_eq!(rest["roles"].as_array().unwrap().len(), 3, "{rest}");
    lake.stop().await;
}

#[rustfmt::skip]
const REFUSALS: &[Refusal<'_>] = &[
    ("POST roles?role_id=app", OTHER, 400, BAD, EXISTS),
    ("POST roles", APP, 400, BAD, EXISTS),
    ("POST roles?role_id=7f9c2ba4-e88f-427d-ae67-d7c8a9f1b2c3", OTHER, 400, INVALID,
        "Field 'role_id' must match the regular expression '^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$'"),
    ("POST roles", "{}", 400, INVALID,
        r#"Field 'role.spec.postgres_role' is required, expected non-default value (not "")!"#),
    ("GET roles/nope", "", 404, "NOT_FOUND", "role id not found"),
    ("PATCH roles/app?update_mask=spec.postgres_role", APP, 400, INVALID,
        "Unknown field path in update_mask: 'spec.postgres_role'"),
    ("PATCH roles/app?update_mask=spec.authMethod", APP, 400, INVALID,
        "Unknown field path in update_mask: 'spec.authMethod'"),
    ("POST roles/databricks-superuser/password", "{}", 400, BAD,
        "only a role with auth_method PG_PASSWORD_SCRAM_SHA_256 has a password"),
    ("DELETE roles/databricks-superuser", "", 400, BAD,
        "role \"databricks_superuser\" is managed by the service and cannot be changed"),
];

const APP: &str = r#"{"spec":{"postgres_role":"app_role"}}"#;
const OTHER: &str = r#"{"spec":{"postgres_role":"other"}}"#;
const EXISTS: &str = "role with that name already exists";

#[tokio::test]
async fn what_the_service_refuses_is_refused_in_its_words() {
    let lake = Lake::start().await;
    lake.project().await;
    lake.role("app", json!({"postgres_role": "app_role"})).await;
    lake.refuses(PRODUCTION, REFUSALS).await;
    for (parent, message) in [
        ("projects/shop/branches/nope", "branch id not found"),
        ("projects/nope/branches/x", "project id not found"),
    ] {
        lake.refuses(parent, &[("POST roles", APP, 404, "NOT_FOUND", message)])
            .await;
    }
    lake.stop().await;
}

#[tokio::test]
async fn a_patch_changes_its_leaf_in_postgres_too() {
    let lake = Lake::start().await;
    lake.project().await;
    let spec = json!({"postgres_role": "app", "membership_roles": ["DATABRICKS_SUPERUSER"],
        "attributes": {"createrole": true}});
    lake.role("app", spec).await;
    let seen = "SELECT rolcanlogin, rolcreatedb, rolcreaterole, rolbypassrls, \
                pg_has_role('app', 'databricks_superuser', 'member') FROM pg_roles WHERE rolname = 'app'";
    assert_eq!(lake.sql("production", seen).await, "t|f|t|f|t");
    let patch = |mask: &str| format!("{ROLES}/app?update_mask={mask}");
    let body = json!({"spec": {"attributes": {"createdb": true, "createrole": false}}});
    let changed = lake.ok("PATCH", &patch("spec.attributes.createdb"), body).await;
    assert_eq!(changed["response"]["status"]["attributes"]["createrole"], true);
    assert_eq!(lake.sql("production", seen).await, "t|t|t|f|t");
    let cleared = lake
        .ok("PATCH", &patch("spec.membershipRoles"), json!({"spec": {}}))
        .await;
    assert_eq!(cleared["response"]["status"]["membership_roles"], Value::Null);
    assert_eq!(lake.sql("production", seen).await, "t|t|t|f|f");
    let replace = format!("{ROLES}?role_id=app&replace_existing=true");
    let spec = json!({"postgres_role": "app", "membership_roles": ["DATABRICKS_SUPERUSER"]});
    lake.ok("POST", &replace, json!({ "spec": spec })).await;
    assert_eq!(lake.sql("production", seen).await, "t|t|t|f|t");
    lake.stop().await;
}

#[tokio::test]
async fn the_client_is_somebody_else_who_needs_a_role_and_rights() {
    let lake = Lake::start().await;
    lake.project().await;
    let (id, token) = lake.client().await;
    let me = lake
        .as_client(&token, "GET", "/api/2.0/preview/scim/v2/Me", "")
        .await;
    assert_eq!(me.body["userName"], *id, "{me:?}");
    let password = lake.client_password(&token, "production").await;
    let said = lake.login("production", &id, &password, "SELECT 1").await;
    let refused = format!("FATAL:  role \"{id}\" does not exist");
    assert!(!said.ok && said.err.contains(&refused), "{said:?}");

    let spec = json!({"postgres_role": id, "identity_type": "SERVICE_PRINCIPAL"});
    let made = lake.ok("POST", ROLES, json!({ "spec": spec })).await;
    let role = made["response"]["name"].as_str().unwrap().to_owned();
    assert_eq!(made["response"]["status"]["auth_method"], "LAKEBASE_OAUTH_V1");
    let password = lake.client_password(&token, "production").await;
    let create = "CREATE TABLE of_client ()";
    let said = lake.login("production", &id, &password, create).await;
    let denied = "ERROR:  permission denied for schema public";
    assert!(!said.ok && said.err.contains(denied), "{said:?}");

    let membership = format!("{role}?update_mask=spec.membership_roles");
    let body = json!({"spec": {"membership_roles": ["DATABRICKS_SUPERUSER"]}});
    lake.ok("PATCH", &membership, body).await;
    let said = lake.login("production", &id, &password, create).await;
    assert!(said.ok, "{said:?}");

    let refused = lake.send("DELETE", &role, Value::Null).await;
    assert_eq!((refused.status, refused.code()), (400, "BAD_REQUEST"));
    assert!(
        refused
            .message()
            .contains("cannot be dropped because some objects depend on it")
    );
    let heir = format!("{ROLES}/jane-doe-example-com").replace('/', "%2F");
    let path = format!("{role}?reassign_owned_to={heir}");
    let deleted = lake.ok("DELETE", &path, Value::Null).await;
    assert_eq!(
        deleted["response"],
        json!({"@type": "type.googleapis.com/google.protobuf.Empty"})
    );
    let again = lake
        .ok("GET", deleted["name"].as_str().unwrap(), Value::Null)
        .await;
    assert_eq!(again, deleted);
    assert_eq!(lake.get(&role).await.status, 404);
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'of_client'";
    assert_eq!(lake.sql("production", owner).await, USER);
    let said = lake.login("production", &id, &password, "SELECT 1").await;
    assert!(!said.ok && said.err.contains("does not exist"), "{said:?}");
    lake.stop().await;
}

#[tokio::test]
async fn a_project_of_the_client_is_the_clients() {
    let lake = Lake::start().await;
    let (id, token) = lake.client().await;
    let path = "/api/2.0/postgres/projects?project_id=shop";
    let made = lake.as_client(&token, "POST", path, "{}").await;
    assert_eq!(made.body["response"]["status"]["owner"], *id, "{made:?}");
    let roles = lake.ok("GET", ROLES, Value::Null).await;
    let mut shown = roles["roles"].as_array().unwrap().iter();
    let creator = shown.find(|role| role["status"]["postgres_role"] == *id).unwrap();
    assert_eq!(creator["status"]["identity_type"], "SERVICE_PRINCIPAL");
    let password = lake.client_password(&token, "production").await;
    let said = lake
        .login("production", &id, &password, "CREATE TABLE t ()")
        .await;
    assert!(said.ok, "{said:?}");
    let said = lake
        .psql("production", &lake.password("production").await, "", "SELECT 1")
        .await;
    assert!(
        said.err.contains(&format!("role \"{USER}\" does not exist")),
        "{said:?}"
    );
    lake.stop().await;
}

#[tokio::test]
async fn a_native_password_opens_the_branch_and_its_children_if_the_project_allows_it() {
    let lake = Lake::start().await;
    let spec = json!({"spec": {"enable_pg_native_login": true}});
    let made = lake.ok("POST", "projects?project_id=shop", spec).await;
    assert_eq!(made["response"]["status"]["enable_pg_native_login"], true);
    let spec = json!({"postgres_role": "app", "membership_roles": ["DATABRICKS_SUPERUSER"]});
    lake.role("app", spec).await;
    let password = lake.role_password("production", "app").await;
    let said = lake
        .login("production", "app", &password, "CREATE TABLE t AS SELECT 7 AS n")
        .await;
    assert!(said.ok, "{said:?}");
    lake.branch("dev").await;
    assert_eq!(lake.role_password("dev", "app").await, password, "inherited");
    let lake = lake.restart().await;
    let said = lake.login("dev", "app", &password, "SELECT n FROM t").await;
    assert_eq!((said.ok, said.out.trim()), (true, "7"), "{said:?}");

    let mut wrong = password.clone();
    wrong.push('x');
    for (user, password) in [
        ("app", &*wrong),
        ("databricks_superuser", &*password),
        (USER, &*password),
    ] {
        let said = lake.login("dev", user, password, "SELECT 1").await;
        let refused = format!("FATAL:  password authentication failed for user \"{user}\"");
        assert!(!said.ok && said.err.contains(&refused), "{said:?}");
    }
    let catalog = std::fs::read(lake.local.data_dir().join("catalog.db")).unwrap();
    let in_catalog = catalog
        .windows(password.len())
        .any(|bytes| bytes == password.as_bytes());
    assert!(!in_catalog, "no secret is remembered");

    let protect = format!("{PRODUCTION}?update_mask=spec.is_protected");
    lake.ok("PATCH", &protect, json!({"spec": {"is_protected": true}}))
        .await;
    lake.branch("guarded").await;
    let new = lake.role_password("guarded", "app").await;
    assert_ne!(new, password, "a child of a protected branch has new passwords");
    assert!(lake.login("guarded", "app", &new, "SELECT n FROM t").await.ok);
    assert!(!lake.login("guarded", "app", &password, "SELECT 1").await.ok);

    let role = "projects/shop/branches/dev/roles/app";
    let owns = lake.send("DELETE", role, Value::Null).await;
    assert_eq!(owns.status, 400, "it owns a table: {owns:?}");
    assert!(lake.login("dev", "app", &password, "DROP TABLE t").await.ok);
    lake.ok("DELETE", role, Value::Null).await;
    let said = lake.login("dev", "app", &password, "SELECT 1").await;
    assert!(
        !said.ok && said.err.contains("password authentication failed"),
        "{said:?}"
    );
    assert!(
        lake.login("production", "app", &password, "SELECT n FROM t")
            .await
            .ok
    );
    lake.stop().await;
}

#[tokio::test]
async fn without_native_login_a_password_is_refused_in_the_services_words() {
    let lake = Lake::start().await;
    lake.project().await;
    lake.role("app", json!({"postgres_role": "app"})).await;
    let password = lake.role_password("production", "app").await;
    let said = lake.login("production", "app", &password, "SELECT 1").await;
    let refused = "FATAL:  native postgres login is disabled for this endpoint";
    assert!(!said.ok && said.err.contains(refused), "{said:?}");
    let token = lake.local.token().expose_secret();
    let said = lake.login("production", USER, token, "SELECT 1").await;
    assert!(said.err.contains("password authentication failed"), "{said:?}");
    lake.stop().await;
}
