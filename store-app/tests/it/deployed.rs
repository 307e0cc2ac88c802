//! The store as a deployed app: the built program with the environment that the platform sets, in a workspace that is a Local
//! Lakebase behind TLS, where access tokens and passwords live for seconds.

use crate::bundle;
use crate::front::Front;
use crate::process::{Running, program, stderr};
use crate::store::{DEADLINE, Hammer};
use crate::tls::authority;
use local_lakebase::{Config, Limits, LocalLakebase};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BRANCH: &str = "projects/shop/branches/production";
const ENDPOINT: &str = "projects/shop/branches/production/endpoints/primary";
/// How every signed token begins.
const TOKEN: &str = "eyJ";
const PASSWORD_LIFE: Duration = Duration::from_secs(5);
const TOKEN_LIFE: Duration = Duration::from_secs(7);

/// A workspace with a project, and an app's service principal.
struct Deployment {
    dir: TempDir,
    lake: LocalLakebase,
    front: Front,
    http: reqwest::Client,
    client_id: String,
    client_secret: String,
}

/// One instance of the store.
struct Instance {
    running: Running,
    url: String,
    log: PathBuf,
    http: reqwest::Client,
}

impl Deployment {
    async fn new() -> Self {
        let dir = TempDir::with_prefix("store-app-").expect("temporary directory");
        // PostgreSQL does not run as root, and its own user must be able to pass through.
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("permissions");
        let authority = authority();
        fs::write(dir.path().join("ca.pem"), &authority.pem).expect("written");
        let mut front = Front::new(&authority).await;
        let config = Config {
            data_dir: dir.path().join("local"),
            api_addr: ([127, 0, 0, 1], 0).into(),
            public_url: Some(front.url.clone()),
            user_name: "jane.doe@example.com".to_owned(),
            pg_bindir: None,
            limits: Limits {
                access_token_life: TOKEN_LIFE,
                credential_life: PASSWORD_LIFE,
                ..Limits::default()
            },
        };
        let lake = LocalLakebase::start(config).await.expect("a workspace");
        let addr = lake
            .api_url()
            .strip_prefix("http://")
            .expect("not encrypted itself");
        front.open(addr.parse().expect("an address"));
        let profiles = fs::read_to_string(lake.databricks_config_file()).expect("profiles");
        let value = |key: &str| {
            let mut lines = profiles.lines();
            let value = lines.find_map(|line| line.strip_prefix(&format!("{key} = ")));
            value.expect(key).to_owned()
        };
        let deployment = Self {
            client_id: value("client_id"),
            client_secret: value("client_secret"),
            http: reqwest::Client::new(),
            dir,
            lake,
            front,
        };
        deployment
            .post(
                "projects?project_id=shop",
                json!({"spec": {"display_name": "Shop"}}),
            )
            .await;
        deployment
    }

    /// The same, where the service principal has a role with the rights that the platform gives an app with this resource:
    /// it may connect, and make schemas of its own.
    async fn with_role() -> Self {
        let deployment = Self::new().await;
        deployment.make_role().await;
        deployment
    }

    async fn make_role(&self) {
        let spec = json!({"spec": {"postgres_role": self.client_id, "identity_type": "SERVICE_PRINCIPAL"}});
        self.post(&format!("{BRANCH}/roles?role_id=store"), spec).await;
        let grant = format!(
            "GRANT CONNECT, CREATE ON DATABASE databricks_postgres TO \"{}\"",
            self.client_id
        );
        let mut owner = self.owner().await;
        sqlx::raw_sql(AssertSqlSafe(grant))
            .execute(&mut owner)
            .await
            .expect("granted");
    }

    /// Asks the workspace for something as its owner.
    async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/api/2.0/postgres/{path}", self.lake.api_url());
        let token = self.lake.token().expose_secret();
        let request = self.http.post(url).bearer_auth(token).json(&body);
        let answer = request.send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn owner(&self) -> PgConnection {
        let password = self.post("credentials", json!({"endpoint": ENDPOINT})).await;
        let url = format!("{}/api/2.0/postgres/{ENDPOINT}", self.lake.api_url());
        let request = self.http.get(url).bearer_auth(self.lake.token().expose_secret());
        let endpoint: Value = request
            .send()
            .await
            .expect("an answer")
            .json()
            .await
            .expect("JSON");
        let hosts = &endpoint["status"]["hosts"];
        let login = PgConnectOptions::new_without_pgpass()
            .host(hosts["host"].as_str().expect("a host"))
            .port(
                hosts["port"]
                    .as_u64()
                    .map_or(5432, |port| port.try_into().expect("a port")),
            )
            .username("jane.doe@example.com")
            .password(password["token"].as_str().expect("a token"))
            .database("databricks_postgres")
            .ssl_mode(PgSslMode::Require);
        PgConnection::connect_with(&login).await.expect("the owner")
    }

    /// How many sessions the database has had.
    async fn sessions(&self) -> i64 {
        let mut owner = self.owner().await;
        let count = "SELECT sessions FROM pg_stat_database WHERE datname = 'databricks_postgres'";
        sqlx::query_scalar(count)
            .fetch_one(&mut owner)
            .await
            .expect("a number")
    }

    /// The program with the environment that the platform sets. Connections last a second. With `STORE_TEST_APP` it is the one
    /// in that folder, started by the folder's app.yaml.
    fn command(&self) -> Command {
        let mut command = program(&[], self.dir.path());
        if let Some(folder) = std::env::var_os("STORE_TEST_APP") {
            let words = bundle::command();
            let (shell, words) = words.split_first().expect("a program");
            command = Command::new(shell);
            command
                .args(words)
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .current_dir(folder);
        }
        command
            .env("DATABRICKS_APP_NAME", "store")
            .env("DATABRICKS_APP_PORT", "0")
            .env("DATABRICKS_HOST", &self.front.url)
            .env("DATABRICKS_CLIENT_ID", &self.client_id)
            .env("DATABRICKS_CLIENT_SECRET", &self.client_secret)
            .env("PGAPPNAME", "store")
            .env("PGHOST", "ep-nowhere.database.example.com")
            .env("PGPORT", "5432")
            .env("PGDATABASE", "databricks_postgres")
            .env("PGUSER", &self.client_id)
            .env("PGSSLMODE", "require")
            .env("PGSSLROOTCERT", self.lake.ca_file())
            .env("SSL_CERT_FILE", self.dir.path().join("ca.pem"))
            .env("STORE_DB_OAUTH_ENDPOINT", ENDPOINT)
            .env("STORE_DB_SCHEMA", "store")
            .env("STORE_DB_CONNECTION_LIFE", "1s");
        command
    }

    fn start(&self, name: &str) -> Instance {
        self.start_as(name, self.command())
    }

    fn start_as(&self, name: &str, mut command: Command) -> Instance {
        let log = self.dir.path().join(name);
        command.stderr(File::create(&log).expect("a log"));
        let (running, url) = Running::start_with_log(command);
        let port = url
            .strip_prefix("http://0.0.0.0:")
            .expect("reached from other machines");
        Instance {
            url: format!("http://127.0.0.1:{port}"),
            http: self.http.clone(),
            running,
            log,
        }
    }
}

impl Instance {
    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self
            .http
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }

    /// Asks whether it is ready until the answer is as said, and returns it.
    async fn readiness(&self, wanted: impl Fn(u16, &str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE * 2;
        loop {
            let (status, document) = self.get("/api/health/ready").await;
            let said = document.get("message").or(document.get("trouble"));
            let said = said.and_then(Value::as_str).unwrap_or_default().to_owned();
            if wanted(status, &said) {
                return said;
            }
            assert!(Instant::now() < deadline, "{status} {document}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ready(&self) {
        self.readiness(|status, trouble| status == 200 && trouble.is_empty())
            .await;
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    /// Ends it, and checks that it told no secret on the way.
    fn end(self, deployment: &Deployment) {
        let arguments =
            fs::read_to_string(format!("/proc/{}/cmdline", self.running.id())).unwrap_or_default();
        let log = self.log.clone();
        let (code, _) = self.running.terminate();
        let log = fs::read_to_string(log).expect("a log");
        assert_eq!(code, Some(0), "{log}");
        for secret in [
            TOKEN,
            &deployment.client_secret,
            deployment.lake.token().expose_secret(),
        ] {
            assert!(!log.contains(secret), "a secret is in the log");
            assert!(!arguments.contains(secret), "a secret is in the arguments");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_on_over_many_lives_of_tokens_and_passwords() {
    let deployment = Deployment::with_role().await;
    let store = deployment.start("store.log");
    store.ready().await;
    let (signed_in, sessions) = (deployment.front.sign_ins(), deployment.sessions().await);
    let (started, calm) = (
        Instant::now(),
        Hammer::start(&store.http, &format!("{}/api/products", store.url), 2),
    );
    let busy = Hammer::start(&store.http, &format!("{}/api/products/1", store.url), 4);
    let lives = TOKEN_LIFE * 4;
    eventually_within(lives * 2, "four lives have passed", async || {
        started.elapsed() > lives
    })
    .await;
    busy.swing().await;
    let mut answers = busy.answers().await;
    answers.extend(calm.answers().await);
    let seconds = started.elapsed().as_secs();
    let answers = answers.concat();
    for (status, body) in &answers {
        assert_eq!(*status, 200, "{body}\n{}", store.log());
        assert!(!body.contains(TOKEN), "a token is in an answer");
    }
    let (_, branch) = store.get("/api/branch").await;
    let passwords = branch["credential"].as_u64().expect("a number");
    let tokens = deployment.front.sign_ins() - signed_in;
    let connections = deployment.sessions().await - sessions - 1;
    eprintln!(
        "{} requests in {seconds} s: {passwords} passwords, {tokens} more access tokens, {connections} connections",
        answers.len()
    );
    assert!(passwords >= 6, "{passwords} passwords");
    assert!(tokens >= 3, "{tokens} access tokens");
    assert!(connections >= 20, "{connections} connections");
    assert_eq!(branch["name"], "production");
    assert_eq!(branch["endpoint"], ENDPOINT);
    store.end(&deployment);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_away_for_a_life_is_borne_and_found_again() {
    let deployment = Deployment::with_role().await;
    let store = deployment.start("store.log");
    store.ready().await;
    deployment.front.set_up(false);
    let cut = Instant::now();
    // The old password still opens connections, and whoever asks is told that there is no other.
    let warned = store.readiness(|status, said| {
        assert_eq!(status, 200, "{said}");
        !said.is_empty()
    });
    let warned = warned.await;
    assert!(
        warned.contains("cannot renew the credential, which ends at "),
        "{warned}"
    );
    assert!(cut.elapsed() < PASSWORD_LIFE, "not before the end");
    let away = store.readiness(|status, _| status == 503).await;
    assert!(away.contains("cannot renew the credential"), "{away}");
    deployment.front.set_up(true);
    store.ready().await;
    assert_eq!(store.get("/api/products/1").await.0, 200);
    store.end(&deployment);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_away_at_the_start_is_waited_for() {
    let deployment = Deployment::with_role().await;
    deployment.front.set_up(false);
    let store = deployment.start("store.log");
    let said = store
        .readiness(|status, said| status == 503 && said.contains("waiting for the workspace"))
        .await;
    assert!(!said.contains(&deployment.client_secret));
    for path in ["/api/branch", "/api/current-user", "/api/products"] {
        assert_eq!(store.get(path).await.0, 503, "{path}");
    }
    let plain = store
        .http
        .get(format!("{}/plain", store.url))
        .send()
        .await
        .expect("an answer");
    assert_eq!(plain.status(), 503);
    deployment.front.set_up(true);
    store.ready().await;
    store.end(&deployment);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_late_is_waited_for_with_fresh_passwords() {
    let deployment = Deployment::new().await;
    let store = deployment.start("store.log");
    store
        .readiness(|status, said| status == 503 && said.contains("does not exist"))
        .await;
    eventually_within(DEADLINE, "another password is tried", async || {
        store.get("/api/branch").await.1["credential"].as_u64() > Some(1)
    })
    .await;
    deployment.make_role().await;
    store.ready().await;
    assert_eq!(store.get("/api/products/13").await.0, 200);
    store.end(&deployment);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_schema_of_its_own_it_is_told_which_right_is_missing() {
    let deployment = Deployment::with_role().await;
    let mut command = deployment.command();
    command.env_remove("STORE_DB_SCHEMA");
    let store = deployment.start_as("store.log", command);
    store
        .readiness(|status, said| status == 503 && said.contains("permission denied for schema public"))
        .await;
    let grant = format!("GRANT CREATE ON SCHEMA public TO \"{}\"", deployment.client_id);
    let mut owner = deployment.owner().await;
    sqlx::raw_sql(AssertSqlSafe(grant))
        .execute(&mut owner)
        .await
        .expect("granted");
    store.ready().await;
    store.end(&deployment);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_start_at_once_on_an_empty_database_are_all_ready() {
    let deployment = Deployment::with_role().await;
    let stores: Vec<_> = ["one.log", "two.log", "three.log"]
        .map(|name| deployment.start(name))
        .into();
    for store in &stores {
        store.ready().await;
        let (_, products) = store.get("/api/products").await;
        assert_eq!(products.as_array().map(Vec::len), Some(13));
    }
    for store in stores {
        assert!(
            !store.log().contains("cannot prepare the database"),
            "{}",
            store.log()
        );
        store.end(&deployment);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_current_user_is_the_owner_of_the_forwarded_token() {
    let deployment = Deployment::with_role().await;
    let store = deployment.start("store.log");
    store.ready().await;
    let asked_by = async |token: Option<&str>| {
        let mut request = store.http.get(format!("{}/api/current-user", store.url));
        if let Some(token) = token {
            request = request.header("X-Forwarded-Access-Token", token);
        }
        let answer = request.send().await.expect("an answer");
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.expect("JSON"),
        )
    };
    let jane = asked_by(Some(deployment.lake.token().expose_secret())).await;
    assert_eq!(
        (jane.0, &jane.1["user_name"]),
        (200, &json!("jane.doe@example.com"))
    );
    let nobody = asked_by(None).await;
    assert_eq!(
        (nobody.0, &nobody.1["user_name"]),
        (200, &json!(deployment.client_id))
    );
    for wrong in ["hunter2", "not a token", ""] {
        let refused = asked_by(Some(wrong)).await;
        assert_eq!(
            (refused.0, &refused.1["code"]),
            (401, &json!("unauthenticated")),
            "{wrong:?}: {}",
            refused.1
        );
    }
    assert!(!store.log().contains("hunter2"));
    store.end(&deployment);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_cannot_be_right_is_refused_at_once() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let secret = "dose-a-very-secret-secret";
    let complete = [
        ("DATABRICKS_APP_PORT", "0"),
        ("DATABRICKS_HOST", "https://workspace.example.com"),
        ("DATABRICKS_CLIENT_ID", "an-id"),
        ("DATABRICKS_CLIENT_SECRET", secret),
        ("STORE_DB_OAUTH_ENDPOINT", ENDPOINT),
    ];
    for (name, value, part) in [
        (
            "STORE_DB_OAUTH_ENDPOINT",
            "production",
            "projects/shop/branches/production/endpoints/primary",
        ),
        ("DATABRICKS_CLIENT_SECRET", "", "DATABRICKS_CLIENT_SECRET"),
        ("DATABRICKS_CLIENT_ID", "", "DATABRICKS_CLIENT_ID"),
        ("DATABRICKS_HOST", "", "DATABRICKS_HOST"),
        (
            "DATABRICKS_HOST",
            "http://workspace.example.com",
            "DATABRICKS_HOST",
        ),
        ("PGSSLMODE", "verifyfull", "PGSSLMODE"),
        ("STORE_DB_SCHEMA", "a b", "STORE_DB_SCHEMA"),
    ] {
        let mut command = program(&[], dir.path());
        command.envs(complete).env(name, value);
        let output = command.output().expect("runs");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{name}={value}: {said}");
        assert!(
            said.contains("hint: ") && said.contains(part),
            "{name}={value}: {said}"
        );
        assert!(!said.contains(secret), "{name}={value}");
    }
}

async fn eventually_within<F: Future<Output = bool>>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) {
    let deadline = Instant::now() + patience;
    while !look().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
