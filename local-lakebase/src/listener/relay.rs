//! Between an admitted client and its compute: the compute's greeting is read for the cancel key in it, and from
//! then on bytes pass unread.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::packet::{self, CancelKey};

const BUFFER: usize = 64 * 1024;

/// More than any greeting has.
const MAX_GREETING: usize = 256 * 1024;

/// How long a client may stay after its compute has hung up. It would otherwise count as a session for ever.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// Passes the start-up packet on and the greeting back, up to the point where the client may speak; returns what it
/// needs to cancel.
pub(super) async fn introduce(
    client: &mut (impl AsyncWrite + Unpin),
    compute: &mut UnixStream,
    startup: &[u8],
) -> io::Result<Option<CancelKey>> {
    compute.write_all(startup).await?;
    let mut greeting = Vec::with_capacity(1024);
    let mut key = None;
    loop {
        let mut header = [0; 5];
        compute.read_exact(&mut header).await?;
        let room = MAX_GREETING.saturating_sub(greeting.len());
        let (kind, length) = packet::message_rest(header, room).map_err(io::Error::other)?;
        greeting.extend(header);
        let start = greeting.len();
        greeting.resize(start + length, 0);
        compute.read_exact(&mut greeting[start..]).await?;
        match kind {
            b'R' if greeting[start..] != [0; 4] => {
                return Err(io::Error::other("the compute asks for a password"));
            }
            b'K' => key = Some(CancelKey(greeting[start..].to_vec())),
            b'Z' | b'E' => break,
            _ => {}
        }
    }
    client.write_all(&greeting).await?;
    client.flush().await?;
    Ok(key)
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
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![kind];
        message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        message.extend(body);
        message
    }

    async fn greet(greeting: &[u8]) -> (io::Result<Option<CancelKey>>, Vec<u8>) {
        let (mut compute, mut server) = UnixStream::pair().unwrap();
        let mut client = Vec::new();
        server.write_all(greeting).await.unwrap();
        server.shutdown().await.unwrap();
        let key = introduce(&mut client, &mut compute, b"startup").await;
        let mut packet = [0; 7];
        server.read_exact(&mut packet).await.unwrap();
        assert_eq!(&packet, b"startup");
        (key, client)
    }

    #[tokio::test]
    async fn the_greeting_passes_and_its_cancel_key_is_noted() {
        let greeting = [
            message(b'R', &[0; 4]),
            message(b'S', b"server_version\x0017\0"),
            message(b'K', b"12345678"),
            message(b'Z', b"I"),
        ]
        .concat();
        let (key, client) = greet(&greeting).await;
        assert_eq!(key.unwrap(), Some(CancelKey(b"12345678".to_vec())));
        assert_eq!(client, greeting);
    }

    #[tokio::test]
    async fn an_error_of_the_compute_passes_too() {
        let greeting = [
            message(b'R', &[0; 4]),
            packet::fatal("28000", "role does not exist"),
        ]
        .concat();
        let (key, client) = greet(&greeting).await;
        assert_eq!(key.unwrap(), None);
        assert_eq!(client, greeting);
    }

    #[tokio::test]
    async fn a_compute_that_breaks_off_or_asks_for_a_password_is_an_error() {
        assert!(greet(&message(b'R', &[0; 4])).await.0.is_err());
        assert!(greet(&message(b'R', &[0, 0, 0, 3])).await.0.is_err());
        assert!(greet(b"R\x7f\xff\xff\xff").await.0.is_err());
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
