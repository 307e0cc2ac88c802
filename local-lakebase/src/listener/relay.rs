//! Between an admitted client and its compute: the compute's greeting is judged before the client gets it, and from then
//! on bytes pass unread.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::greeting::{Greeting, Progress, Untrusted};
use super::packet;
use super::startup::{CancelKey, Startup};

const BUFFER: usize = 64 * 1024;

/// More than any greeting has.
const MAX_GREETING: usize = 256 * 1024;

/// Longest time that a compute may take for its greeting. It is generous: a login waits for `CREATE DATABASE … TEMPLATE`
/// of its database, and PostgreSQL lets clients ask for a pause (`post_auth_delay`).
const GREETING_TIMEOUT: Duration = Duration::from_mins(2);

/// How long a client may stay after its compute has hung up. It would otherwise count as a session for ever.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Outcome of a login at a compute. The client has got the greeting.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Introduced {
    /// A session of the checked user, and the key that cancels its queries.
    Open(Option<CancelKey>),
    /// The compute refused the session, and the client knows why.
    Refused,
}

/// Reason why a client got no greeting.
#[derive(Debug, thiserror::Error)]
pub(super) enum IntroduceError {
    #[error("the compute broke off: {0}")]
    Compute(io::Error),
    #[error("the compute did not greet within {GREETING_TIMEOUT:?}")]
    Timeout,
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("the client disconnected: {0}")]
    Client(io::Error),
}

/// Logs the checked user in at a compute and passes the greeting back, up to the point where the client may speak.
pub(super) async fn introduce(
    client: &mut (impl AsyncWrite + Unpin),
    compute: &mut UnixStream,
    startup: &Startup,
) -> Result<Introduced, IntroduceError> {
    let greeted = timeout(GREETING_TIMEOUT, log_in(compute, startup)).await;
    let (greeting, introduced) = greeted.map_err(|_| IntroduceError::Timeout)??;
    let passed_on = async {
        client.write_all(&greeting).await?;
        client.flush().await
    };
    passed_on.await.map_err(IntroduceError::Client)?;
    Ok(introduced)
}

async fn log_in(
    compute: &mut UnixStream,
    startup: &Startup,
) -> Result<(Vec<u8>, Introduced), IntroduceError> {
    let packet = startup.encode();
    compute.write_all(&packet).await.map_err(broke_off)?;
    let mut greeting = Greeting::new(startup.user());
    let mut bytes = Vec::with_capacity(1024);
    loop {
        let (kind, start) = read_message(compute, &mut bytes).await?;
        match greeting.take(kind, &bytes[start..])? {
            Progress::Incomplete => {}
            Progress::Open(key) => return Ok((bytes, Introduced::Open(key))),
            Progress::Refused => return Ok((bytes, Introduced::Refused)),
        }
    }
}

/// Appends the next message to those that were read, and returns its type and where its body starts.
async fn read_message(compute: &mut UnixStream, bytes: &mut Vec<u8>) -> Result<(u8, usize), IntroduceError> {
    let mut header = [0; 5];
    compute.read_exact(&mut header).await.map_err(broke_off)?;
    let room = MAX_GREETING.saturating_sub(bytes.len());
    let (kind, length) = packet::message_rest(header, room).map_err(broke_off)?;
    bytes.extend(header);
    let start = bytes.len();
    bytes.resize(start + length, 0);
    let body = &mut bytes[start..];
    compute.read_exact(body).await.map_err(broke_off)?;
    Ok((kind, start))
}

fn broke_off(error: impl Into<Box<dyn Error + Send + Sync>>) -> IntroduceError {
    IntroduceError::Compute(io::Error::other(error))
}

/// Passes bytes both ways until one side has ended.
pub(super) async fn relay(client: &mut (impl AsyncRead + AsyncWrite + Unpin), compute: UnixStream) {
    let hung_up = Arc::new(Notify::new());
    let mut compute = Compute {
        stream: compute,
        hung_up: hung_up.clone(),
    };
    let copied = tokio::select! {
        copied = copy_bidirectional_with_sizes(client, &mut compute, BUFFER, BUFFER) => copied.is_ok(),
        () = after(&hung_up) => false,
    };
    tracing::trace!(cleanly = copied, "session ended");
}

async fn after(hung_up: &Notify) {
    hung_up.notified().await;
    tokio::time::sleep(AFTERWARDS).await;
}

/// A compute's stream that says when the compute has ended its side.
struct Compute {
    stream: UnixStream,
    hung_up: Arc<Notify>,
}

impl AsyncRead for Compute {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if polled.is_ready() && buffer.filled().len() == before {
            self.hung_up.notify_one();
        }
        polled
    }
}

impl AsyncWrite for Compute {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::super::startup;
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![kind];
        message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        message.extend(body);
        message
    }

    fn startup() -> Startup {
        let packet = b"\0\x03\0\0database\0shop\0user\0jane\0\0";
        match startup::opening(packet) {
            Ok(startup::Opening::Startup(startup)) => startup,
            other => panic!("{other:?}"),
        }
    }

    fn settings(user: &str, is_superuser: &str) -> Vec<u8> {
        let status = |name: &str, value: &str| message(b'S', format!("{name}\0{value}\0").as_bytes());
        [
            message(b'R', &[0; 4]),
            status("is_superuser", is_superuser),
            status("session_authorization", user),
        ]
        .concat()
    }

    /// Serves one login as a compute that sends these bytes; returns what came of it and what the client got.
    async fn greet(greeting: &[u8]) -> (Result<Introduced, IntroduceError>, Vec<u8>) {
        let (mut compute, mut server) = UnixStream::pair().unwrap();
        let (mut client, startup) = (Vec::new(), startup());
        let introducing = async {
            let introduced = introduce(&mut client, &mut compute, &startup).await;
            drop(compute);
            introduced
        };
        let greeting = async {
            let mut packet = vec![0; startup.encode().len()];
            server.read_exact(&mut packet).await.unwrap();
            assert_eq!(packet, startup.encode());
            // The compute of a bad greeting finds its connection closed.
            let sent = server.write_all(greeting).await.is_ok();
            drop(server);
            sent
        };
        let (introduced, _) = tokio::join!(introducing, greeting);
        (introduced, client)
    }

    #[tokio::test]
    async fn pg_10_the_greeting_passes_and_its_cancel_key_is_noted() {
        let newer = message(b'v', b"\0\x03\0\0\0\0\0\x01_pq_.x\0");
        let rest = [message(b'K', b"12345678"), message(b'Z', b"I")].concat();
        let greeting = [newer, settings("jane", "off"), rest].concat();
        let (introduced, client) = greet(&greeting).await;
        let key = CancelKey(b"12345678".to_vec());
        assert_eq!(introduced.unwrap(), Introduced::Open(Some(key)));
        assert_eq!(client, greeting);
    }

    #[tokio::test]
    async fn an_error_of_the_compute_passes_and_ends_the_session() {
        let error = packet::fatal("28000", "role does not exist");
        let greeting = [message(b'R', &[0; 4]), error].concat();
        let (introduced, client) = greet(&[&greeting[..], &message(b'Z', b"I")].concat()).await;
        assert_eq!(introduced.unwrap(), Introduced::Refused);
        assert_eq!(client, greeting);
    }

    #[tokio::test]
    async fn pg_10_nothing_of_a_session_that_is_not_trusted_passes() {
        let ready = message(b'Z', b"I");
        let untrusted = [
            settings("cloud_admin", "off"),
            settings("jane", "on"),
            message(b'R', &[0; 4]),
            message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"),
            message(b'R', &[0, 0, 0, 3]),
        ];
        for greeting in untrusted {
            let (introduced, client) = greet(&[&greeting[..], &ready].concat()).await;
            assert!(
                matches!(introduced, Err(IntroduceError::Untrusted(_))),
                "{introduced:?}"
            );
            assert!(client.is_empty(), "{greeting:?}");
        }
    }

    #[tokio::test]
    async fn a_greeting_that_breaks_off_is_an_error() {
        let cut = greet(&settings("jane", "off")).await.0;
        assert!(matches!(cut, Err(IntroduceError::Compute(_))), "{cut:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn pg_10_a_greeting_is_bounded_in_size_and_in_time() {
        let huge = greet(b"S\x7f\xff\xff\xff").await.0;
        assert!(matches!(huge, Err(IntroduceError::Compute(_))), "{huge:?}");
        let notice = message(b'N', &vec![b'x'; 60_000]);
        let many = greet(&notice.repeat(5)).await.0;
        assert!(matches!(many, Err(IntroduceError::Compute(_))), "{many:?}");
        let (mut compute, _silent) = UnixStream::pair().unwrap();
        let late = introduce(&mut Vec::new(), &mut compute, &startup()).await;
        assert!(matches!(late, Err(IntroduceError::Timeout)), "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stays_after_its_compute_is_let_go() {
        let (compute, server) = UnixStream::pair().unwrap();
        let (mut near, mut far) = tokio::io::duplex(64);
        drop(server);
        relay(&mut near, compute).await;
        near.shutdown().await.unwrap();
        assert_eq!(far.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
