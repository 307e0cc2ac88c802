//! Certificates that do not fit: a clock that has lost the date finds every certificate not valid yet, and a portal has one
//! of its own. The token is sent to neither.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lakebase_api::Error;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::server::{BRANCH, branch, client_at, quick};

/// Where the test in the other process finds the servers.
const SERVERS: &str = "LAKEBASE_TEST_TLS_SERVERS";
const LOCALHOST: &str = "localhost";

struct Server {
    address: SocketAddr,
    /// How many requests came through.
    requests: Arc<AtomicUsize>,
}

/// Serves one answer over TLS with a certificate for this name, valid from this year.
async fn serve(issuer: &Issuer<'_, KeyPair>, name: &str, from_year: i32) -> Server {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(from_year, 1, 1), date_time_ymd(2199, 1, 1));
    let certificate = params.signed_by(&key, issuer).unwrap().der().clone();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let (acceptor, counted) = (TlsAcceptor::from(Arc::new(config)), requests.clone());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut socket) = acceptor.accept(socket).await else {
                continue;
            };
            if socket.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                counted.fetch_add(1, Ordering::Relaxed);
                let body = branch(BRANCH).to_string();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                drop(socket.write_all((head + &body).as_bytes()).await);
                drop(socket.shutdown().await);
            }
        }
    });
    Server { address, requests }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ck_04_before_a_certificate_is_valid_the_service_is_out_of_reach_and_the_token_stays() {
    if let Ok(ports) = std::env::var(SERVERS) {
        return ask(&ports).await;
    }
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let fits = serve(&issuer, LOCALHOST, 2020).await;
    let too_new = serve(&issuer, LOCALHOST, 2190).await;
    let of_another = serve(&issuer, "portal.example.com", 2020).await;
    let ports = [&fits, &too_new, &of_another].map(|server| server.address.port().to_string());

    // Whom a process trusts is settled when it starts.
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args([
            "--exact",
            "tls::ck_04_before_a_certificate_is_valid_the_service_is_out_of_reach_and_the_token_stays",
        ])
        .env("SSL_CERT_FILE", &file)
        .env_remove("SSL_CERT_DIR")
        .env(SERVERS, ports.join(","));
    let output = tokio::task::spawn_blocking(move || again.output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    let requests = [&fits, &too_new, &of_another].map(|server| server.requests.load(Ordering::Relaxed));
    assert_eq!(requests, [1, 0, 0]);
}

async fn ask(ports: &str) {
    let mut answers = vec![];
    for port in ports.split(',') {
        let client = client_at(&format!("https://{LOCALHOST}:{port}"), quick());
        answers.push(client.branch(&BRANCH.parse().unwrap()).await);
    }
    assert!(answers[0].is_ok(), "{:?}", answers[0]);
    for answer in &answers[1..] {
        assert!(
            matches!(answer, Err(Error::Offline { sent: false, .. })),
            "{answer:?}"
        );
    }
}
