//! Whether a process answers: an HTTP answer other than an error, or a port that takes connections.

use hyper::Request;
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const LOOK: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(2);
const AT_ONCE: Duration = Duration::from_millis(300);
const IPV4: &str = "127.0.0.1";
const IPV6: &str = "::1";

/// What to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probe {
    Http(hyper::Uri),
    Port(u16),
    /// There is nothing to ask: it is ready when it has not ended at once.
    Nothing,
}

/// Where a process answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    AsNamed,
    /// On this machine, but by IPv6: what a server that is told `localhost` makes of it is the system's choice.
    OnIpv6,
}

/// Waits until the process answers.
pub(crate) async fn answers(probe: Probe) -> Answer {
    loop {
        if let Some(answer) = ask(&probe, PATIENCE).await {
            return answer;
        }
        sleep(LOOK).await;
    }
}

/// Asks once; `None`: it does not answer.
pub(crate) async fn ask(probe: &Probe, patience: Duration) -> Option<Answer> {
    let ask_all = async {
        for (host, answer) in hosts(probe) {
            if matches!(ask_at(probe, host).await, Ok(true)) {
                return Some(answer);
            }
        }
        None
    };
    timeout(patience, ask_all).await.ok().flatten()
}

/// Where to ask, one after the other.
fn hosts(probe: &Probe) -> Vec<(&str, Answer)> {
    let named = match probe {
        Probe::Http(uri) => uri.host().unwrap_or(IPV4),
        Probe::Port(_) | Probe::Nothing => IPV4,
    };
    match named.trim_start_matches('[').trim_end_matches(']') {
        IPV4 | "localhost" => vec![(IPV4, Answer::AsNamed), (IPV6, Answer::OnIpv6)],
        IPV6 => vec![(IPV6, Answer::OnIpv6)],
        other => vec![(other, Answer::AsNamed)],
    }
}

async fn ask_at(probe: &Probe, host: &str) -> anyhow::Result<bool> {
    match probe {
        Probe::Nothing => {
            sleep(AT_ONCE).await;
            Ok(true)
        }
        Probe::Port(port) => Ok(TcpStream::connect((host, *port)).await.is_ok()),
        Probe::Http(uri) => ask_http(uri, host).await,
    }
}

async fn ask_http(uri: &hyper::Uri, host: &str) -> anyhow::Result<bool> {
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri
        .authority()
        .map_or("localhost", |authority| authority.as_str());
    let request = Request::get(path).header("host", authority).body(String::new())?;
    let mut answer = pin!(sender.send_request(request));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // A server that closes it at once has answered, too.
        _ = connection => answer.await,
    };
    let status = answer?.status();
    Ok(status.is_success() || status.is_redirection())
}
