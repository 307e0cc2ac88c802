//! What a supervisor as systemd is told: that the daemon serves, that it is still well, that it ends. Well means that a call
//! through its own socket is answered; a daemon that hangs says nothing, and its supervisor starts it anew.

use crate::metrics;
use lakebase_proto::{connect, v1};
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the daemon asks itself when no supervisor wants it more often.
const CHECK: Duration = Duration::from_secs(20);

/// How long its own answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who is told, by systemd's protocol: one line in a datagram.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    /// `NOTIFY_SOCKET`: a path, or a name that begins with `@`.
    pub notify_socket: Option<OsString>,
    /// `WATCHDOG_USEC`: after this long without a word the daemon is taken for dead.
    pub watchdog: Option<Duration>,
}

impl Supervisor {
    pub(crate) fn ready(&self) {
        self.tell("READY=1");
    }

    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Asks the daemon behind the socket who it is, every so often, and passes on that it answered.
    pub(crate) async fn watch(self, socket: PathBuf) {
        let period = self.watchdog.map_or(CHECK, |watchdog| watchdog / 3);
        loop {
            match ask(&socket).await {
                Ok(()) => self.tell("WATCHDOG=1"),
                Err(error) => {
                    metrics::FAILED_CHECKS.count();
                    tracing::error!(error, "the daemon does not answer itself");
                }
            }
            tokio::time::sleep(period).await;
        }
    }

    fn tell(&self, what: &str) {
        if let Err(error) = self.try_tell(what) {
            tracing::warn!(%error, "cannot tell the supervisor");
        }
    }

    fn try_tell(&self, what: &str) -> io::Result<()> {
        let Some(name) = &self.notify_socket else {
            return Ok(());
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(what.as_bytes(), &address(name)?)?;
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn address(name: &std::ffi::OsStr) -> io::Result<std::os::unix::net::SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => std::os::unix::net::SocketAddr::from_abstract_name(name),
        None => std::os::unix::net::SocketAddr::from_pathname(name),
    }
}

#[cfg(not(target_os = "linux"))]
fn address(name: &std::ffi::OsStr) -> io::Result<std::os::unix::net::SocketAddr> {
    std::os::unix::net::SocketAddr::from_pathname(name)
}

async fn ask(socket: &Path) -> Result<(), String> {
    let asked = async {
        let mut client = connect(socket, PATIENCE)
            .await
            .map_err(|error| error.to_string())?;
        let answer = client.get_daemon_info(v1::GetDaemonInfoRequest {}).await;
        answer.map_err(|status| status.message().to_owned())
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    let info = answer.map_err(|_| "no answer in time".to_owned())??.into_inner();
    if info.pid == std::process::id().cast_signed() {
        Ok(())
    } else {
        Err(format!("process {} answers instead", info.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_is_told_at_a_path_or_a_name_and_its_absence_is_no_error() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let path = dir.path().join("notify");
        let told = UnixDatagram::bind(&path).expect("bound");
        let of = |name: OsString| Supervisor {
            notify_socket: Some(name),
            watchdog: None,
        };
        of(path.into()).ready();
        let mut text = [0; 32];
        let length = told.recv(&mut text).expect("told");
        assert_eq!(&text[..length], b"READY=1");
        Supervisor::default()
            .try_tell("READY=1")
            .expect("nobody is there");
        assert!(of("/nonexistent".into()).try_tell("READY=1").is_err());
        if cfg!(target_os = "linux") {
            let name = format!("@lakebased-test-{}", std::process::id());
            let told = UnixDatagram::bind_addr(&address(name.as_ref()).expect("a name")).expect("bound");
            of(name.into()).stopping();
            let length = told.recv(&mut text).expect("told");
            assert_eq!(&text[..length], b"STOPPING=1");
        }
    }
}
