//! Where no secret may be: a story is told with every log at its loudest, and then everything that it left is searched.

use crate::world::{World, bytes, until};
use lakebase_proto::v1;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

const CANARY: &str = "CANARY_dapi0123456789abcdef";

/// Says in which files below a directory the text is.
fn holders(path: &Path, text: &str) -> Vec<PathBuf> {
    if path.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        return entries.flat_map(|entry| holders(&entry.path(), text)).collect();
    }
    let content = fs::read(path).unwrap_or_default();
    let holds = content
        .windows(text.len())
        .any(|window| window == text.as_bytes());
    holds.then(|| path.to_owned()).into_iter().collect()
}

/// The processes that the daemon started, and theirs.
fn descendants(pid: u32) -> Vec<u32> {
    let children = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<u32> = children
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect();
    pids.iter()
        .flat_map(|pid| [vec![*pid], descendants(*pid)].concat())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sec_16_no_secret_is_in_any_log_file_process_or_error() {
    let mut world = World::new().with_args(&["--metrics-period", "100", "--log-stderr", "--log", "trace"]);
    let journal = world.path("journal");
    let mut command = world.command();
    command
        .stderr(File::create(&journal).expect("made"))
        // What the user's environment holds is for no child.
        .env("GITHUB_TOKEN", CANARY);
    world.start_as(command).await;
    world.register().await;
    world.git(&["worktree", "add", "-q", "--detach", "../abc"]);
    let mut secrets = vec![CANARY.to_owned()];
    for dir in [world.main(), world.path("abc")] {
        for rotate in [false, true] {
            let path = bytes(&dir);
            let request = v1::GetCredentialRequest { path, rotate };
            let answer = world.client().await.get_credential(request).await;
            let credential = answer.expect("ready").into_inner();
            assert!(!format!("{credential:?}").contains(&credential.password));
            secrets.push(credential.password);
        }
    }
    let profile = fs::read_to_string(world.path("local/databrickscfg")).expect("readable");
    let token = profile.lines().find_map(|line| line.strip_prefix("token = "));
    secrets.push(token.expect("a token").to_owned());

    // Errors: a repository whose branches are on a workspace that cannot be reached.
    let cfg = format!("[away]\nhost = https://127.0.0.1:9\ntoken = {CANARY}\n");
    fs::write(world.path("databrickscfg"), cfg).expect("written");
    world.configure("LAKEBASE_PROJECT_ID=\"shop\"\nLAKEBASE_PROFILE=\"away\"\n");
    world.trust().await;
    let said = format!(
        "{:?} {:?}",
        world.repository().await,
        world.credential(&world.main()).await
    );
    assert!(said.contains("Connection refused"), "{said}");

    let children = descendants(world.pid());
    assert!(!children.is_empty(), "no compute runs");
    for secret in &secrets {
        assert!(!said.contains(secret), "an error tells a secret: {said}");
        for place in [world.path("state"), journal.clone(), world.path("run")] {
            assert_eq!(holders(&place, secret), Vec::<PathBuf>::new());
        }
        for pid in children.iter().chain([&world.pid()]) {
            let argv = holders(Path::new(&format!("/proc/{pid}/cmdline")), secret);
            assert!(argv.is_empty(), "{argv:?}");
        }
        for pid in &children {
            let environment = holders(Path::new(&format!("/proc/{pid}/environ")), secret);
            assert!(environment.is_empty(), "{environment:?}");
        }
    }
    assert!(fs::metadata(&journal).expect("there").len() > 1000, "it logs");
    for place in [world.path("state/log"), journal] {
        let coloured = holders(&place, "\\u{1b}");
        assert!(coloured.is_empty(), "colour for a terminal in {coloured:?}");
    }
    let shown = holders(&world.path("local/databrickscfg"), &secrets[5]);
    assert_eq!(shown.len(), 1, "the search finds what is there");
}

#[tokio::test]
async fn sec_17_the_process_leaves_no_core_and_lets_nobody_look_in() {
    let world = World::new().without_postgres();
    let mut command = world.command();
    if rustix::process::geteuid().is_root() {
        // Root may look into everything; what keeps others out shows with one of them.
        for dir in ["state", "run", "local"] {
            fs::create_dir(world.path(dir)).expect("made");
            std::os::unix::fs::chown(world.path(dir), Some(65534), Some(65534)).expect("given");
        }
        command.uid(65534).gid(65534);
    }
    let mut child = command.spawn().expect("it starts");
    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let metrics = world.path("state/metrics.prom");
    until("it serves", async || metrics.exists()).await;
    let limits = fs::read_to_string(proc.join("limits")).expect("readable");
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let mut fields = core.expect("a limit").split_whitespace().skip(4);
    assert_eq!((fields.next(), fields.next()), (Some("0"), Some("0")));
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let mut fields = files.expect("a limit").split_whitespace().skip(3);
    assert_eq!(fields.next(), fields.next(), "all that it may have");
    // The files about a process that may not be looked into belong to root.
    let owner = fs::metadata(proc.join("environ")).expect("there").uid();
    assert_eq!(owner, 0, "its memory can be read by its user");
    child.kill().expect("killed");
    child.wait().expect("it was ours");
}
