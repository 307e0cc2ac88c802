//! Local Lakebase on its own: served in the foreground, used by a daemon that finds it there, and on a disk of its own.

use crate::world::{World, until};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A `lakebased local serve` of a world; ended with the value.
struct Served {
    child: Child,
    exports: Vec<String>,
}

impl Served {
    fn start(world: &World) -> Self {
        let mut child = world
            .command()
            .args(["local", "serve"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut exports = vec![];
        for line in lines {
            exports.push(line.expect("text"));
            if exports.last().is_some_and(|line| line.ends_with("PROFILE=local")) {
                break;
            }
        }
        Self { child, exports }
    }

    /// Ends it in order.
    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        assert!(self.child.wait().expect("it was ours").success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_daemon_uses_a_local_lakebase_that_is_served_and_takes_over_when_it_ends() {
    let mut world = World::new();
    let served = Served::start(&world);
    let url = served
        .exports
        .iter()
        .find_map(|line| line.strip_prefix("export LAKEBASE_LOCAL_URL="));
    let url = url.expect("it tells where it is").to_owned();
    let second = world
        .command()
        .args(["local", "serve"])
        .stderr(Stdio::piped())
        .output();
    let second = second.expect("it starts");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        !second.status.success() && said.contains("DATABRICKS_CONFIG_FILE="),
        "{said}"
    );

    world.start().await;
    world.register().await;
    assert_eq!(world.branch(&world.main()).await, "jane-doe-main");
    let info = world
        .client()
        .await
        .get_daemon_info(lakebase_proto::v1::GetDaemonInfoRequest {})
        .await;
    let local = info.expect("it answers").into_inner().local.expect("it is used");
    assert_eq!(local.api_url, url);

    served.stop();
    world.git(&["worktree", "add", "-q", "--detach", "../agent"]);
    let agent = world.path("agent");
    until("the daemon serves itself", async || {
        world.credential(&agent).await.is_ok()
    })
    .await;
    assert_eq!(world.branch(&agent).await, "jane-doe-main-worktree-agent");
}

#[tokio::test]
async fn ll_11_a_store_is_made_once_with_what_was_there_and_shares_blocks() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can mount a store");
        return;
    }
    let mut world = World::started().await;
    let before = world.credential(&world.main()).await.expect("it is ready").branch;
    let set_up = |world: &World, size: &str| {
        let mut command = world.command();
        command.args(["local", "setup-store", "--no-fstab", "--size", size]);
        command.stderr(Stdio::piped()).output().expect("it starts")
    };
    if local_lakebase::shares_blocks(&world.path("local")) {
        let said = set_up(&world, "600M").stdout;
        assert!(String::from_utf8_lossy(&said).contains("share their blocks already"));
        return;
    }
    let refused = set_up(&world, "600M");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("lakebase down"),
        "{refused:?}"
    );
    world.shut_down().await;
    let refused = set_up(&world, "100000T");
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("MB free"),
        "{refused:?}"
    );

    let unmount = Unmount(world.path("local"));
    let made = set_up(&world, "600M");
    assert!(made.status.success(), "{made:?}");
    assert!(local_lakebase::shares_blocks(&world.path("local")));
    assert!(set_up(&world, "600M").status.success(), "there is nothing to do");
    world.start().await;
    let after = world.credential(&world.main()).await.expect("it is ready").branch;
    assert_eq!(after.map(|branch| branch.uid), before.map(|branch| branch.uid));
    world.shut_down().await;
    drop(unmount);
    check_unmounted(&world);
}

/// Below the mount point is the installation of before: it is not taken for the one on the disk.
fn check_unmounted(world: &World) {
    for command in [["local", "serve"], ["local", "recover"]] {
        let refused = world.command().args(command).stderr(Stdio::piped()).output();
        let refused = refused.expect("it starts");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{command:?}");
        assert!(
            said.contains("its disk is not mounted") && said.contains("hint: mount it with"),
            "{said}"
        );
    }
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
