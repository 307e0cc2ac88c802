//! One test's world with Local Lakebase in the test's own process, and the proxy between it and the daemon. The daemon takes
//! the proxy for a workspace.

use crate::proxy::Proxy;
use crate::world::{World, bytes, until};
use lakebase_api::{BranchSpec, Client, ProjectName, ProjectSpec, ProtoDuration};
use lakebase_proto::v1;
use local_lakebase::{Clock, Config, Limits, LocalLakebase};
use secrecy::ExposeSecret;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The daemon ends first, while there is somebody to answer it.
pub(crate) struct Rig {
    pub(crate) world: World,
    pub(crate) proxy: Proxy,
    /// The service's clock.
    pub(crate) clock: Clock,
    _lake: LocalLakebase,
}

impl Rig {
    /// A running daemon whose main worktree has its branch.
    pub(crate) async fn ready() -> Self {
        let rig = Self::started().await;
        rig.world.branch(&rig.world.main()).await;
        rig
    }

    pub(crate) async fn started() -> Self {
        let mut rig = Self::new(Limits::default()).await;
        rig.world.start().await;
        rig.world.register().await;
        rig
    }

    /// Everything but the daemon.
    pub(crate) async fn new(limits: Limits) -> Self {
        let world = World::new();
        let clock = Clock::default();
        let config = Config {
            data_dir: world.path("local"),
            api_addr: ([127, 0, 0, 1], 0).into(),
            public_url: None,
            user_name: "jane.doe@example.com".into(),
            pg_bindir: None,
            limits: Limits {
                sweep_period: Duration::from_millis(100),
                purge_delay: Duration::ZERO,
                ..limits
            },
        };
        let lake = LocalLakebase::start_at(config, clock.clone())
            .await
            .expect("started");
        let service = world.service();
        make_project(&service, "shop").await;
        let proxy = Proxy::start(lake.api_url(), lake.token().expose_secret()).await;
        let rig = Self {
            proxy,
            clock,
            world,
            _lake: lake,
        };
        rig.sign_in("first");
        rig
    }

    /// Writes the token into the file of profiles.
    pub(crate) fn sign_in(&self, token: &str) {
        let text = format!("[DEFAULT]\nhost = {}\ntoken = {token}\n", self.proxy.url);
        fs::write(self.world.path("databrickscfg"), text).expect("written");
    }

    pub(crate) fn add(&self, name: &str) {
        self.world
            .git(&["worktree", "add", "-q", "--detach", &format!("../{name}")]);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.world
            .git(&["worktree", "remove", "--force", &format!("../{name}")]);
    }

    /// What hinders the repository as a whole.
    pub(crate) async fn problems(&self) -> String {
        let problems = self.world.repository().await.problems;
        let texts = problems.iter().map(|p| format!("{} ({})", p.message, p.fix));
        texts.collect::<Vec<_>>().join("\n")
    }

    /// What is wrong with a worktree.
    pub(crate) async fn problem(&self, name: &str) -> Option<v1::Problem> {
        let worktree = self.world.worktree(&self.world.path(name)).await?;
        worktree.problem
    }

    /// Waits until a worktree has a problem that says this.
    pub(crate) async fn until_problem(&self, name: &str, part: &str) -> v1::Problem {
        let mut found = None;
        until(&format!("`{name}` says: {part}"), async || {
            found = self.problem(name).await.filter(|p| p.message.contains(part));
            found.is_some()
        })
        .await;
        found.expect("it was just there")
    }

    /// Makes a branch past the daemon, that it does not own.
    pub(crate) async fn foreign(&self, id: &str) {
        let spec = BranchSpec {
            source_branch: Some(World::branch_name("production")),
            ttl: Some(ProtoDuration::from(Duration::from_hours(1))),
            ..BranchSpec::default()
        };
        let made = self
            .world
            .service()
            .create_branch(&World::project(), id, &spec)
            .await;
        made.expect("made");
    }

    /// The uid of a branch, by the service itself.
    pub(crate) async fn uid(&self, id: &str) -> Option<String> {
        let branch = self.world.service().branch(&World::branch_name(id)).await.ok()?;
        branch.uid.filter(|_| branch.status.delete_time.is_none())
    }

    /// Lets the ledger believe that everything in it is an hour older. The daemon must not run.
    pub(crate) async fn age_ledger(&self) {
        let hour = "UPDATE branches SET since = since - 3600000";
        let mut ledger = self.ledger().await;
        sqlx::query(hour).execute(&mut ledger).await.expect("aged");
        ledger.close().await.expect("closed");
    }

    /// What was done, as the event list has it, about one branch.
    pub(crate) async fn events(&self, branch: &str) -> Vec<String> {
        let mut ledger = self.ledger().await;
        let actions = sqlx::query_scalar("SELECT action FROM events WHERE branch = ? ORDER BY sequence")
            .bind(branch)
            .fetch_all(&mut ledger)
            .await;
        ledger.close().await.expect("closed");
        actions.expect("read")
    }

    /// How the records of a branch stand.
    pub(crate) async fn record(&self, branch: &str) -> Vec<String> {
        let mut ledger = self.ledger().await;
        let states = sqlx::query_scalar("SELECT state FROM branches WHERE branch = ?")
            .bind(branch)
            .fetch_all(&mut ledger)
            .await;
        ledger.close().await.expect("closed");
        states.expect("read")
    }

    /// How many requests to create are unsettled.
    pub(crate) async fn intents(&self) -> i64 {
        let mut ledger = self.ledger().await;
        let count = sqlx::query_scalar("SELECT count(*) FROM branches WHERE state = 'intent'")
            .fetch_one(&mut ledger)
            .await;
        ledger.close().await.expect("closed");
        count.expect("counted")
    }

    pub(crate) async fn ledger(&self) -> SqliteConnection {
        let path = self.world.path("state/state.db");
        SqliteConnection::connect(&path.to_string_lossy())
            .await
            .expect("opened")
    }

    pub(crate) async fn credential(&self, dir: &Path, rotate: bool) -> Result<v1::Credential, tonic::Status> {
        let request = v1::GetCredentialRequest {
            path: bytes(dir),
            rotate,
        };
        let answer = self.world.client().await.get_credential(request).await?;
        Ok(answer.into_inner())
    }

    /// What no daemon may ever ask for, whatever the service did to it.
    fn check_manners(&self) {
        for seen in self.proxy.seen() {
            let is_branch = seen.path.contains("/branches/") && !seen.path.contains("/endpoints");
            let is_fine = match seen.method.as_str() {
                "DELETE" => is_branch && seen.query.is_empty(),
                "PATCH" if is_branch => seen.query == "update_mask=spec.expiration",
                "PATCH" => seen.query == "update_mask=spec.suspension",
                "POST" if seen.path.ends_with("/branches") => {
                    let spec = &seen.body["spec"];
                    let is_lease = spec["ttl"].is_string() || spec["no_expiry"] == true;
                    is_lease && spec["expire_time"].is_null() && !seen.query.contains('&')
                }
                _ => !seen.query.contains("purge") && !seen.query.contains("replace_existing"),
            };
            assert!(is_fine, "the daemon asked for {seen:?}");
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check_manners();
        }
    }
}

pub(crate) async fn make_project(service: &Client, id: &str) {
    let spec = ProjectSpec {
        display_name: Some(id.into()),
        ..ProjectSpec::default()
    };
    let name = ProjectName::new(id).expect("a name");
    // On a machine that is busy with other tests it may take longer than the client waits.
    until("the project is there", async || {
        if let Ok(operation) = service.create_project(id, &spec).await {
            drop(service.wait(operation, Duration::from_mins(1)).await);
        }
        service.project(&name).await.is_ok()
    })
    .await;
}
