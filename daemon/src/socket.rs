//! The socket: who may be the daemon, and where it listens. Lock, then unlink, then bind. Who may speak to it is decided by
//! the files below: each peer is checked before a byte of its is read.

pub(crate) mod accept;
mod arrival;
pub(crate) mod gate;

use private_dir::{DirError, Others};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};

/// The socket is for its owner.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// How many clients may wait to be accepted; the system may cut it down. A thousand hooks at once are a rebase.
const BACKLOG: i32 = 4096;

/// How often it is checked that the lock is still ours.
const LOCK_CHECK: Duration = Duration::from_millis(500);

/// How long the lock of a daemon that was killed may be held by a child of its that has not become another program yet.
const LINGERING: Duration = Duration::from_millis(500);

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
        /// What is wrong with it, and the command that helps.
        why: String,
    },
    /// The file of our lock is not there any more, so that another daemon may be at work.
    #[error("cannot go on without the lock `{0}`: it was removed or replaced")]
    LockLost(PathBuf),
    /// The file system refused.
    #[error("cannot use `{path}`")]
    Io {
        /// What was used.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl SocketError {
    /// `variable` names another directory.
    fn of(error: DirError, variable: &str) -> Self {
        let fix = error.fix(variable).unwrap_or_default();
        match error {
            DirError::Untrusted { dir, why } => Self::Untrusted {
                dir,
                why: format!("{why}; {fix}"),
            },
            DirError::Io { path, source } => Self::Io { path, source },
        }
    }
}

/// Held by the one daemon of a state directory, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    /// The lock lasts as long as this is open.
    file: File,
}

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
    let file = private_dir::lock_file(&path).map_err(io)?;
    let deadline = Instant::now() + LINGERING;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { path, file }),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => return Err(SocketError::AlreadyRunning),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
    }
}

impl Lock {
    /// Returns when the lock no longer keeps other daemons away: its file was removed or replaced.
    pub(crate) async fn lost(&self) -> SocketError {
        while self.is_held() {
            tokio::time::sleep(LOCK_CHECK).await;
        }
        SocketError::LockLost(self.path.clone())
    }

    fn is_held(&self) -> bool {
        let ours = self.file.metadata().map(|meta| Identity::of(&meta)).ok();
        ours.is_some() && ours == Identity::at(&self.path)
    }
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(meta: &fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
        }
    }

    fn at(path: &Path) -> Option<Self> {
        fs::symlink_metadata(path).ok().map(|meta| Self::of(&meta))
    }
}

/// Creates the state directory, or checks it: ours alone, and no link at it or above it within what is ours. One of ours that
/// others can read is closed to them.
///
/// # Errors
/// `Untrusted` when it belongs to another user, others can write in it, or a link leads to it.
pub fn state_dir(dir: &Path) -> Result<(), SocketError> {
    private_dir::own(dir, Others::Nothing).map_err(|error| SocketError::of(error, "LAKEBASE_STATE_DIR"))
}

/// Creates a directory that only we can enter, or checks it.
///
/// # Errors
/// `Untrusted` when it belongs to another user, is a link, or lets others in.
pub fn private_dir(dir: &Path) -> Result<(), SocketError> {
    private_dir::create(dir).map_err(|error| SocketError::of(error, "LAKEBASE_SOCKET"))
}

/// A socket that listens at a path.
#[derive(Debug)]
pub(crate) struct Bound {
    path: PathBuf,
    listener: UnixListener,
    identity: Option<Identity>,
}

/// Listens on a path, over what a daemon that is gone may have left there.
///
/// # Errors
/// `AlreadyRunning` when somebody answers there: a daemon with another state directory.
pub(crate) async fn bind(path: &Path) -> Result<Bound, SocketError> {
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
    Ok(Bound {
        listener: listen(path).map_err(io)?,
        identity: Identity::at(path),
        path: path.to_owned(),
    })
}

/// Makes the socket.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = unnamed()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::fs::chmod(path, PRIVATE)?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// A socket whose mode is set before it has a name, so that it is never open to others.
#[cfg(target_os = "linux")]
fn unnamed() -> io::Result<OwnedFd> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, PRIVATE)?;
    Ok(socket)
}

/// Elsewhere a socket has no mode before it has a name; its directory keeps others out.
#[cfg(not(target_os = "linux"))]
fn unnamed() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

impl Bound {
    /// Says whether clients that look at the path find this socket.
    fn is_in_place(&self) -> bool {
        self.identity.is_some() && self.identity == Identity::at(&self.path)
    }

    /// Puts the socket back in its place when somebody removed or replaced it.
    ///
    /// # Errors
    /// `AlreadyRunning` when another daemon listens there by now; others as in [`bind`].
    async fn keep(&mut self) -> Result<(), SocketError> {
        if self.is_in_place() {
            return Ok(());
        }
        *self = bind(&self.path).await?;
        tracing::warn!(socket = %self.path.display(), "the socket was removed or replaced, and is there again");
        Ok(())
    }

    /// Removes the socket, unless it is somebody else's by now.
    fn remove(self) {
        if self.is_in_place() {
            drop(fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_one_daemon_gets_the_lock() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let first = lock(dir.path()).expect("nobody has it");
        assert!(matches!(lock(dir.path()), Err(SocketError::AlreadyRunning)));
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }

    #[test]
    fn sec_42_no_other_user_can_open_the_lock() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("lakebased.lock");
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        let _held = lock(dir.path()).expect("free");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
    }

    #[tokio::test(start_paused = true)]
    async fn s15_a_lock_whose_file_goes_is_lost() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let held = lock(dir.path()).expect("nobody has it");
        let patience = Duration::from_secs(1);
        assert!(tokio::time::timeout(patience, held.lost()).await.is_err());
        fs::remove_file(&held.path).expect("removed");
        let other = lock(dir.path()).expect("the file is another one");
        let lost = tokio::time::timeout(patience, held.lost()).await;
        assert!(matches!(lost, Ok(SocketError::LockLost(_))));
        assert!(tokio::time::timeout(patience, other.lost()).await.is_err());
    }

    #[tokio::test]
    async fn pr_04_a_socket_that_is_gone_comes_back_and_one_that_is_taken_does_not() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let run = dir.path().join("run");
        let path = run.join("l.sock");
        let mut bound = bind(&path).await.expect("nothing is there");
        for disturb in [
            &(|| fs::remove_file(&path)) as &dyn Fn() -> io::Result<()>,
            &|| fs::remove_dir_all(&run),
            &|| fs::remove_file(&path).and_then(|()| fs::write(&path, "a file")),
        ] {
            disturb().expect("done");
            assert!(!bound.is_in_place());
            bound.keep().await.expect("it is put back");
            assert!(UnixStream::connect(&path).await.is_ok());
        }
        fs::remove_file(&path).expect("removed");
        let other = bind(&path).await.expect("nothing is there");
        assert!(matches!(bound.keep().await, Err(SocketError::AlreadyRunning)));
        bound.remove();
        assert!(other.is_in_place(), "theirs was removed");
    }

    #[tokio::test]
    async fn pr_03_a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("run/l.sock");
        drop(bind(&path).await.expect("nothing is there"));
        let live = bind(&path).await.expect("what is there is stale");
        assert!(matches!(bind(&path).await, Err(SocketError::AlreadyRunning)));
        assert_eq!(fs::metadata(&path).expect("it is there").mode() & 0o777, 0o600);
        drop(live);
    }
}
