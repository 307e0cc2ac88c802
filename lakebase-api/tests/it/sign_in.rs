//! Signing in, against servers and programs that behave as the real ones do, and as they do on bad days.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lakebase_api::auth::profile;
use lakebase_api::{AuthEnv, Client, Error, SignInError};
use serde_json::{Value, json};
use wiremock::matchers::{body_string, header, method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::server::{ok, quick};

const TOKEN_PATH: &str = "/oidc/v1/token";
const FORM: &str = "grant_type=client_credentials&scope=all-apis";
/// `app:sec`.
const BASIC: &str = "Basic YXBwOnNlYw==";

/// Gives out numbered tokens of one life.
struct Mint {
    life: Value,
    count: AtomicUsize,
}

impl Respond for Mint {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let n = self.count.fetch_add(1, Ordering::SeqCst);
        ok(&json!({ "access_token": format!("token-{n}"), "token_type": "Bearer", "expires_in": self.life }))
    }
}

/// A workspace that tells where it gives tokens, and who shows one.
async fn workspace(life: Value) -> MockServer {
    let server = MockServer::start().await;
    let config = json!({ "oidc_endpoint": format!("{}/oidc", server.uri()), "workspace_id": "4711" });
    let discovery = json!({ "token_endpoint": format!("{}{TOKEN_PATH}", server.uri()) });
    on(&server, "GET", "/.well-known/databricks-config", ok(&config)).await;
    on(
        &server,
        "GET",
        "/oidc/.well-known/oauth-authorization-server",
        ok(&discovery),
    )
    .await;
    let count = AtomicUsize::new(0);
    Mock::given(method("POST"))
        .and(path(TOKEN_PATH))
        .respond_with(Mint { life, count })
        .mount(&server)
        .await;
    on(
        &server,
        "GET",
        "/api/2.0/preview/scim/v2/Me",
        ok(&json!({ "userName": "app" })),
    )
    .await;
    server
}

async fn on(server: &MockServer, verb: &str, at: &str, answer: ResponseTemplate) {
    Mock::given(method(verb))
        .and(path(at))
        .respond_with(answer)
        .mount(server)
        .await;
}

fn client(variables: &[(&str, &str)]) -> Client {
    let env = AuthEnv::of(variables.iter().copied());
    Client::with_limits(profile::load(None, &env).unwrap(), quick()).unwrap()
}

fn machine(server: &MockServer) -> Client {
    let host = server.uri();
    client(&[
        ("DATABRICKS_HOST", &host),
        ("DATABRICKS_CLIENT_ID", "app"),
        ("DATABRICKS_CLIENT_SECRET", "sec"),
    ])
}

/// The requests to a path.
async fn asked(server: &MockServer, at: &str) -> Vec<Request> {
    let all = server.received_requests().await.unwrap();
    all.into_iter()
        .filter(|request| request.url.path() == at)
        .collect()
}

fn shown(request: &Request, name: &str) -> String {
    let value = request.headers.get(name).map(|value| value.to_str().unwrap());
    value.unwrap_or_default().to_owned()
}

fn cause(error: Error) -> Arc<SignInError> {
    match error {
        Error::SignIn { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_service_principal_shows_its_secret_once_and_then_its_token() {
    for life in [json!(3600), json!("3600")] {
        let server = workspace(life).await;
        let client = machine(&server);
        for _ in 0..3 {
            assert_eq!(client.me().await.unwrap().user_name, "app");
        }
        let grants = asked(&server, TOKEN_PATH).await;
        assert_eq!(grants.len(), 1, "the token is kept");
        assert_eq!(String::from_utf8_lossy(&grants[0].body), FORM);
        assert_eq!(shown(&grants[0], "authorization"), BASIC);
        assert_eq!(
            shown(&grants[0], "content-type"),
            "application/x-www-form-urlencoded"
        );
        let call = &asked(&server, "/api/2.0/preview/scim/v2/Me").await[2];
        assert_eq!(shown(call, "authorization"), "Bearer token-0");
        assert_eq!(shown(call, "x-databricks-workspace-id"), "4711");
        assert!(shown(call, "user-agent").ends_with(" auth/oauth-m2m"), "{call:?}");
    }
}

#[tokio::test]
async fn many_at_once_share_one_token() {
    let server = workspace(json!(3600)).await;
    let client = machine(&server);
    let calls = (0..50).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.me().await.unwrap() })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(asked(&server, TOKEN_PATH).await.len(), 1);
}

#[tokio::test]
async fn a_token_is_fetched_anew_at_half_of_a_short_life() {
    let server = workspace(json!(2)).await;
    let client = machine(&server);
    client.me().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.me().await.unwrap();
    assert_eq!(asked(&server, TOKEN_PATH).await.len(), 2);
}

#[tokio::test]
async fn while_no_new_token_is_given_the_old_one_is_used_to_its_end() {
    let server = workspace(json!(2)).await;
    let client = machine(&server);
    client.me().await.unwrap();
    Mock::given(path(TOKEN_PATH))
        .respond_with(ResponseTemplate::new(500))
        .with_priority(1)
        .mount(&server)
        .await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.me().await.expect("the old one is good for a second more");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let error = cause(client.me().await.unwrap_err());
    assert!(
        matches!(*error, SignInError::Odd { .. }) && error.is_transient(),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_token_that_is_withdrawn_is_replaced_once() {
    let server = workspace(json!(3600)).await;
    let refusal = json!({ "error_code": "UNAUTHENTICATED", "message": "withdrawn" });
    Mock::given(path("/api/2.0/preview/scim/v2/Me"))
        .and(header("authorization", "Bearer token-0"))
        .respond_with(ResponseTemplate::new(401).set_body_json(&refusal))
        .with_priority(1)
        .mount(&server)
        .await;
    let client = machine(&server);
    client.me().await.expect("with the second token");
    assert_eq!(asked(&server, TOKEN_PATH).await.len(), 2);
    Mock::given(path("/api/2.0/preview/scim/v2/Me"))
        .respond_with(ResponseTemplate::new(401).set_body_json(&refusal))
        .with_priority(1)
        .mount(&server)
        .await;
    let error = client.me().await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
    assert_eq!(asked(&server, TOKEN_PATH).await.len(), 3, "one more, and no more");
}

#[tokio::test]
async fn a_wrong_secret_is_told_and_not_shown() {
    let server = workspace(json!(3600)).await;
    let denied = json!({ "error": "invalid_client", "error_description": "Client authentication failed" });
    Mock::given(path(TOKEN_PATH))
        .respond_with(ResponseTemplate::new(401).set_body_json(denied))
        .with_priority(1)
        .mount(&server)
        .await;
    let error = cause(machine(&server).me().await.unwrap_err());
    let text = format!("{error} {error:?} {}", error.fix());
    assert!(text.contains("Client authentication failed (HTTP 401)"), "{text}");
    assert!(!text.contains("sec\"") && !text.contains("YXBwOnNlYw"), "{text}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn sec_14_a_host_that_names_another_to_sign_in_at_gets_no_secret() {
    let evil = MockServer::start().await;
    let server = MockServer::start().await;
    let config = json!({ "oidc_endpoint": format!("{}/oidc", evil.uri()) });
    on(&server, "GET", "/.well-known/databricks-config", ok(&config)).await;
    let error = cause(machine(&server).me().await.unwrap_err());
    assert!(matches!(*error, SignInError::Elsewhere { .. }), "{error:?}");

    let honest = MockServer::start().await;
    let discovery = json!({ "token_endpoint": format!("{}/token", evil.uri()) });
    on(
        &honest,
        "GET",
        "/oidc/.well-known/oauth-authorization-server",
        ok(&discovery),
    )
    .await;
    let error = cause(machine(&honest).me().await.unwrap_err());
    assert!(matches!(*error, SignInError::Elsewhere { .. }), "{error:?}");
    let target = format!("{}/oidc", evil.uri());
    let redirect = ResponseTemplate::new(302).insert_header("location", target.as_str());
    let moved = MockServer::start().await;
    on(&moved, "GET", "/.well-known/databricks-config", redirect).await;
    assert!(machine(&moved).me().await.is_err());
    assert!(evil.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_sign_in_page_of_the_network_is_no_token() {
    let server = MockServer::start().await;
    let page = ResponseTemplate::new(200).set_body_raw("<html>Welcome to the hotel</html>", "text/html");
    Mock::given(wiremock::matchers::any())
        .respond_with(page)
        .mount(&server)
        .await;
    let error = cause(machine(&server).me().await.unwrap_err());
    assert!(error.to_string().contains("a web page"), "{error}");
}

#[tokio::test]
async fn a_token_of_another_issuer_is_exchanged() {
    let server = workspace(json!(3600)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    fs::write(&file, "from-file\n").unwrap();
    let host = server.uri();
    let by_variable = client(&[("DATABRICKS_HOST", &host), ("DATABRICKS_OIDC_TOKEN", "from-env")]);
    let by_file = client(&[
        ("DATABRICKS_HOST", &host),
        ("DATABRICKS_OIDC_TOKEN_FILEPATH", file.to_str().unwrap()),
        ("DATABRICKS_CLIENT_ID", "app"),
        ("DATABRICKS_AUTH_TYPE", "file-oidc"),
    ]);
    for (client, method, end) in [
        (by_variable, "env-oidc", "subject_token=from-env&scope=all-apis"),
        (
            by_file,
            "file-oidc",
            "subject_token=from-file&scope=all-apis&client_id=app",
        ),
    ] {
        client.me().await.unwrap();
        let grant = asked(&server, TOKEN_PATH).await.pop().unwrap();
        let form = String::from_utf8(grant.body.clone()).unwrap();
        let start = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&\
            subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&";
        assert_eq!(form, format!("{start}{end}"));
        assert_eq!(shown(&grant, "authorization"), "");
        let call = asked(&server, "/api/2.0/preview/scim/v2/Me").await.pop().unwrap();
        assert!(shown(&call, "user-agent").ends_with(&format!(" auth/{method}")));
    }
}

// ---- programs

/// A directory with a program in it that does as a script says, a workspace, and the client that finds both.
struct Machine {
    folder: tempfile::TempDir,
    server: MockServer,
}

impl Machine {
    async fn with(program: &str, script: &str) -> Self {
        let machine = Self {
            folder: tempfile::tempdir().unwrap(),
            server: workspace(json!(3600)).await,
        };
        machine.put(program, script);
        machine
    }

    fn put(&self, program: &str, script: &str) {
        let path = self.folder.path().join(program);
        // Written beside and renamed: a file that is open for writing cannot be run.
        let new = self.folder.path().join("new");
        fs::write(
            &new,
            format!(
                "#!/bin/sh\necho \"$*\" >>{}/calls\n{script}\n",
                self.folder.path().display()
            ),
        )
        .unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    fn client(&self, auth_type: &str) -> Client {
        let host = self.server.uri();
        let path = format!("{}:/usr/bin:/bin", self.folder.path().display());
        client(&[
            ("DATABRICKS_HOST", &host),
            ("DATABRICKS_AUTH_TYPE", auth_type),
            ("PATH", &path),
            ("HOME", self.folder.path().to_str().unwrap()),
            ("SECRET_OF_SOMEBODY", "sec"),
        ])
    }

    async fn error(&self, auth_type: &str) -> Arc<SignInError> {
        cause(self.client(auth_type).me().await.unwrap_err())
    }
}

/// The Databricks CLI, when it is well, or with another answer to `auth token`.
fn databricks(answer: &str) -> String {
    format!("case $1 in --version) echo 'Databricks CLI v0.296.1' ;; auth) {answer} ;; esac")
}

#[tokio::test]
async fn the_databricks_cli_is_asked_with_a_small_environment() {
    let good = r#"[ -z "$SECRET_OF_SOMEBODY" ] && echo '{"access_token":"of-jane","token_type":"Bearer","expiry":"2999-01-01T00:00:00.123456+10:00"}'"#;
    let machine = Machine::with("databricks", &databricks(good)).await;
    let client = machine.client("databricks-cli");
    for _ in 0..3 {
        client.me().await.unwrap();
    }
    let host = machine.server.uri();
    assert_eq!(
        machine.calls(),
        ["--version".to_owned(), format!("auth token --host {host}")]
    );
    let call = asked(&machine.server, "/api/2.0/preview/scim/v2/Me")
        .await
        .pop()
        .unwrap();
    assert_eq!(shown(&call, "authorization"), "Bearer of-jane");
}

#[tokio::test]
async fn pr_13_what_is_wrong_with_the_databricks_cli_is_told_with_a_command() {
    let login = |machine: &Machine| format!("run `databricks auth login --host {}`", machine.server.uri());
    let old = "echo 'Version 0.18.0'";
    let nobody = databricks("echo 'Error: databricks OAuth is not configured for this host' >&2; exit 1");
    let locked = databricks("echo 'Error: cannot open keyring: timeout' >&2; exit 1");
    let garbage = databricks("head -c 1000000 /dev/urandom");
    let machine = Machine::with("databricks", old).await;
    let error = machine.error("databricks-cli").await;
    assert!(
        matches!(&*error, SignInError::TooOld { version, .. } if version == "0.18.0"),
        "{error:?}"
    );
    machine.put("databricks", &nobody);
    let error = machine.error("databricks-cli").await;
    assert!(
        matches!(*error, SignInError::NotLoggedIn { .. }) && error.fix() == login(&machine),
        "{error:?}"
    );
    machine.put("databricks", &locked);
    let error = machine.error("databricks-cli").await;
    assert!(matches!(*error, SignInError::Locked { .. }), "{error:?}");
    machine.put("databricks", &garbage);
    let error = machine.error("databricks-cli").await;
    assert!(matches!(*error, SignInError::Odd { .. }), "{error:?}");
    fs::remove_file(machine.folder.path().join("databricks")).unwrap();
    let error = machine.error("databricks-cli").await;
    assert!(
        matches!(*error, SignInError::NoProgram { .. }) && error.fix().contains("install"),
        "{error:?}"
    );
}

#[tokio::test]
async fn somebody_who_logs_in_later_needs_no_restart() {
    let machine = Machine::with("databricks", &databricks("exit 1")).await;
    let client = machine.client("databricks-cli");
    cause(client.me().await.unwrap_err());
    machine.put(
        "databricks",
        &databricks(r#"echo '{"access_token":"of-jane","expiry":"2999-01-01T00:00:00Z"}'"#),
    );
    client.me().await.expect("the next request asks again");
}

#[tokio::test]
async fn a_databricks_cli_that_hangs_is_given_up_once_for_all_who_wait() {
    let machine = Machine::with("databricks", &databricks("exec sleep 60")).await;
    let client = machine.client("databricks-cli");
    let calls = (0..20).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { client.me().await })
    });
    for call in calls.collect::<Vec<_>>() {
        let error = call.await.unwrap().unwrap_err();
        assert!(!error.is_unclear(), "nothing was sent");
        let error = cause(error);
        assert!(
            matches!(*error, SignInError::Hangs { .. }) && error.is_transient(),
            "{error:?}"
        );
    }
    // A version and a token, and not for each of them, also where they do not all come at once.
    let calls = machine.calls();
    assert!(calls.len() < 20, "{calls:?}");
    assert!(
        asked(&machine.server, "/api/2.0/preview/scim/v2/Me")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn processes_ask_the_databricks_cli_one_after_the_other() {
    let slow = "mkdir \"$HOME/busy\" || { echo at once >&2; exit 1; }; sleep 0.2; rmdir \"$HOME/busy\"; \
        echo '{\"access_token\":\"of-jane\",\"expiry\":\"2999-01-01T00:00:00Z\"}'";
    let machine = Machine::with("databricks", &databricks(slow)).await;
    let clients: Vec<_> = (0..4).map(|_| machine.client("databricks-cli")).collect();
    let calls = clients
        .into_iter()
        .map(|client| tokio::spawn(async move { client.me().await }));
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().expect("nobody was in the way");
    }
}

#[tokio::test]
async fn the_azure_cli_is_asked_for_a_token_for_databricks() {
    let good = r#"echo '{"accessToken":"of-azure","expiresOn":"2026-01-01 00:00:00.000000","expires_on":32503680000,"tokenType":"Bearer"}'"#;
    let machine = Machine::with("az", good).await;
    let client = machine.client("azure-cli");
    client.me().await.unwrap();
    let expected = "account get-access-token --resource 2ff814a6-3304-4ab8-85cb-cd0e6f879c1d --output json";
    assert_eq!(machine.calls(), [expected]);
    machine.put(
        "az",
        "echo 'ERROR: Please run az login to setup account.' >&2; exit 1",
    );
    let error = machine.error("azure-cli").await;
    assert_eq!(error.fix(), "run `az login`");
}

#[tokio::test]
async fn a_service_principal_of_azure_asks_in_the_workspaces_directory() {
    let server = workspace(json!(3600)).await;
    let login = MockServer::start().await;
    let target = format!("{}/tenant-1/oauth2/authorize?x=y", login.uri());
    let redirect = ResponseTemplate::new(302).insert_header("location", target.as_str());
    on(&server, "GET", "/aad/auth", redirect).await;
    let form = "grant_type=client_credentials&resource=2ff814a6-3304-4ab8-85cb-cd0e6f879c1d&client_id=app&client_secret=sec";
    Mock::given(path("/tenant-1/oauth2/token"))
        .and(body_string(form))
        .respond_with(ok(&json!({ "access_token": "of-azure", "expires_in": "3599" })))
        .mount(&login)
        .await;
    let host = server.uri();
    let env = AuthEnv::of([
        ("DATABRICKS_HOST", host.as_str()),
        ("ARM_CLIENT_ID", "app"),
        ("ARM_CLIENT_SECRET", "sec"),
    ]);
    let mut workspace = profile::load(None, &env).unwrap();
    let [lakebase_api::SignIn::AzureSecret { login: address, .. }] = workspace.sign_in.as_mut_slice() else {
        panic!("{workspace:?}")
    };
    assert_eq!(address.as_str(), "https://login.microsoftonline.com/");
    *address = login.uri().parse().unwrap();
    Client::with_limits(workspace, quick())
        .unwrap()
        .me()
        .await
        .unwrap();
    let call = asked(&server, "/api/2.0/preview/scim/v2/Me").await.pop().unwrap();
    assert_eq!(shown(&call, "authorization"), "Bearer of-azure");
}
