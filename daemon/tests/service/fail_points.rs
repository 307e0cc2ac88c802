//! The daemon ends at each fail point of its source, one after the other, in the middle of a story in which branches come,
//! are renewed, moved, kept, lost, brought back and reaped. The next one must find its way.

use crate::rig::Rig;
use crate::world::{World, answers, bytes, until};
use chrono::TimeDelta;
use lakebase_proto::{Client, connect, v1};
use local_lakebase::Limits;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

/// The names of all fail points, as the source has them.
fn points() -> Vec<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = fs::read_dir(source)
        .expect("listed")
        .map(|entry| entry.expect("an entry").path());
    let mut points = vec![];
    for file in files.filter(|path| path.extension().is_some_and(|ending| ending == "rs")) {
        let text = fs::read_to_string(file).expect("read");
        let calls = text.split("failpoint::pass(\"").skip(1);
        points.extend(calls.map(|call| call.split('"').next().expect("a name").to_owned()));
    }
    points.sort();
    points
}

/// A daemon that will end at a fail point, and what happens around it. `n` keeps the names of rounds apart.
struct Story<'a> {
    rig: &'a Rig,
    point: &'a str,
    n: usize,
    daemon: Child,
}

impl<'a> Story<'a> {
    async fn begin(rig: &'a Rig, point: &'a str, n: usize) -> Self {
        let mut story = Self {
            rig,
            point,
            n,
            daemon: spawn(rig, point),
        };
        story.serves().await;
        story
    }

    fn has_ended(&mut self) -> bool {
        self.daemon.try_wait().expect("ours").is_some()
    }

    async fn serves(&mut self) {
        let socket = self.rig.world.socket();
        until("it serves, or has ended", async || {
            self.has_ended() || answers(&socket).await
        })
        .await;
    }

    fn linked(&self) -> PathBuf {
        self.rig.world.path(&format!("w{}", self.n))
    }

    fn topic(&self) -> PathBuf {
        self.rig.world.path(&format!("t{}", self.n))
    }

    fn branches(&self) -> [String; 2] {
        [
            format!("jane-doe-main-worktree-w{}", self.n),
            format!("jane-doe-t{}", self.n),
        ]
    }

    /// One call, which comes to nothing when the daemon ends.
    async fn call<T>(&mut self, call: impl AsyncFnOnce(Client) -> Result<T, tonic::Status>) -> Option<T> {
        if self.has_ended() {
            return None;
        }
        let client = connect(&self.rig.world.socket(), Duration::from_secs(1))
            .await
            .ok()?;
        match call(client).await {
            Ok(answer) => Some(answer),
            Err(status) if is_answer(&status) => None,
            Err(_) => {
                until("it has ended", async || self.has_ended()).await;
                None
            }
        }
    }

    async fn credential(&mut self, dir: PathBuf) {
        let path = bytes(&dir);
        let request = v1::GetCredentialRequest { path, rotate: false };
        self.call(async |mut daemon| daemon.get_credential(request).await)
            .await;
    }

    async fn look(&mut self) {
        let path = bytes(&self.rig.world.main());
        let request = v1::ReconcileRequest { path, wait: true };
        self.call(async |mut daemon| daemon.reconcile(request).await)
            .await;
    }

    async fn keep(&mut self, release: bool) {
        let path = bytes(&self.topic());
        let request = v1::KeepBranchRequest { path, release };
        self.call(async |mut daemon| daemon.keep_branch(request).await)
            .await;
    }

    /// Everything that leads to an effect, in turn, until the daemon has ended.
    async fn run(&mut self) {
        let (world, n) = (&self.rig.world, self.n);
        let name = format!("t{n}");
        world.git(&["worktree", "add", "-q", "--detach", &format!("../w{n}")]);
        self.credential(self.linked()).await;
        if self.has_ended() {
            return;
        }
        world.git(&["worktree", "add", "-q", "-b", &name, &format!("../{name}")]);
        self.credential(self.topic()).await;
        if self.has_ended() {
            return;
        }
        world.git_in(&self.topic(), &["branch", "-m", &name, &format!("r{n}")]);
        self.look().await;
        if self.has_ended() {
            return;
        }
        self.shorten(&self.branches()[1], TimeDelta::hours(1)).await;
        self.look().await;
        self.keep(false).await;
        self.keep(true).await;
        self.look().await;
        if self.has_ended() {
            return;
        }
        self.lapse().await;
        if self.has_ended() {
            return;
        }
        world.git(&["worktree", "remove", "--force", &format!("../t{n}")]);
        world.git(&["update-ref", "-d", &format!("refs/heads/r{n}")]);
        self.look().await;
        // Without a person's word few go in an hour.
        self.collect().await;
    }

    async fn collect(&mut self) {
        let request = v1::CollectGarbageRequest {
            path: bytes(&self.rig.world.main()),
            apply: true,
        };
        self.call(async |mut daemon| daemon.collect_garbage(request).await)
            .await;
    }

    async fn shorten(&self, branch: &str, left: TimeDelta) {
        let service = self.rig.world.service();
        let name = World::branch_name(branch);
        let sooner = self.rig.clock.now() + left;
        service.renew_branch(&name, sooner).await.expect("shortened");
    }

    /// The leases run out while no daemon is there, and one of the worktrees goes.
    async fn lapse(&mut self) {
        self.call(async |mut daemon| daemon.shutdown(v1::ShutdownRequest {}).await)
            .await;
        self.daemon.wait().expect("ours");
        self.rig.age_ledger().await;
        for branch in self.branches() {
            self.shorten(&branch, TimeDelta::seconds(1)).await;
            until("it has lapsed", async || self.rig.uid(&branch).await.is_none()).await;
        }
        let linked = self.linked();
        self.rig
            .world
            .git(&["worktree", "remove", "--force", &linked.to_string_lossy()]);
        self.daemon = spawn(self.rig, self.point);
        self.serves().await;
        self.look().await;
    }

    /// What must be so although the last daemon ended where it did.
    async fn check(&self, before: &[Option<String>; 2]) {
        let (world, point) = (&self.rig.world, self.point);
        for ((dir, id), before) in [self.linked(), self.topic()]
            .iter()
            .zip(self.branches())
            .zip(before)
        {
            if !dir.exists() {
                continue;
            }
            let branch = world.branch(dir).await;
            let Some(before) = before else {
                // Perhaps the git branch was renamed before anybody saw it.
                assert!(
                    [id, format!("jane-doe-r{}", self.n)].contains(&branch),
                    "{point}: {branch}"
                );
                continue;
            };
            assert_eq!(branch, id, "{point}");
            let after = self.rig.uid(&id).await;
            assert_eq!(after.as_ref(), Some(before), "{point}: {id} was made anew");
        }
        let stray = |name: &String| {
            name.contains(&format!("w{}-", self.n)) || name.contains(&format!("t{}-", self.n))
        };
        let names = world.service_names().await;
        assert!(!names.iter().any(stray), "{point}: {names:?}");
        let problems = self.rig.problems().await;
        assert_eq!(problems, "", "{point}");
        assert_eq!(self.rig.intents().await, 0, "{point}");
    }

    /// Takes away what this round made, by a person's word where nobody saw it go.
    async fn end(&mut self) {
        // It may have ended between the two words.
        self.keep(true).await;
        let world = &self.rig.world;
        for dir in [self.linked(), self.topic()].iter().filter(|dir| dir.exists()) {
            world.git(&["worktree", "remove", "--force", &dir.to_string_lossy()]);
        }
        for name in ["t", "r"] {
            world.git(&["update-ref", "-d", &format!("refs/heads/{name}{}", self.n)]);
        }
        until("what it made is gone", async || {
            self.collect().await;
            world.service_names().await == ["jane-doe-main", "production"]
        })
        .await;
    }
}

/// Says whether the daemon said so, and not its end.
fn is_answer(status: &tonic::Status) -> bool {
    !status.details().is_empty()
}

fn spawn(rig: &Rig, point: &str) -> Child {
    let mut command = rig.world.command();
    command.env("LAKEBASE_TEST_DIE_AT", point);
    command.spawn().expect("it starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pr_01_ended_at_any_fail_point_it_leaves_no_intent_and_no_branch_too_many() {
    let mut rig = Rig::new(Limits::default()).await;
    rig.world
        .configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_REAP_GRACE=\"0\"\n");
    rig.world.start().await;
    rig.world.register().await;
    rig.world.branch(&rig.world.main()).await;
    let main = rig.uid("jane-doe-main").await;
    for (n, point) in points().iter().enumerate() {
        rig.world.shut_down().await;
        let mut story = Story::begin(&rig, point, n).await;
        story.run().await;
        assert!(story.has_ended(), "no story reaches `{point}`");
        let [one, two] = story.branches();
        let before = [rig.uid(&one).await, rig.uid(&two).await];
        let next = rig.world.command().spawn().expect("it starts");
        story.daemon = next;
        story.serves().await;
        story.look().await;
        story.check(&before).await;
        story.end().await;
        assert_eq!(rig.uid("jane-doe-main").await, main, "{point}");
        let daemon = story.daemon;
        rig.world.take(daemon);
    }
}
