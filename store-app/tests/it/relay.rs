//! A host that can fall silent: relays to a port until it is frozen, and then neither answers nor hangs up.

use std::net::SocketAddr;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) struct Relay {
    pub(crate) port: u16,
    frozen: CancellationToken,
    _ends_with_it: DropGuard,
}

impl Relay {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (frozen, gone) = (CancellationToken::new(), CancellationToken::new());
        let accepting = accept(
            listener,
            SocketAddr::from(([127, 0, 0, 1], to)),
            frozen.clone(),
            gone.clone(),
        );
        tokio::spawn(gone.clone().run_until_cancelled_owned(accepting));
        Self {
            port,
            frozen,
            _ends_with_it: gone.drop_guard(),
        }
    }

    pub(crate) fn freeze(&self) {
        self.frozen.cancel();
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, frozen: CancellationToken, gone: CancellationToken) {
    loop {
        let (client, _) = listener.accept().await.expect("a client");
        let relaying = relay(client, to, frozen.clone());
        tokio::spawn(gone.clone().run_until_cancelled_owned(relaying));
    }
}

async fn relay(mut client: TcpStream, to: SocketAddr, frozen: CancellationToken) {
    let copying = async {
        let mut server = TcpStream::connect(to).await?;
        copy_bidirectional(&mut client, &mut server).await
    };
    if frozen.run_until_cancelled(copying).await.is_none() {
        // `client` stays open.
        std::future::pending::<()>().await;
    }
}
