//! A client that hides nothing: a request as text, and the answer as it came.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Answer {
    /// The message of a refusal, without its trace id.
    pub(crate) fn message(&self) -> &str {
        let message = self.body["message"].as_str().unwrap_or_default();
        message.split(" [TraceId: ").next().unwrap_or_default()
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error_code"].as_str().unwrap_or_default()
    }
}

/// Sends one request and reads the answer by its `Content-Length`.
pub(crate) async fn send(url: &str, method: &str, path: &str, token: Option<&str>, body: &str) -> Answer {
    let auth = token.map(|token| format!("Bearer {token}"));
    send_as(url, method, path, auth.as_deref(), body).await
}

/// The same, with a whole `Authorization`.
pub(crate) async fn send_as(url: &str, method: &str, path: &str, auth: Option<&str>, body: &str) -> Answer {
    let host = url.strip_prefix("http://").expect("the API is served over http");
    let mut stream = TcpStream::connect(host).await.unwrap();
    let auth = auth.map_or(String::new(), |auth| format!("Authorization: {auth}\r\n"));
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{auth}Content-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let head = head.to_ascii_lowercase();
    let length: usize = header(&head, "content-length")
        .expect("a content length")
        .parse()
        .unwrap();
    assert_eq!(body.len(), length);
    Answer {
        status,
        body: serde_json::from_str(body).unwrap_or(Value::Null),
        head,
    }
}

/// Finds a header in a head of lower-case letters.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value)
        .next()
}
