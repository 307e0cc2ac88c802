//! The daemon as a process: killed, started twice, started without PostgreSQL, stopped.

use crate::world::{PATIENCE, World, answers, until};
use lakebase_proto::{fix_of, v1};
use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

/// A small generator with a seed that is printed, so that a failure can be had again.
struct Seeded(u64);

impl Seeded {
    fn new() -> Self {
        let seed = std::process::id().into();
        eprintln!("seed {seed}");
        Self(seed)
    }

    fn millis(&mut self, below: u64) -> Duration {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((self.0 >> 33) % below)
    }
}

#[tokio::test]
async fn a_list_that_is_asked_for_right_after_the_start_is_whole() {
    let mut world = World::started().await;
    world.branch(&world.main()).await;
    for _ in 0..3 {
        world.kill();
        world.start().await;
        let repository = world.repository().await;
        assert_eq!(repository.project_id, "shop", "{repository:?}");
        world.kill();
        world.start().await;
        let listed = world.listing().await;
        assert_eq!(listed.worktrees.len(), 1, "{listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_time_it_makes_no_branch_twice_and_loses_none() {
    let mut world = World::started().await;
    let mut seeded = Seeded::new();
    world.branch(&world.main()).await;
    for n in 0..6 {
        let name = format!("../w{n}");
        world.git(&["worktree", "add", "-q", "--detach", &name]);
        if n >= 3 {
            world.git(&["worktree", "remove", "--force", &format!("../w{}", n - 3)]);
        }
        tokio::time::sleep(seeded.millis(600)).await;
        world.kill();
        world.start().await;
    }
    let mut seen = BTreeSet::new();
    for n in 3..6 {
        let branch = world.branch(&world.path(&format!("w{n}"))).await;
        assert!(seen.insert(branch.clone()), "{branch} serves two worktrees");
    }
    world.reconcile().await;
    let names = world.service_names().await;
    for branch in &seen {
        assert!(names.contains(branch), "{branch} is lost: {names:?}");
    }
    // Those whose removal nobody watched are still in their grace; nothing else is there.
    let stems: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_prefix("jane-doe-main-worktree-w"))
        .collect();
    let worktrees: BTreeSet<&str> = stems.iter().map(|stem| &stem[..1]).collect();
    assert_eq!(
        stems.len(),
        worktrees.len(),
        "a worktree has two branches: {names:?}"
    );
    world.shut_down().await;
    let left = world.processes();
    assert!(left.is_empty(), "left running: {left:?}");
}

#[tokio::test]
async fn computes_outlive_a_kill_and_are_used_again() {
    let mut world = World::started().await;
    world.branch(&world.main()).await;
    let credential = world.credential(&world.main()).await.expect("ready");
    let psql = |credential: v1::Credential| {
        crate::credentials::query(credential, "SELECT pg_postmaster_start_time()::text")
    };
    let started = psql(credential).await.expect("it answers");
    world.kill();
    world.start().await;
    let credential = world.credential(&world.main()).await.expect("ready");
    assert_eq!(
        psql(credential).await.expect("it answers"),
        started,
        "the compute was started anew"
    );
}

#[tokio::test]
async fn a_second_daemon_says_so_and_goes() {
    let world = World::started().await;
    let output = world.command().stderr(Stdio::piped()).output().expect("it runs");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("running already"));
    world
        .client()
        .await
        .get_daemon_info(v1::GetDaemonInfoRequest {})
        .await
        .expect("the first one still answers");
}

#[tokio::test]
async fn pr_02_of_many_started_at_once_one_serves() {
    let world = World::new();
    let mut children: Vec<_> = (0..8)
        .map(|_| world.command().spawn().expect("it starts"))
        .collect();
    let mut ended = 0;
    until("all but one have gone", async || {
        ended = children
            .iter_mut()
            .filter_map(|child| child.try_wait().expect("ours"))
            .filter(std::process::ExitStatus::success)
            .count();
        ended == 7
    })
    .await;
    let socket = world.socket();
    until("that one serves", async || answers(&socket).await).await;
    world
        .client()
        .await
        .shutdown(v1::ShutdownRequest {})
        .await
        .expect("it answers");
    for mut child in children {
        assert!(child.wait().expect("ours").success());
    }
}

#[tokio::test]
async fn shutdown_leaves_no_socket_and_no_compute() {
    let mut world = World::started().await;
    world.branch(&world.main()).await;
    assert!(world.shut_down().await.success());
    assert!(!world.socket().exists());
    let left = world.processes();
    assert!(left.is_empty(), "left running: {left:?}");
}

#[tokio::test]
async fn without_postgres_it_starts_and_names_the_package() {
    let mut world = World::new().without_postgres();
    world.start().await;
    world.register().await;
    let error = world
        .credential(&world.main())
        .await
        .expect_err("there is no PostgreSQL");
    assert!(
        fix_of(&error).is_some_and(|fix| fix.contains("install PostgreSQL")),
        "{error:?}"
    );
    let info = world
        .client()
        .await
        .get_daemon_info(v1::GetDaemonInfoRequest {})
        .await
        .expect("it answers");
    assert!(
        info.into_inner()
            .problems
            .iter()
            .any(|problem| problem.fix.contains("install PostgreSQL"))
    );
}

#[tokio::test]
async fn it_says_that_it_serves_to_whoever_asks_for_its_health() {
    let world = World::started().await;
    let channel = tonic::transport::Endpoint::from_static("http://localhost");
    let socket = world.socket();
    let channel = channel
        .connect_with_connector(tower_service(socket))
        .await
        .expect("connected");
    let mut health =
        tonic_health::pb::health_client::HealthClient::with_interceptor(channel, lakebase_proto::Introduce);
    let request = tonic_health::pb::HealthCheckRequest {
        service: "lakebase.control.v1.Control".into(),
    };
    let answer = tokio::time::timeout(PATIENCE, health.check(request))
        .await
        .expect("in time")
        .expect("it answers");
    assert_eq!(
        answer.into_inner().status(),
        tonic_health::pb::health_check_response::ServingStatus::Serving
    );
}

/// Connects to a Unix socket whatever the address says.
fn tower_service(
    socket: std::path::PathBuf,
) -> impl tonic::codegen::Service<
    tonic::transport::Uri,
    Response = hyper_util::rt::TokioIo<tokio::net::UnixStream>,
    Error = std::io::Error,
    Future = impl Future<Output = std::io::Result<hyper_util::rt::TokioIo<tokio::net::UnixStream>>> + Send,
> + Send {
    tower::service_fn(move |_| {
        let socket = socket.clone();
        async move {
            tokio::net::UnixStream::connect(socket)
                .await
                .map(hyper_util::rt::TokioIo::new)
        }
    })
}
