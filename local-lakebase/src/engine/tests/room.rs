//! Room: on the disk, and for running computes.

use super::*;
use std::process::Command;

fn with_limit(scratch: &Scratch, running_computes: usize) -> EngineConfig {
    EngineConfig {
        data_dir: scratch.dir.path().join("data"),
        pg_bindir: pg_bindir(),
        suspend_timeout: Duration::from_mins(5),
        running_computes,
    }
}

#[tokio::test]
async fn the_compute_that_was_used_least_lately_makes_room() {
    let scratch = Scratch::new();
    let engine = Engine::open(with_limit(&scratch, 2)).await.expect("opened");
    let [root, first, second] = ["br-root", "br-first", "br-second"].map(key);
    engine.create_root(&root, CREATOR).await.expect("made");
    for child in [&first, &second] {
        engine
            .fork(&root, child, Durability::Ephemeral, None)
            .await
            .expect("forked");
    }
    drop(engine.connect(&first).await.expect("it wakes"));
    drop(engine.connect(&root).await.expect("it wakes"));
    let used = engine.connect(&second).await.expect("there is room for it");
    let running = |key: &BranchKey| engine.state(key) == ComputeState::Running;
    assert_eq!([&root, &first, &second].map(running), [true, false, true]);

    let used_too = engine.connect(&root).await.expect("it runs");
    let refused = engine.connect(&first).await.expect_err("both are in use");
    assert!(matches!(refused, EngineError::TooMany { limit: 2 }), "{refused}");
    drop(used);
    drop(engine.connect(&first).await.expect("now there is room"));
    assert_eq!([&root, &first, &second].map(running), [true, true, false]);
    drop(used_too);
    engine.shutdown().await;
}

const EXT4: [&str; 4] = ["mkfs.ext4", "-q", "-m", "0"];
const XFS: [&str; 4] = ["mkfs.xfs", "-q", "-m", "reflink=1"];
const BTRFS: [&str; 2] = ["mkfs.btrfs", "-q"];

/// A file system of its own in a file, mounted below a scratch directory. Needs root.
struct SmallDisk {
    at: std::path::PathBuf,
}

impl SmallDisk {
    fn mount(scratch: &Scratch, megabytes: u64, mkfs: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can mount a disk of its own");
            return None;
        }
        let (image, at) = (
            scratch.dir.path().join("disk.img"),
            scratch.dir.path().join("data"),
        );
        fs::create_dir(&at).expect("made");
        let file = fs::File::create(&image).expect("made");
        file.set_len(megabytes * 1024 * 1024).expect("sized");
        let run = |command: &mut Command| {
            let output = command.output().expect("installed by scripts/bootstrap");
            assert!(output.status.success(), "{command:?}: {output:?}");
        };
        run(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).args([&image, &at]));
        Some(Self { at })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.at).status());
    }
}

/// The bytes that are free where a scratch directory's data are.
fn free(scratch: &Scratch) -> u64 {
    let disk = rustix::fs::statvfs(scratch.dir.path().join("data")).expect("it is mounted");
    disk.f_bavail * disk.f_frsize
}

#[tokio::test]
async fn a_disk_without_room_refuses_a_fork_and_keeps_no_debris() {
    let scratch = Scratch::new();
    let Some(_disk) = SmallDisk::mount(&scratch, 160, &EXT4) else {
        return;
    };
    let engine = Engine::open(with_limit(&scratch, 20)).await.expect("opened");
    let root = key("br-root");
    engine
        .create_root(&root, CREATOR)
        .await
        .expect("there is room for one");
    let filler = scratch.dir.path().join("data/filler");
    let left = 20 * 1024 * 1024;
    let size = free(&scratch).saturating_sub(left);
    fs::write(&filler, vec![1; usize::try_from(size).expect("it fits")]).expect("filled");

    let refused = engine
        .fork(&root, &key("br-child"), Durability::Ephemeral, None)
        .await;
    assert!(
        matches!(refused, Err(EngineError::NoRoom { needed, free }) if needed > free),
        "{refused:?}"
    );
    assert_eq!(scratch.names_below("projects/shop"), ["br-root"]);
    execute(&engine, &root, "CREATE TABLE t AS SELECT 1").await;

    fs::remove_file(&filler).expect("removed");
    let forked = engine
        .fork(&root, &key("br-child"), Durability::Ephemeral, None)
        .await;
    forked.expect("there is room again");
    engine.shutdown().await;
}

/// The figures of the file system are not to be relied on: another process may fill the disk during the copy.
#[tokio::test]
async fn pg_05_a_disk_that_fills_up_under_a_copy_keeps_no_debris() {
    let scratch = Scratch::new();
    let Some(_disk) = SmallDisk::mount(&scratch, 160, &EXT4) else {
        return;
    };
    let engine = Engine::open(with_limit(&scratch, 20)).await.expect("opened");
    let root = key("br-root");
    engine
        .create_root(&root, CREATOR)
        .await
        .expect("there is room for one");
    execute(&engine, &root, "CREATE TABLE t AS SELECT 1::bigint AS n").await;
    let data = scratch.dir.path().join("data");
    let (projects, filler) = (data.join("projects/shop"), data.join("filler"));
    // Takes everything as soon as the copy has begun.
    let filling = std::thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::read_dir(&projects).expect("listed").count() < 2 {
            assert!(Instant::now() < deadline, "no copy began");
        }
        let (file, mut length) = (fs::File::create(&filler).expect("made"), 0);
        for step in [1 << 24, 1 << 20, 1 << 16] {
            while rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), length, step).is_ok() {
                length += step;
            }
        }
    });
    let forked = engine
        .fork(&root, &key("br-child"), Durability::Ephemeral, None)
        .await;
    filling.join().expect("filled");
    // The source may have died of it too; then the copy was tried again.
    let refused = matches!(forked, Err(EngineError::Copy(_) | EngineError::NoRoom { .. }));
    assert!(refused, "{forked:?}");
    assert_eq!(scratch.names_below("projects/shop"), ["br-root"]);
    fs::remove_file(data.join("filler")).expect("removed");
    assert_eq!(
        number(&engine, &root, "SELECT n FROM t").await,
        1,
        "the source goes on"
    );
    let again = engine
        .fork(&root, &key("br-again"), Durability::Ephemeral, None)
        .await;
    again.expect("there is room again");
    engine.shutdown().await;
}

#[tokio::test]
async fn branches_share_blocks_where_the_file_system_can() {
    for mkfs in [&XFS[..], &BTRFS[..]] {
        let scratch = Scratch::new();
        let Some(_disk) = SmallDisk::mount(&scratch, 2048, mkfs) else {
            return;
        };
        let engine = Engine::open(with_limit(&scratch, 20)).await.expect("opened");
        let root = key("br-root");
        engine.create_root(&root, CREATOR).await.expect("made");
        execute(
            &engine,
            &root,
            "CREATE TABLE t AS SELECT n FROM generate_series(1, 1000000) n",
        )
        .await;
        execute(&engine, &root, "CHECKPOINT").await;
        let before = free(&scratch);
        let child = key("br-child");
        engine
            .fork(&root, &child, Durability::Ephemeral, None)
            .await
            .expect("forked");
        let sizes = engine.sizes(&child).await.expect("measured");
        assert!(sizes.own < sizes.logical / 4, "{}: {sizes:?}", mkfs[0]);
        let taken = before.saturating_sub(free(&scratch));
        assert!(taken < sizes.logical / 2, "{}: {taken} of {sizes:?}", mkfs[0]);
        let query = "SELECT count(*) FROM t";
        assert_eq!(number(&engine, &child, query).await, 1_000_000);

        execute(&engine, &child, "UPDATE t SET n = n + 1").await;
        execute(&engine, &child, "CHECKPOINT").await;
        let after = engine.sizes(&child).await.expect("measured");
        assert!(after.own > sizes.own + 20_000_000, "{}: {after:?}", mkfs[0]);
        assert_eq!(
            number(&engine, &root, "SELECT sum(n)::bigint FROM t").await,
            500_000_500_000
        );
        engine.shutdown().await;
    }
}

#[test]
fn a_file_in_many_pieces_is_copied_and_one_in_few_is_shared() {
    let scratch = Scratch::new();
    let Some(_disk) = SmallDisk::mount(&scratch, 512, &XFS) else {
        return;
    };
    let dir = scratch.dir.path().join("data");
    let file = |name: &str| fs::File::create_new(dir.join(name)).expect("made");
    let (whole, pieces) = (file("whole"), file("pieces"));
    let block = [1; 4096];
    for n in 0..4096_u64 {
        std::os::unix::fs::FileExt::write_all_at(&whole, &block, n * 4096).expect("written");
    }
    // With holes between them no two blocks can lie in one piece.
    for n in 0..2048_u64 {
        std::os::unix::fs::FileExt::write_all_at(&pieces, &block, n * 8192).expect("written");
    }
    let is_scattered = |name: &str| {
        let file = fs::File::open(dir.join(name)).expect("opened");
        let length = file.metadata().expect("it is there").len();
        crate::storage::is_scattered(&file, length)
    };
    rustix::fs::syncfs(&whole).expect("flushed");
    assert_eq!([is_scattered("whole"), is_scattered("pieces")], [false, true]);
}
