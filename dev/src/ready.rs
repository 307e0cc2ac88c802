//! Whether a process answers: an HTTP answer other than an error, or a port that takes connections.

use hyper::Request;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(2);
const AT_ONCE: Duration = Duration::from_millis(300);

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe {
    Http(hyper::Uri),
    Port(u16),
    /// There is nothing to ask: it is ready when it has not ended at once.
    Nothing,
}

/// Waits until the process answers.
pub(crate) async fn answers(probe: Probe) {
    loop {
        let answer = timeout(PATIENCE, ask(&probe)).await;
        if matches!(answer, Ok(Ok(true))) {
            return;
        }
        sleep(LOOK).await;
    }
}

async fn ask(probe: &Probe) -> anyhow::Result<bool> {
    match probe {
        Probe::Nothing => {
            sleep(AT_ONCE).await;
            Ok(true)
        }
        Probe::Port(port) => Ok(TcpStream::connect(("127.0.0.1", *port)).await.map(drop).is_ok()),
        Probe::Http(uri) => ask_http(uri).await,
    }
}

async fn ask_http(uri: &hyper::Uri) -> anyhow::Result<bool> {
    let host = uri.host().unwrap_or("127.0.0.1");
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri
        .authority()
        .map_or("localhost", |authority| authority.as_str());
    let request = Request::get(path).header("host", authority).body(String::new())?;
    tokio::select! {
        answer = sender.send_request(request) => {
            let status = answer?.status();
            Ok(status.is_success() || status.is_redirection())
        }
        _ = connection => Ok(false),
    }
}
