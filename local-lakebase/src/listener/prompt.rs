//! A client's socket that acknowledges at once while the client shows who it is.
//!
//! Some drivers (sqlx among them) end the TLS handshake in two small packets and leave Nagle's algorithm on, so that the
//! second packet waits for the acknowledgement of the first, and Linux keeps that back for 40 ms: longer than a compute
//! takes to wake. Decides nothing and reads nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Debug)]
pub(super) struct Prompt {
    stream: TcpStream,
    is_prompt: bool,
}

impl Prompt {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            is_prompt: true,
        }
    }

    /// Leaves acknowledgements to the system from now on: they cost a packet each.
    pub(super) fn relax(&mut self) {
        self.is_prompt = false;
    }

    /// The system falls back to delaying after every answer, so it has to be told after every read.
    #[cfg(target_os = "linux")]
    fn acknowledge(&self) {
        if let Err(error) = rustix::net::sockopt::set_tcp_quickack(&self.stream, true) {
            tracing::trace!(%error, "cannot acknowledge at once");
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn acknowledge(&self) {}
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.is_prompt && polled.is_ready() {
            self.acknowledge();
        }
        polled
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::tcp_quickack;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Says whether a question would be acknowledged at once after some talk to and fro.
    async fn acknowledges(is_prompt: bool) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut server = Prompt::new(listener.accept().await.unwrap().0);
        if !is_prompt {
            server.relax();
        }
        for _ in 0..3 {
            client.write_all(b"?").await.unwrap();
            server.read_exact(&mut [0; 1]).await.unwrap();
            server.write_all(b"!").await.unwrap();
            client.read_exact(&mut [0; 1]).await.unwrap();
        }
        client.write_all(b"?").await.unwrap();
        server.read_exact(&mut [0; 1]).await.unwrap();
        tcp_quickack(&server.stream).unwrap()
    }

    #[tokio::test]
    async fn what_a_client_says_is_acknowledged_at_once_until_it_is_known() {
        assert!(acknowledges(true).await);
        assert!(!acknowledges(false).await);
    }
}
