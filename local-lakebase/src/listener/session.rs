//! One client from its first byte to its last: TLS, start-up packet, token, then the relay.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::engine::EngineError;

use super::native::Verdict;
use super::packet::{self, Malformed};
use super::prompt::Prompt;
use super::relay::{IntroduceError, Introduced};
use super::seats::Seat;
use super::startup::{self, Opening, Startup, StartupError};
use super::{Door, Porch, relay};

/// How long a client may take to show who it is.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Limit on the first byte. A client speaks first in this protocol, at once.
const FIRST_BYTE: Duration = Duration::from_secs(1);

/// The SQLSTATE of a wrong password.
const WRONG_PASSWORD: &str = "28P01";

/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a client does not get in.
#[derive(Debug)]
enum Refusal {
    /// It is told, with an SQLSTATE.
    Say(&'static str, String),
    /// It is gone, or not worth an answer.
    HangUp,
}

/// A client that showed the right token.
struct Guest {
    stream: TlsStream<Prompt>,
    startup: Startup,
    door: Arc<Door>,
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::HangUp
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self::Say("08P01", malformed.0.to_owned())
    }
}

impl From<StartupError> for Refusal {
    fn from(error: StartupError) -> Self {
        Self::Say(error.sqlstate(), error.to_string())
    }
}

impl From<&IntroduceError> for Refusal {
    fn from(error: &IntroduceError) -> Self {
        let cannot = |code, text: &str| Self::Say(code, text.to_owned());
        match error {
            IntroduceError::Untrusted(_) => cannot("28000", "this endpoint does not let this user log in"),
            IntroduceError::Compute(_) | IntroduceError::Timeout => {
                cannot("57P03", "the compute of this endpoint did not take the session")
            }
            IntroduceError::Client(_) => Self::HangUp,
        }
    }
}

/// Serves one client. The seat is given up as soon as it is known who that is.
pub(super) async fn serve(stream: TcpStream, porch: Arc<Porch>, mut seat: Seat) {
    let (stop, evicted) = (porch.house.0.stop.clone(), seat.evicted());
    let arrived = tokio::select! {
        () = stop.cancelled() => return,
        () = evicted.cancelled() => return,
        arrived = timeout(HANDSHAKE, arrive(stream, &porch, &mut seat)) => arrived,
    };
    drop(seat);
    if let Ok(Some(guest)) = arrived {
        let door = guest.door.clone();
        tokio::select! {
            () = door.shut() => {}
            () = host(guest, &porch) => {}
        }
    }
}

/// Brings a client to the point where it is known; none if it does not get there.
async fn arrive(mut stream: TcpStream, porch: &Porch, seat: &mut Seat) -> Option<Guest> {
    stream.set_nodelay(true).ok()?;
    let source = stream.peer_addr().ok()?.ip();
    let first = timeout(FIRST_BYTE, stream.peek(&mut [0])).await.ok()?;
    first.ok().filter(|bytes| *bytes > 0)?;
    seat.heard();
    let mut stream = match until_tls(&mut stream, porch).await {
        Ok(()) => porch.tls.accept(Prompt::new(stream)).await.ok()?,
        Err(refusal) => {
            refuse(&mut stream, refusal).await;
            return None;
        }
    };
    seat.heard();
    match identify(&mut stream, porch).await {
        Ok((startup, door)) => {
            porch.wrong.forget(source);
            stream.get_mut().0.relax();
            Some(Guest {
                stream,
                startup,
                door,
            })
        }
        Err(refusal) => {
            if matches!(refusal, Refusal::Say(WRONG_PASSWORD, _)) {
                tokio::time::sleep(porch.wrong.note(source)).await;
            }
            refuse(&mut stream, refusal).await;
            None
        }
    }
}

/// Answers whatever may come before TLS.
async fn until_tls(stream: &mut TcpStream, porch: &Porch) -> Result<(), Refusal> {
    let mut first = read_opening(stream).await?;
    if first == Opening::Gss {
        stream.write_all(b"N").await?;
        first = read_opening(stream).await?;
    }
    match first {
        Opening::Tls => {
            // Whatever is here already was not protected by TLS and must not be taken for something that was.
            match stream.try_read(&mut [0; 1]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return Err(Refusal::HangUp),
            }
            stream.write_all(b"S").await?;
            Ok(())
        }
        Opening::Cancel(key) => {
            porch.house.0.cancel_keys.cancel(&key).await;
            Err(Refusal::HangUp)
        }
        Opening::Startup(_) => Err(Refusal::Say("28000", "SSL connection is required".to_owned())),
        Opening::Gss => Err(Refusal::HangUp),
    }
}

/// Asks for a password and finds the door it opens.
async fn identify(stream: &mut TlsStream<Prompt>, porch: &Porch) -> Result<(Startup, Arc<Door>), Refusal> {
    let startup = match read_opening(stream).await? {
        Opening::Startup(startup) => startup,
        Opening::Cancel(key) => {
            porch.house.0.cancel_keys.cancel(&key).await;
            return Err(Refusal::HangUp);
        }
        Opening::Tls | Opening::Gss => {
            return Err(StartupError::Protocol.into());
        }
    };
    stream.write_all(&packet::ask_password()).await?;
    stream.flush().await?;
    let body = read_password(stream).await?;
    let admitted = porch.admit(startup.user(), packet::password(&body)?);
    let door = admitted.map_err(|verdict| refused(verdict, startup.user()))?;
    if *door.disabled.borrow() {
        let text = "the endpoint is disabled and cannot be woken by a connection";
        return Err(Refusal::Say("57P03", text.to_owned()));
    }
    Ok((startup, door))
}

/// What a client hears when its password opens nothing.
fn refused(verdict: Verdict, user: &str) -> Refusal {
    match verdict {
        Verdict::Disabled => {
            let text = "native postgres login is disabled for this endpoint";
            Refusal::Say("28000", text.to_owned())
        }
        Verdict::Right | Verdict::Wrong => {
            let text = format!("password authentication failed for user \"{user}\"");
            Refusal::Say(WRONG_PASSWORD, text)
        }
    }
}

async fn read_opening(stream: &mut (impl AsyncRead + Unpin)) -> Result<Opening, Refusal> {
    let mut header = [0; 4];
    stream.read_exact(&mut header).await?;
    let Ok(length) = startup::startup_rest(header) else {
        return Err(Refusal::HangUp);
    };
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    Ok(startup::opening(&rest)?)
}

async fn read_password(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Refusal> {
    let mut header = [0; 5];
    stream.read_exact(&mut header).await?;
    let (kind, length) = packet::message_rest(header, packet::MAX_PASSWORD)?;
    if kind != b'p' {
        return Err(Malformed("expected a password").into());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// Wakes the compute, introduces the client to it and steps back.
async fn host(guest: Guest, porch: &Porch) {
    let Guest {
        mut stream,
        startup,
        door,
    } = guest;
    let house = &porch.house.0;
    let compute = match house.needs.engine.connect(&door.branch).await {
        Ok(session) => session,
        Err(error @ EngineError::TooMany { .. }) => {
            return refuse(&mut stream, Refusal::Say("53300", error.to_string())).await;
        }
        Err(error) => {
            tracing::warn!(endpoint = %door.endpoint, %error, "cannot wake the compute");
            let text = "the compute of this endpoint cannot be woken".to_owned();
            return refuse(&mut stream, Refusal::Say("57P03", text)).await;
        }
    };
    match open_session(&mut stream, &startup, &compute.socket).await {
        Ok((backend, Introduced::Open(key))) => {
            let known = key.map(|key| house.cancel_keys.remember(key, &compute.socket));
            relay::relay(&mut stream, backend).await;
            drop(known);
            say_goodbye(&mut stream).await;
        }
        Ok((_, Introduced::Refused)) => say_goodbye(&mut stream).await,
        Err(IntroduceError::Client(error)) => tracing::debug!(%error, "a client disconnected at login"),
        Err(error) => {
            let database = startup.database();
            tracing::warn!(endpoint = %door.endpoint, database, %error, "a login did not become a session");
            refuse(&mut stream, Refusal::from(&error)).await;
        }
    }
    drop(compute);
}

/// Connects to a compute and logs the client in there. On an error the compute's connection is closed.
async fn open_session(
    client: &mut TlsStream<Prompt>,
    startup: &Startup,
    socket: &Path,
) -> Result<(UnixStream, Introduced), IntroduceError> {
    let connected = UnixStream::connect(socket).await;
    let mut compute = connected.map_err(IntroduceError::Compute)?;
    let introduced = relay::introduce(client, &mut compute, startup).await?;
    Ok((compute, introduced))
}

/// Tells a client why it does not get in, as far as it is told.
async fn refuse(stream: &mut (impl AsyncWrite + Unpin), refusal: Refusal) {
    if let Refusal::Say(code, message) = refusal {
        let said = stream.write_all(&packet::fatal(code, &message)).await;
        tracing::debug!(code, ok = said.is_ok(), "a client was refused");
    }
    say_goodbye(stream).await;
}

async fn say_goodbye(stream: &mut (impl AsyncWrite + Unpin)) {
    let ended = timeout(GOODBYE, stream.shutdown()).await;
    tracing::trace!(?ended, "connection ended");
}
