//! What stands before a workspace: TLS with a certificate of its own authority, and a network that can be cut. It counts the
//! sign-ins that pass.

use crate::tls::Authority;
use rcgen::{CertificateParams, KeyPair};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_util::sync::{CancellationToken, DropGuard};

const SIGN_IN: &[u8] = b"POST /oidc/v1/token ";

pub(crate) struct Front {
    pub(crate) url: String,
    listener: Option<TcpListener>,
    acceptor: TlsAcceptor,
    up: watch::Sender<bool>,
    sign_ins: Arc<AtomicUsize>,
    gone: CancellationToken,
    _ends_with_it: DropGuard,
}

impl Front {
    /// Takes a port, for which `authority` signs. Nobody is let in before [`Front::open`].
    pub(crate) async fn new(authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let gone = CancellationToken::new();
        Self {
            url: format!("https://127.0.0.1:{port}"),
            listener: Some(listener),
            acceptor: acceptor(authority),
            up: watch::Sender::new(true),
            sign_ins: Arc::default(),
            gone: gone.clone(),
            _ends_with_it: gone.drop_guard(),
        }
    }

    /// Lets clients through to `to`.
    pub(crate) fn open(&mut self, to: SocketAddr) {
        let listener = self.listener.take().expect("opened once");
        let path = Path {
            to,
            acceptor: self.acceptor.clone(),
            sign_ins: Arc::clone(&self.sign_ins),
        };
        let accepting = accept(listener, path, self.up.subscribe());
        tokio::spawn(self.gone.clone().run_until_cancelled_owned(accepting));
    }

    /// Cuts the network, also for those who are connected, or mends it.
    pub(crate) fn set_up(&self, up: bool) {
        self.up.send_replace(up);
    }

    /// How often somebody asked for an access token.
    pub(crate) fn sign_ins(&self) -> usize {
        self.sign_ins.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Path {
    to: SocketAddr,
    acceptor: TlsAcceptor,
    sign_ins: Arc<AtomicUsize>,
}

fn acceptor(authority: &Authority) -> TlsAcceptor {
    let key = KeyPair::generate().expect("key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &authority.issuer).expect("certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.expect("a certificate with its key")))
}

async fn accept(listener: TcpListener, path: Path, up: watch::Receiver<bool>) {
    loop {
        let (client, _) = listener.accept().await.expect("a client");
        let (path, mut up) = (path.clone(), up.clone());
        tokio::spawn(async move {
            tokio::select! {
                // Ends a client at once while it is down.
                _ = up.wait_for(|up| !up) => {}
                _ = relay(client, path) => {}
            }
        });
    }
}

async fn relay(client: TcpStream, path: Path) -> io::Result<()> {
    let client = path.acceptor.accept(client).await?;
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = TcpStream::connect(path.to).await?.into_split();
    let requests = async {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let count = from_client.read(&mut bytes).await?;
            let Some(said) = bytes.get(..count).filter(|said| !said.is_empty()) else {
                return to_server.shutdown().await;
            };
            if said.starts_with(SIGN_IN) {
                path.sign_ins.fetch_add(1, Ordering::Relaxed);
            }
            to_server.write_all(said).await?;
        }
    };
    let answers = async {
        copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(requests, answers)?;
    Ok(())
}
