//! HTTP clients that start a request and never finish it.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::send;
use crate::lake::Lake;

/// More than the server has room for.
const CLIENTS: usize = 520;

/// The server's limit on a body, and a reserve for a busy machine.
const DEADLINE: Duration = Duration::from_secs(10 + 20);

async fn unfinished(host: &str, path: &str, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: 100\r\n\r\n{{"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn ld_09_bodies_that_never_end_keep_no_other_client_out() {
    let lake = Lake::start().await;
    let url = lake.local.api_url().to_owned();
    let host = url.strip_prefix("http://").unwrap();
    let token = lake.local.token().expose_secret();
    let mut crowd = Vec::new();
    for number in 0..CLIENTS {
        let path = match number % 2 {
            0 => "/api/2.0/postgres/projects?project_id=shop",
            _ => "/oidc/v1/token",
        };
        crowd.push(unfinished(host, path, token).await);
    }
    let answer = timeout(
        DEADLINE,
        send(&url, "GET", "/api/2.0/postgres/projects", Some(token), ""),
    )
    .await;
    assert_eq!(answer.expect("an answer").status, 200);
    for stream in &mut crowd {
        let mut said = String::new();
        let ended = timeout(DEADLINE, stream.read_to_string(&mut said)).await;
        assert!(ended.expect("the server hangs up").is_ok());
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    }
    let projects = lake.ok("GET", "projects", Value::Null).await;
    assert_eq!(
        projects["projects"],
        json!([]),
        "an unfinished request made nothing"
    );
    lake.stop().await;
}
