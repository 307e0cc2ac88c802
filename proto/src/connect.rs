//! Connects to the daemon. Checks that the other end runs as the same user before a byte is sent; starts nothing.

use crate::v1::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens: the daemon is not running.
    #[error("cannot reach lakebased at `{0}`: it is not running")]
    NotRunning(PathBuf),
    /// Somebody may listen, but did not answer in time.
    #[error("cannot reach lakebased at `{socket}`: no answer within {waited:?}")]
    TimedOut {
        /// The socket that was tried.
        socket: PathBuf,
        /// How long it was tried.
        waited: Duration,
    },
    /// Another user listens at our path: nothing was sent.
    #[error("cannot trust `{socket}`: it is served by user {uid}")]
    ForeignServer {
        /// The socket that was tried.
        socket: PathBuf,
        /// Who listens there.
        uid: u32,
    },
    /// The socket cannot be opened for another reason.
    #[error("cannot open `{socket}`")]
    Io {
        /// The socket that was tried.
        socket: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The connection was made, and then HTTP/2 failed on it.
    #[error("cannot speak to lakebased")]
    Transport(#[from] tonic::transport::Error),
}

/// Returns a client of the daemon behind `socket`. `patience` bounds the time to connect, not that of later calls.
///
/// # Errors
/// [`ConnectError`]; `NotRunning` when nobody listens.
pub async fn connect(socket: &Path, patience: Duration) -> Result<ControlClient<Channel>, ConnectError> {
    let attempt = async {
        let stream = open(socket).await?;
        channel(stream).await
    };
    match tokio::time::timeout(patience, attempt).await {
        Ok(result) => result.map(ControlClient::new),
        Err(_) => Err(ConnectError::TimedOut {
            socket: socket.to_owned(),
            waited: patience,
        }),
    }
}

async fn open(socket: &Path) -> Result<UnixStream, ConnectError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ConnectError::NotRunning(socket.to_owned())
            }
            _ => ConnectError::Io {
                socket: socket.to_owned(),
                source,
            },
        })?;
    let peer = stream.peer_cred().map_err(|source| ConnectError::Io {
        socket: socket.to_owned(),
        source,
    })?;
    if peer.uid() != rustix::process::geteuid().as_raw() {
        return Err(ConnectError::ForeignServer {
            socket: socket.to_owned(),
            uid: peer.uid(),
        });
    }
    Ok(stream)
}

/// Makes a channel of one open stream. It is used once: when it breaks, calls fail, and the caller connects anew.
async fn channel(stream: UnixStream) -> Result<Channel, ConnectError> {
    let mut stream = Some(stream);
    // HTTP/2 wants an authority; a socket path is not one.
    let endpoint = Endpoint::from_static("http://localhost");
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(stream.map(TokioIo::new))
    });
    Ok(endpoint.connect_with_connector(connector).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_listening_is_not_running() {
        let result = connect(Path::new("/nonexistent/l.sock"), Duration::from_secs(1)).await;
        assert!(matches!(result, Err(ConnectError::NotRunning(_))), "{result:?}");
    }
}
