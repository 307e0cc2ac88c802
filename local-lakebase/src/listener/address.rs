//! Where an endpoint listens: on Linux at a loopback address of its own, so that unmodified clients find it at the
//! usual port; where that cannot be had, at one port of 127.0.0.1 that all endpoints share.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use rand::Rng;
use tokio::net::{TcpListener, TcpSocket};

/// The port that every client of PostgreSQL assumes.
const PORT: u16 = 5432;

/// Connections that may wait to be accepted; the system's limit (`net.core.somaxconn`) is 4096 by default.
const BACKLOG: u32 = 1024;

/// How many addresses are tried. One of four million is rarely taken; a server on 0.0.0.0:5432 takes them all.
const TRIES: usize = 8;

/// Binds an address of its own for an endpoint: the one it had, or else a new one.
pub(super) fn own(before: Option<Ipv4Addr>) -> Option<(Ipv4Addr, TcpListener)> {
    let candidates = before
        .into_iter()
        .chain((0..TRIES).map(|_| any(&mut rand::rng())));
    for address in candidates {
        match listen((address, PORT).into()) {
            Ok(listener) => return Some((address, listener)),
            Err(error) => tracing::debug!(%address, %error, "this address cannot be had"),
        }
    }
    None
}

/// Binds the port all endpoints share: the one they had, or else a free one.
pub(super) fn shared(before: Option<u16>) -> io::Result<TcpListener> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Some(port) = before
        && let Ok(listener) = listen(at(port))
    {
        return Ok(listener);
    }
    listen(at(0))
}

/// Listens with room for a crowd: a client whose connection finds no room in the queue tries again after a second, then ever more
/// rarely.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Chooses among 127.64.0.1 to 127.126.255.254, which nothing else is known to use.
fn any(random: &mut impl Rng) -> Ipv4Addr {
    let [a, b, c] = [
        random.random_range(64..=126),
        random.random(),
        random.random_range(1..=254),
    ];
    Ipv4Addr::new(127, a, b, c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_loopback_and_away_from_the_usual_ones() {
        for _ in 0..1000 {
            let address = any(&mut rand::rng());
            let [_, a, _, c] = address.octets();
            assert!(address.is_loopback() && (64..=126).contains(&a) && (1..=254).contains(&c));
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn pg_05_an_endpoint_gets_its_address_back_unless_it_is_taken() {
        let (first, listener) = own(None).unwrap();
        let (second, _other) = own(Some(first)).unwrap();
        assert_ne!(first, second);
        drop(listener);
        let (again, _listener) = own(Some(first)).unwrap();
        assert_eq!(again, first);
    }

    #[tokio::test]
    async fn the_shared_port_comes_back_unless_it_is_taken() {
        let listener = shared(None).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_ne!(shared(Some(port)).unwrap().local_addr().unwrap().port(), port);
        drop(listener);
        assert_eq!(shared(Some(port)).unwrap().local_addr().unwrap().port(), port);
    }
}
