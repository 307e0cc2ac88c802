//! A client that speaks HTTP/2 by hand, so that it can say what no library would.

use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;

pub(crate) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A frame as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Raw(pub(crate) UnixStream);

impl Raw {
    pub(crate) async fn connect(socket: &Path) -> Self {
        Self(UnixStream::connect(socket).await.expect("connected"))
    }

    /// Connects and says the preface, with so large a window for each stream.
    pub(crate) async fn greet(socket: &Path, window: u32) -> Self {
        let mut raw = Self::connect(socket).await;
        raw.send(PREFACE).await;
        let initial_window = [&[0, 4][..], &window.to_be_bytes()].concat();
        raw.send(&frame(SETTINGS, 0, 0, &initial_window)).await;
        raw
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("sent");
    }

    /// The next frame; none when the server has hung up. Settings and pings are answered on the way.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            let answer = match (frame.kind, frame.flags & ACK) {
                (SETTINGS, 0) => self::frame(SETTINGS, ACK, 0, &[]),
                (PING, 0) => self::frame(PING, ACK, 0, &frame.payload),
                _ => return Some(frame),
            };
            self.0.write_all(&answer).await.ok()?;
        }
    }

    /// Waits for a frame of this kind.
    pub(crate) async fn until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, s @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits")];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes(s),
            payload,
        })
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of a call of a method, with all that the daemon asks for.
pub(crate) fn call(stream: u32, method: &str) -> Vec<u8> {
    let path = format!("/lakebase.control.v1.Control/{method}");
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (":path", path.as_str()),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("lakebase-client", "test"),
    ] {
        for text in [name, value] {
            if text == name {
                block.push(0);
            }
            block.push(u8::try_from(text.len()).ok().filter(|n| *n < 127).expect("short"));
            block.extend(text.bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A message of one field of bytes, as most requests are.
pub(crate) fn message(stream: u32, path: &[u8]) -> Vec<u8> {
    let mut field = vec![
        0x0a,
        u8::try_from(path.len()).ok().filter(|n| *n < 128).expect("short"),
    ];
    field.extend(path);
    let mut payload = vec![0];
    payload.extend(u32::try_from(field.len()).expect("short").to_be_bytes());
    payload.extend(field);
    frame(DATA, END_STREAM, stream, &payload)
}
