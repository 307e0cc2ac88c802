//! Records that point where they should not: edited by somebody, or made for another service.

use crate::world::{World, until};
use lakebase_api::{AuthEnv, BranchSpec, Client, ProjectSpec, ProtoDuration};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Changes the ledger of a daemon that does not run.
async fn edit(world: &World, statement: String) -> u64 {
    let options = SqliteConnectOptions::new().filename(world.path("state/state.db"));
    let mut ledger = SqliteConnection::connect_with(&options).await.expect("it opens");
    let done = sqlx::query(AssertSqlSafe(statement)).execute(&mut ledger).await;
    ledger.close().await.expect("closed");
    done.expect("it is changed").rows_affected()
}

#[tokio::test(flavor = "multi_thread")]
async fn sec_20_a_planted_record_deletes_neither_production_nor_a_strangers_branch() {
    let mut world = World::new();
    world.configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_REAP_GRACE=\"0\"\n");
    world.start().await;
    world.register().await;
    for name in ["one", "two", "three"] {
        world.git(&["worktree", "add", "-q", "--detach", &format!("../{name}")]);
        world.branch(&world.path(name)).await;
    }
    let spec = BranchSpec {
        source_branch: Some(World::branch_name("production")),
        ttl: Some(ProtoDuration::from(Duration::from_hours(1))),
        ..BranchSpec::default()
    };
    let service = world.service();
    let made = service.create_branch(&World::project(), "stranger", &spec).await;
    made.expect("made");
    let production = service
        .branch(&World::branch_name("production"))
        .await
        .expect("there");
    let record = |name: &str| format!("WHERE branch = 'jane-doe-main-worktree-{name}'");
    world.kill();
    for statement in [
        // With its uid, and without; and a stranger's by name alone.
        format!(
            "UPDATE branches SET branch = 'production', uid = '{}' {}",
            production.uid.expect("it has one"),
            record("one")
        ),
        format!("UPDATE branches SET branch = 'stranger' {}", record("two")),
    ] {
        assert_eq!(edit(&world, statement).await, 1);
    }
    for name in ["one", "two", "three"] {
        world.git(&["worktree", "remove", "--force", &format!("../{name}")]);
    }
    world.start().await;
    until("what is ours by record and uid is deleted", async || {
        world.reconcile().await;
        let names = world.service_names().await;
        !names.contains(&"jane-doe-main-worktree-three".to_owned())
    })
    .await;
    world.reconcile().await;
    let names = world.service_names().await;
    for name in ["production", "stranger"] {
        assert!(names.contains(&name.to_owned()), "{name} was deleted: {names:?}");
    }
}

/// A second Local Lakebase: another workspace, for all that the daemon knows.
struct Away {
    child: Child,
    service: Client,
}

impl Away {
    async fn start(world: &World) -> Self {
        let dir = world.path("away");
        let mut child = Command::new(env!("CARGO_BIN_EXE_lakebased"))
            .args([
                "local",
                "serve",
                "--local-user",
                "jane.doe@example.com",
                "--local-dir",
            ])
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        lines
            .map_while(Result::ok)
            .find(|line| line.ends_with("PROFILE=local"))
            .expect("it serves");
        let file = dir.join("databrickscfg");
        let env = AuthEnv::with_profiles(&file.clone());
        let workspace = lakebase_api::auth::profile::load(Some("local"), &env).expect("it wrote it");
        let service = Client::new(workspace).expect("a client");
        let made = service
            .create_project("shop", &ProjectSpec::default())
            .await
            .expect("begun");
        service.wait(made, Duration::from_mins(1)).await.expect("made");
        let profiles = fs::read_to_string(file)
            .expect("readable")
            .replace("[local]", "[away]");
        fs::write(world.path("databrickscfg"), profiles).expect("written");
        Self { child, service }
    }

    async fn names(&self) -> Vec<String> {
        let branches = self
            .service
            .list_branches(&World::project())
            .await
            .expect("listed");
        branches
            .iter()
            .map(|branch| branch.name.id().to_owned())
            .collect()
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).ok();
        drop(self.child.wait());
    }
}

fn configure(world: &World, profile: &str) {
    world.configure(&format!(
        "LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_REAP_GRACE=\"0\"\nLAKEBASE_PROFILE=\"{profile}\"\n"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn sec_19_a_project_of_the_same_name_elsewhere_is_another_project() {
    let mut world = World::new();
    let away = Away::start(&world).await;
    configure(&world, "local");
    world.start().await;
    world.register().await;
    world.git(&["worktree", "add", "-q", "--detach", "../abc"]);
    let here = world.credential(&world.path("abc")).await.expect("ready");
    let name = here.branch.expect("it has one").branch_id;
    assert!(!away.names().await.contains(&name));

    configure(&world, "away");
    world.trust().await;
    let there = world.credential(&world.path("abc")).await.expect("ready");
    assert_ne!(there.host, here.host, "the credential is of the other service");
    assert!(away.names().await.contains(&name));
    // The worktree goes while its branch there is the one in use: the one here is another's business.
    world.git(&["worktree", "remove", "--force", "../abc"]);
    until("its branch there is deleted", async || {
        world.reconcile().await;
        !away.names().await.contains(&name)
    })
    .await;
    assert!(
        world.service_names().await.contains(&name),
        "the other one went with it"
    );
    world.shut_down().await;
}
