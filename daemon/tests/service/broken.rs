//! What a person can have wrong about a workspace. Whatever it is: one sentence and one thing to do in `lakebase status` and
//! `lakebase doctor`, what is cached is served, nothing is changed, and once the cause is gone the next look works.

use crate::doctor::{compare, lakebase, seen};
use crate::proxy::{answer, error, with_header};
use crate::rig::Rig;
use crate::world::{World, until};
use lakebase_proto::v1;
use local_lakebase::Limits;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// A daemon with the hook in place, whose repository names a profile of its own.
struct Ward {
    rig: Rig,
    /// How often something was broken.
    turn: u32,
}

impl Ward {
    async fn open() -> Self {
        let mut rig = Rig::new(Limits::default()).await;
        let hook = Path::new(env!("CARGO_BIN_EXE_lakebased")).with_file_name("lakebase-hook");
        symlink(hook, rig.world.main().join(".git/hooks/post-checkout")).expect("linked");
        rig.world
            .configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_PROFILE=\"work\"\n");
        rig.proxy.accept(TOKEN);
        sign_in(&rig, TOKEN);
        rig.world.start().await;
        rig.world.register().await;
        rig.add("w0");
        for name in ["shop", "w0"] {
            rig.world.branch(&rig.world.path(name)).await;
        }
        Self { rig, turn: 0 }
    }

    /// While something is broken one worktree goes and another one comes. What is cached is served. Then it is mended. The
    /// brake lets three worktrees go so.
    async fn bear(&mut self, name: &str, break_it: impl AsyncFnOnce(&Rig), mend: impl AsyncFnOnce(&Rig)) {
        let main = self.rig.world.main();
        let before = self.rig.world.credential(&main).await.expect("ready");
        let broken = Broken::by(self, name, break_it).await;
        let served = broken
            .rig
            .world
            .credential(&main)
            .await
            .expect("served to its end");
        assert_eq!(served.password, before.password);
        broken.mend(mend).await;
    }
}

struct Broken<'a> {
    rig: &'a Rig,
    branches: Vec<String>,
    /// What was seen of requests before.
    mark: usize,
    gone: String,
    new: String,
}

impl<'a> Broken<'a> {
    /// Breaks something, lets a worktree go and another one come, and compares what a person is told.
    async fn by(ward: &'a mut Ward, name: &str, break_it: impl AsyncFnOnce(&Rig)) -> Self {
        let (gone, new) = (format!("w{}", ward.turn), format!("w{}", ward.turn + 1));
        ward.turn += 1;
        let rig = &ward.rig;
        let branches = rig.world.service_names().await;
        break_it(rig).await;
        let mark = rig.proxy.mark();
        rig.remove(&gone);
        rig.add(&new);
        rig.world.reconcile().await;
        compare(name, &seen(&rig.world, &rig.proxy.url));
        Self {
            rig,
            branches,
            mark,
            gone,
            new,
        }
    }

    /// Mends it: until now nothing was changed, and from now on all is done without a restart.
    async fn mend(self, mend: impl AsyncFnOnce(&Rig)) {
        let rig = self.rig;
        assert_eq!(rig.proxy.changes(self.mark), Vec::<String>::new());
        assert_eq!(rig.world.service_names().await, self.branches);
        mend(rig).await;
        rig.world.reconcile().await;
        assert_eq!(rig.problems().await, "");
        rig.world.branch(&rig.world.path(&self.new)).await;
        let gone = format!("jane-doe-main-worktree-{}", self.gone);
        until("the removed one's branch is deleted", async || {
            rig.uid(&gone).await.is_none()
        })
        .await;
        let doctor = lakebase(&rig.world, &["doctor", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
        assert!(doctor.status.success() && report["healthy"] == true, "{report}");
    }
}

/// Writes the profile that the repository names.
fn sign_in(rig: &Rig, token: &str) {
    configure(
        rig,
        &format!("[work]\nhost = {}\ntoken = {token}\n", rig.proxy.url),
    );
}

fn configure(rig: &Rig, text: &str) {
    fs::write(rig.world.path("databrickscfg"), text).expect("written");
}

const TOKEN: &str = "CANARY-first";
const DENIED: &str = "assign the user 'Can Use' for Database project shop";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sign_in_is_missing_or_expired_or_for_another_host() {
    let mut ward = Ward::open().await;
    ward.rig.world.reconcile().await;
    compare("well", &seen(&ward.rig.world, &ward.rig.proxy.url));
    ward.bear(
        "no-login",
        async |rig| configure(rig, ""),
        async |rig| sign_in(rig, TOKEN),
    )
    .await;
    ward.bear(
        "wrong-host",
        async |rig| configure(rig, "[work]\nhost = http://127.0.0.1:1\ntoken = CANARY-first\n"),
        async |rig| sign_in(rig, TOKEN),
    )
    .await;
    ward.bear(
        "expired-login",
        async |rig| rig.proxy.accept("CANARY-second"),
        async |rig| sign_in(rig, "CANARY-second"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_workspace_or_the_project_is_closed_or_a_captive_portal_answers() {
    let mut ward = Ward::open().await;
    let denied = |message| error(403, "PERMISSION_DENIED", message);
    ward.bear(
        "forbidden-workspace",
        async |rig| rig.proxy.on("", "*/api/", denied("Invalid IP")),
        async |rig| rig.proxy.behave(),
    )
    .await;
    ward.bear(
        "forbidden-project",
        async |rig| rig.proxy.on("", "*/postgres/projects", denied(DENIED)),
        async |rig| rig.proxy.behave(),
    )
    .await;
    ward.bear(
        "captive-portal",
        async |rig| {
            let page = answer("<!doctype html><title>Welcome to the hotel</title>");
            rig.proxy
                .on("", "*/", with_header(page, "content-type", "text/html"));
        },
        async |rig| rig.proxy.behave(),
    )
    .await;
}

/// The one case in which nothing is served: the databases went with the project.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cp_27_the_project_is_missing_and_there_is_no_hook_and_no_room() {
    let mut ward = Ward::open().await;
    let main = ward.rig.world.main();
    let broken = Broken::by(&mut ward, "missing-project", async |rig| {
        let gone = error(404, "NOT_FOUND", "project id not found");
        rig.proxy.on("", "*/postgres/projects/shop", gone);
    });
    let broken = broken.await;
    let refused = broken.rig.world.credential(&main).await;
    refused.expect_err("there is nothing to connect to");
    broken.mend(async |rig| rig.proxy.behave()).await;

    let rig = &ward.rig;
    fs::remove_file(main.join(".git/hooks/post-checkout")).expect("removed");
    let room = 10 - rig.world.service_names().await.len();
    for number in 0..room {
        rig.foreign(&format!("other-{number}")).await;
    }
    rig.add("new");
    rig.until_problem("new", "10 of 10 branches in use").await;
    compare("no-hook-no-room", &seen(&rig.world, &rig.proxy.url));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_repository_is_not_registered_or_the_daemon_does_not_run() {
    let mut rig = Rig::new(Limits::default()).await;
    rig.world.start().await;
    compare("not-registered", &seen(&rig.world, &rig.proxy.url));
    rig.world.shut_down().await;
    compare("not-running", &seen(&rig.world, &rig.proxy.url));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_lakebase_needs_no_sign_in() {
    let world = World::started().await;
    world.branch(&world.main()).await;
    let mut client = world.client().await;
    let info = client.get_daemon_info(v1::GetDaemonInfoRequest {});
    let local = info.await.expect("it answers").into_inner().local;
    compare("local", &seen(&world, &local.expect("it runs").api_url));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_lakebase_has_no_postgres() {
    let mut world = World::new().without_postgres();
    world.start().await;
    world.register().await;
    world.reconcile().await;
    compare("no-postgres", &seen(&world, "<host>"));
}

/// What the Databricks CLI does when it is asked for a token: a real program that only knows these two questions. Its tokens
/// end so soon that it is asked each time.
fn cli(rig: &Rig, version: &str, answer: &str) {
    use std::os::unix::fs::PermissionsExt;
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo \"Databricks CLI v{version}\"; exit; fi\n{answer}\n"
    );
    let place = rig.world.path("databricks");
    fs::write(rig.world.path("databricks.new"), script).expect("written");
    fs::set_permissions(
        rig.world.path("databricks.new"),
        fs::Permissions::from_mode(0o755),
    )
    .expect("changed");
    fs::rename(rig.world.path("databricks.new"), place).expect("renamed");
}

fn says(words: &str) -> String {
    format!("echo 'Error: {words}' >&2; exit 1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_databricks_cli_is_absent_or_too_old_or_not_signed_in_or_its_keyring_is_locked() {
    let token = format!(
        "echo '{{\"access_token\":\"{TOKEN}\",\"token_type\":\"Bearer\",\"expiry\":\"2020-01-01T00:00:00Z\"}}'"
    );
    let mut ward = Ward::open().await;
    let rig = &ward.rig;
    cli(rig, "0.296.0", &token);
    configure(
        rig,
        &format!(
            "[work]\nhost = {}\nauth_type = databricks-cli\ndatabricks_cli_path = {}\n",
            rig.proxy.url,
            rig.world.path("databricks").display()
        ),
    );
    rig.world.reconcile().await;
    assert_eq!(rig.problems().await, "");
    ward.bear(
        "cli-absent",
        async |rig| fs::remove_file(rig.world.path("databricks")).expect("removed"),
        async |rig| cli(rig, "0.296.0", &token),
    )
    .await;
    ward.bear(
        "cli-too-old",
        async |rig| cli(rig, "0.205.2", &token),
        async |rig| cli(rig, "0.296.0", &token),
    )
    .await;
    ward.bear(
        "cli-not-signed-in",
        async |rig| {
            cli(
                rig,
                "0.296.0",
                &says("databricks OAuth is not configured for this host"),
            );
        },
        async |rig| cli(rig, "0.296.0", &token),
    )
    .await;
    // The brake has let three worktrees go; here none does.
    let rig = &ward.rig;
    cli(rig, "0.296.0", &says("cannot access keyring: it is locked"));
    rig.world.reconcile().await;
    compare("keyring-locked", &seen(&rig.world, &rig.proxy.url));
    cli(rig, "0.296.0", &token);
    rig.world.reconcile().await;
    assert_eq!(rig.problems().await, "");
}
