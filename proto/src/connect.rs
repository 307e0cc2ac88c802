//! Connects to the daemon. Checks that the other end runs as the same user before a byte is sent; starts nothing.

use crate::v1::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

/// The metadata key that every call carries, whatever its value: a web page that reaches the socket by a detour does not know
/// it.
pub const CLIENT_KEY: &str = "lakebase-client";

/// The only `:authority` that the daemon answers to. HTTP/2 wants one, and a socket path is not one.
pub const AUTHORITY: &str = "localhost";

/// A client of the daemon.
pub type Client = ControlClient<InterceptedService<Channel, Introduce>>;

/// Adds [`CLIENT_KEY`] to a call.
#[derive(Debug, Clone, Copy)]
pub struct Introduce;

impl Interceptor for Introduce {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = tonic::metadata::MetadataValue::from_static(env!("CARGO_PKG_VERSION"));
        request.metadata_mut().insert(CLIENT_KEY, value);
        Ok(request)
    }
}

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
pub async fn connect(socket: &Path, patience: Duration) -> Result<Client, ConnectError> {
    let attempt = async {
        let stream = open(socket).await?;
        channel(stream).await
    };
    match tokio::time::timeout(patience, attempt).await {
        Ok(result) => result.map(|channel| ControlClient::with_interceptor(channel, Introduce)),
        Err(_) => Err(ConnectError::TimedOut {
            socket: socket.to_owned(),
            waited: patience,
        }),
    }
}

/// The pause before another try when too many others are waiting to be let in.
const CROWDED: Duration = Duration::from_millis(5);

async fn open(socket: &Path) -> Result<UnixStream, ConnectError> {
    let stream = loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => break stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(CROWDED).await,
            Err(error) => return Err(cannot_open(socket, error)),
        }
    };
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

fn cannot_open(socket: &Path, source: io::Error) -> ConnectError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ConnectError::NotRunning(socket.to_owned())
        }
        _ => ConnectError::Io {
            socket: socket.to_owned(),
            source,
        },
    }
}

/// Makes a channel of one open stream. It is used once: when it breaks, calls fail, and the caller connects anew.
async fn channel(stream: UnixStream) -> Result<Channel, ConnectError> {
    let mut stream = Some(stream);
    let endpoint = Endpoint::from_shared(format!("http://{AUTHORITY}"))?;
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
