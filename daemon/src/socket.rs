//! The socket: who may be the daemon, where it listens, and who may speak to it. Lock, then unlink, then bind; each peer is
//! checked before a byte of its is read.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long the lock of a daemon that was killed may be held by a child of its that has not become another program yet.
const LINGERING: Duration = Duration::from_millis(500);

/// How long the accept loop rests when the process has no file descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Why the daemon cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon holds the lock.
    #[error("lakebased is running already")]
    AlreadyRunning,
    /// A directory is not ours alone.
    #[error("cannot trust `{dir}`: {why}")]
    Untrusted {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file system refused.
    #[error("cannot use `{path}`")]
    Io {
        /// What was used.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Held by the one daemon of a state directory, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

/// Takes the lock of a state directory.
///
/// # Errors
/// `AlreadyRunning` when another daemon has it.
pub(crate) fn lock(state_dir: &Path) -> Result<Lock, SocketError> {
    let path = state_dir.join("lakebased.lock");
    let io = |source| SocketError::Io {
        path: path.clone(),
        source,
    };
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .map_err(io)?;
    let deadline = Instant::now() + LINGERING;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => return Err(SocketError::AlreadyRunning),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
    }
}

/// Makes a directory that only we can enter, or checks that the one that is there is such a one.
///
/// # Errors
/// `Untrusted` when it belongs to somebody else, is a link, or lets others in.
pub fn private_dir(dir: &Path) -> Result<(), SocketError> {
    let io = |source| SocketError::Io {
        path: dir.to_owned(),
        source,
    };
    let untrusted = |why| SocketError::Untrusted {
        dir: dir.to_owned(),
        why,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io)?;
    let meta = fs::symlink_metadata(dir).map_err(io)?;
    if !meta.is_dir() {
        return Err(untrusted("it is not a directory"));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(untrusted("it belongs to another user"));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(untrusted("others can write in it; run `chmod 700` on it"));
    }
    Ok(())
}

/// Listens on a path, over what a daemon that is gone may have left there.
///
/// # Errors
/// `AlreadyRunning` when somebody answers there: a daemon with another state directory.
pub(crate) async fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    private_dir(path.parent().unwrap_or(Path::new(".")))?;
    if UnixStream::connect(path).await.is_ok() {
        return Err(SocketError::AlreadyRunning);
    }
    let io = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io)?;
    Ok(listener)
}

/// Accepts connections of our own user and hands them on, until `stop`. Out of file descriptors it rests instead of
/// spinning.
pub(crate) async fn accept(
    listener: UnixListener,
    streams: mpsc::Sender<io::Result<UnixStream>>,
    stop: CancellationToken,
) {
    let us = rustix::process::geteuid().as_raw();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if stream.peer_cred().is_ok_and(|peer| peer.uid() == us) => {
                if streams.send(Ok(stream)).await.is_err() {
                    return;
                }
            }
            Ok((stream, _)) => {
                let uid = stream.peer_cred().map(|peer| peer.uid()).ok();
                tracing::warn!(uid, "refused a connection of another user");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_daemon_gets_the_lock() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let first = lock(dir.path()).expect("nobody has it");
        assert!(matches!(lock(dir.path()), Err(SocketError::AlreadyRunning)));
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }

    #[test]
    fn a_directory_that_others_can_write_in_is_not_trusted() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let open = dir.path().join("open");
        fs::create_dir(&open).expect("made");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).expect("changed");
        assert!(matches!(private_dir(&open), Err(SocketError::Untrusted { .. })));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).expect("made");
        assert!(matches!(private_dir(&link), Err(SocketError::Untrusted { .. })));
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("run/l.sock");
        drop(bind(&path).await.expect("nothing is there"));
        let live = bind(&path).await.expect("what is there is stale");
        assert!(matches!(bind(&path).await, Err(SocketError::AlreadyRunning)));
        assert_eq!(fs::metadata(&path).expect("it is there").mode() & 0o777, 0o600);
        drop(live);
    }
}
