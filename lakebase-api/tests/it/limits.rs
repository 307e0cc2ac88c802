//! Answers that are too large, and tokens that must not travel.

use std::process::Command;

use lakebase_api::{Error, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wiremock::ResponseTemplate;

use crate::server::{BRANCH, POSTGRES, client_at, quick, sent, serve};

#[tokio::test]
async fn sec_13_redirects_are_refused_and_the_token_stays_at_home() {
    for status in [301, 302, 303, 307, 308] {
        let (elsewhere, _) = serve(vec![ResponseTemplate::new(200)]).await;
        let target = format!("{}{POSTGRES}/{BRANCH}", elsewhere.uri());
        let (server, client) = serve(vec![
            ResponseTemplate::new(status).insert_header("location", target),
        ])
        .await;
        let error = client.branch(&BRANCH.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::Unintelligible { .. }), "{error:?}");
        assert!(error.to_string().contains("redirect"), "{error}");
        assert_eq!(sent(&server).await.len(), 1);
        assert!(
            sent(&elsewhere).await.is_empty(),
            "nothing may reach the other host"
        );
    }
}

#[tokio::test]
async fn cp_08_an_answer_that_declares_too_much_is_not_read() {
    let (_server, client) = serve(vec![
        ResponseTemplate::new(200).set_body_bytes(vec![b' '; 64 * 1024 + 1]),
    ])
    .await;
    let error = client.branch(&BRANCH.parse().unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("larger than 65536 bytes"), "{error}");
}

#[tokio::test]
async fn cp_08_an_answer_without_an_end_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let writing = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(socket.read(&mut request).await.unwrap() > 0);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let piece = format!("1000\r\n{}\r\n", " ".repeat(4096));
        let mut written = 0_usize;
        while socket.write_all(piece.as_bytes()).await.is_ok() {
            written += 4096;
        }
        written
    });
    let limits = Limits {
        answer_bytes: 1024 * 1024,
        ..quick()
    };
    let error = client_at(&format!("http://{address}"), limits)
        .branch(&BRANCH.parse().unwrap())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("larger than 1048576 bytes"), "{error}");
    let written = writing.await.unwrap();
    assert!(written >= 1024 * 1024, "{written}");
}

#[tokio::test]
async fn an_answer_of_just_the_limit_is_read() {
    let mut body = crate::server::branch(BRANCH).to_string();
    body.push_str(&" ".repeat(64 * 1024 - body.len()));
    let (_server, client) = serve(vec![ResponseTemplate::new(200).set_body_string(body)]).await;
    client.branch(&BRANCH.parse().unwrap()).await.unwrap();
}

/// Runs one test of this binary again in a process with these variables.
fn passes_with(variables: &[(&str, &str)]) -> bool {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args(["--exact", "headers::headers_are_those_of_a_public_client"])
        .env_remove("NO_PROXY")
        .env_remove("no_proxy");
    let output = again.envs(variables.iter().copied()).output().unwrap();
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed")
}

#[test]
fn this_machine_is_reached_without_a_proxy() {
    let nowhere = "http://127.0.0.1:9";
    assert!(passes_with(&[
        ("HTTP_PROXY", nowhere),
        ("http_proxy", nowhere),
        ("ALL_PROXY", nowhere)
    ]));
}

#[test]
fn this_machine_is_reached_without_certificates() {
    assert!(passes_with(&[
        ("SSL_CERT_FILE", "/nonexistent"),
        ("SSL_CERT_DIR", "/nonexistent")
    ]));
}

#[tokio::test]
async fn cp_05_a_host_that_does_not_speak_tls_is_not_sent_the_token() {
    let (server, _) = serve(vec![ResponseTemplate::new(200)]).await;
    let client = client_at(&server.uri().replace("http://", "https://"), quick());
    let error = client.branch(&BRANCH.parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Offline { sent: false, .. }), "{error:?}");
    assert!(sent(&server).await.is_empty());
}
