//! A user who owns the databases of a branch, and does in them what PostgreSQL lets an owner do to trip up the service: each
//! method of the API answers in time, and nothing of the user's runs with our rights.

mod busy;
mod databases;
mod objects;
mod settings;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Answer;
use crate::lake::{Lake, Said, USER, psql};

const PRODUCTION: &str = "projects/shop/branches/production";
const ROLES: &str = "projects/shop/branches/production/roles";
const DATABASES: &str = "projects/shop/branches/production/databases";
const HEIR: &str = "projects%2Fshop%2Fbranches%2Fproduction%2Froles%2Fjane-doe-example-com";
const OWNER: &str = "projects/shop/branches/production/roles/jane-doe-example-com";

/// How long any method may take, whatever a user does.
const PATIENCE: Duration = Duration::from_secs(5);

impl Lake {
    /// Sends a request that must be answered in time, and by no internal error.
    async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let answer = tokio::time::timeout(PATIENCE, self.send(method, path, body)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{method} {path}: no answer within {PATIENCE:?}"));
        assert!(answer.status < 500, "{method} {path}: {answer:?}");
        answer
    }

    /// The same, with the status that it must have.
    async fn expect(&self, status: u16, method: &str, path: &str, body: Value) -> Answer {
        let answer = self.call(method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        answer
    }

    /// Makes a project with a second database.
    async fn shop(&self) {
        self.project().await;
        let spec = json!({"spec": {"postgres_database": "shop", "role": OWNER}});
        self.ok("POST", &format!("{DATABASES}?database_id=shop"), spec)
            .await;
    }

    /// Makes a role that owns a table in each of the databases.
    async fn role_with_tables(&self, role: &str, databases: &[&str]) {
        let spec = json!({"spec": {"postgres_role": role, "membership_roles": ["DATABRICKS_SUPERUSER"]}});
        self.ok("POST", &format!("{ROLES}?role_id={role}"), spec).await;
        let socket = self.socket_dir().await;
        for database in databases {
            let sql = format!(
                "CREATE TABLE public.bait_of_{role} (n int); ALTER TABLE public.bait_of_{role} OWNER TO {role}"
            );
            let said = self.unprotected(&socket, database, &sql).await;
            assert!(said.ok, "{database}: {said:?}");
        }
    }

    /// Runs SQL as the owner of the project, through the listener.
    async fn as_owner(&self, database: &str, sql: &str) -> String {
        let password = self.password("production").await;
        let said = self.login_to("production", database, USER, &password, sql).await;
        assert!(said.ok, "{database}: {sql}: {}", said.err);
        said.out.trim().to_owned()
    }

    /// The directory of the socket of a branch whose compute runs.
    async fn socket_dir(&self) -> PathBuf {
        self.as_owner("postgres", "SELECT 1").await;
        let branch = self.ok("GET", PRODUCTION, Value::Null).await;
        let pgdata = self.local.data_dir().join("projects/shop");
        let pgdata = pgdata.join(branch["uid"].as_str().unwrap()).join("pgdata");
        let lock = std::fs::read_to_string(pgdata.join("postmaster.pid")).unwrap();
        lock.lines().nth(4).unwrap().into()
    }

    /// Runs SQL as the superuser, in a session without the protection of ours.
    async fn unprotected(&self, socket_dir: &std::path::Path, database: &str, sql: &str) -> Said {
        let password = std::fs::read_to_string(self.local.data_dir().join("postgres.password")).unwrap();
        let database = database.replace('\\', "\\\\").replace('\'', "\\'");
        let connection = format!(
            "host={} user=cloud_admin dbname='{database}'",
            socket_dir.display()
        );
        psql(&connection, &password, sql).await
    }

    /// Calls each method of the API that has something to do with PostgreSQL. `gone` is a role that owns something, and is
    /// deleted.
    async fn call_all(&self, gone: &str) {
        self.call_roles(gone).await;
        self.call_databases().await;
        self.call_branches().await;
        let endpoint = format!("{PRODUCTION}/endpoints/primary");
        self.expect(200, "POST", "credentials", json!({ "endpoint": endpoint }))
            .await;
        let mask = format!("{endpoint}?update_mask=spec.suspend_timeout_duration");
        let spec = json!({"spec": {"suspend_timeout_duration": "600s"}});
        self.expect(200, "PATCH", &mask, spec).await;
        let password = self.password("production").await;
        let said = self
            .login_to("production", "postgres", USER, &password, "SELECT 1")
            .await;
        assert!(said.ok, "the user's own login: {said:?}");
    }

    async fn call_roles(&self, gone: &str) {
        let spec = json!({"spec": {"postgres_role": "made", "attributes": {"createrole": true}}});
        let role = format!("{ROLES}/made");
        let made = self
            .expect(200, "POST", &format!("{ROLES}?role_id=made"), spec.clone())
            .await;
        let operation = made.body["name"].as_str().unwrap().to_owned();
        let again = format!("{ROLES}?role_id=made&replace_existing=true");
        self.expect(200, "POST", &again, spec).await;
        let member = json!({"spec": {"membership_roles": ["DATABRICKS_SUPERUSER"]}});
        let path = format!("{role}?update_mask=spec.membership_roles");
        self.expect(200, "PATCH", &path, member).await;
        self.expect(200, "PATCH", &path, json!({"spec": {}})).await;
        let attributes = json!({"spec": {"attributes": {"createdb": true, "createrole": false}}});
        let path = format!("{role}?update_mask=spec.attributes");
        self.expect(200, "PATCH", &path, attributes).await;
        for path in [ROLES, &role, &operation] {
            self.expect(200, "GET", path, Value::Null).await;
        }
        self.expect(200, "POST", &format!("{role}/password"), json!({}))
            .await;
        self.expect(200, "DELETE", &role, Value::Null).await;
        let gone = format!("{ROLES}/{gone}");
        let owns = self.expect(400, "DELETE", &gone, Value::Null).await;
        assert!(owns.message().contains("some objects depend on it"), "{owns:?}");
        let path = format!("{gone}?reassign_owned_to={HEIR}");
        self.expect(200, "DELETE", &path, Value::Null).await;
    }

    async fn call_databases(&self) {
        let database = format!("{DATABASES}/made");
        let spec = json!({"spec": {"postgres_database": "made", "role": OWNER}});
        self.expect(200, "POST", &format!("{DATABASES}?database_id=made"), spec)
            .await;
        let path = format!("{database}?update_mask=spec.postgres_database");
        let renamed = json!({"spec": {"postgres_database": "renamed"}});
        self.expect(200, "PATCH", &path, renamed).await;
        let path = format!("{database}?update_mask=spec.role");
        let owner = json!({"spec": {"role": format!("{ROLES}/databricks-superuser")}});
        self.expect(200, "PATCH", &path, owner).await;
        for path in [DATABASES, &database] {
            self.expect(200, "GET", path, Value::Null).await;
        }
        self.expect(200, "DELETE", &database, Value::Null).await;
    }

    async fn call_branches(&self) {
        let branches = "projects/shop/branches";
        let spec = json!({"spec": {"ttl": "21600s"}});
        self.expect(200, "POST", &format!("{branches}?branch_id=forked"), spec)
            .await;
        let forked = format!("{branches}/forked");
        let role = json!({"spec": {"postgres_role": "in_fork"}});
        self.expect(200, "POST", &format!("{forked}/roles"), role).await;
        for path in [branches, &forked, "projects/shop"] {
            self.expect(200, "GET", path, Value::Null).await;
        }
        let path = format!("{forked}?purge=true");
        self.expect(200, "DELETE", &path, Value::Null).await;
    }
}
