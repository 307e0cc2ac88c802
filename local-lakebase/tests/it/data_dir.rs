//! Who else can use or replace the data directory and its lock.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use local_lakebase::{RecoverError, Recovery, StartError};

use crate::lake::{Lake, Stopped};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A start and a recovery are refused with the same command that helps; returns the reason and that command.
async fn refused(stopped: &Stopped) -> String {
    let start = stopped.try_start().await.map(drop).unwrap_err();
    assert!(matches!(start, StartError::Untrusted(_)), "{start}");
    let recovery = Recovery::examine(&stopped.data_dir())
        .await
        .map(drop)
        .unwrap_err();
    assert!(matches!(recovery, RecoverError::Untrusted(_)), "{recovery}");
    let fix = start.required_action().unwrap();
    assert_eq!(fix, recovery.fix());
    format!("{start}; {fix}")
}

#[tokio::test]
async fn sec_43_a_data_directory_that_others_can_change_is_refused_with_the_command_that_helps() {
    let stopped = Lake::start().await.halt().await;
    let dir = stopped.data_dir();
    let lock = dir.join("lock");
    assert_eq!(mode(&lock), 0o600, "no other user can hold it");
    let closed = mode(&dir);
    for open in [0o777, 0o770, 0o1777] {
        set_mode(&dir, open);
        let why = refused(&stopped).await;
        assert!(
            why.contains("others can write in it; ") && why.contains("chmod go-w"),
            "{why}"
        );
        assert_eq!(mode(&dir), open, "its mode stays");
    }
    let above = dir.parent().unwrap().to_owned();
    set_mode(&dir, 0o700);
    set_mode(&above, 0o777);
    let why = refused(&stopped).await;
    assert!(
        why.contains(&format!("chmod go-w '{}'", above.display())),
        "{why}"
    );
    set_mode(&above, 0o755);

    let moved = dir.with_extension("moved");
    fs::rename(&dir, &moved).unwrap();
    symlink(&moved, &dir).unwrap();
    assert!(refused(&stopped).await.contains("LAKEBASE_LOCAL_DIR"));
    fs::remove_file(&dir).unwrap();
    fs::rename(&moved, &dir).unwrap();

    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&dir, Some(65534), None).unwrap();
        let why = refused(&stopped).await;
        assert!(
            why.contains("belongs to another user") && why.contains("chown"),
            "{why}"
        );
        std::os::unix::fs::chown(&dir, Some(0), None).unwrap();
    }
    // One that others can only read is closed to them, and so is a lock of an earlier release.
    set_mode(&dir, 0o755);
    set_mode(&lock, 0o644);
    let lake = stopped.start().await;
    assert_eq!((mode(&dir), mode(&lock)), (closed, 0o600));
    assert_eq!(closed, if is_root { 0o711 } else { 0o700 });
    lake.stop().await;
}

#[tokio::test]
async fn sec_44_a_link_in_the_place_of_the_lock_is_not_followed() {
    let stopped = Lake::start().await.halt().await;
    let dir = stopped.data_dir();
    let victim = dir.with_extension("victim");
    fs::remove_file(dir.join("lock")).unwrap();
    symlink(&victim, dir.join("lock")).unwrap();
    assert!(matches!(
        stopped.try_start().await.map(drop),
        Err(StartError::Directory { .. })
    ));
    assert!(!victim.exists(), "nothing is created there");
    fs::remove_file(dir.join("lock")).unwrap();
    stopped.start().await.stop().await;
}
