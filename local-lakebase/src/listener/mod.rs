//! Where PostgreSQL clients arrive. Each endpoint is a door: an address, a certificate, and the branch behind it. A
//! client that shows the right token in TLS is passed on to the branch's compute; everybody else hears the same no.
//!
//! Nothing here reads the catalog or runs SQL: the control plane says which doors there are.

mod address;
mod cancel;
mod greeting;
mod native;
mod packet;
mod prompt;
mod relay;
mod seats;
mod session;
mod startup;
pub(crate) mod tls;
mod wrong;

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lakebase_api::EndpointName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OnceCell, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::cancel::CancelKeys;
pub(crate) use self::native::NativeLogins;
use self::native::Verdict;
use self::seats::Seats;
use self::tls::{Authority, TlsError};
use self::wrong::Wrong;
use crate::clock::Clock;
use crate::engine::{BranchKey, Engine};
use crate::token::Signer;

/// Pause after a client lost its seat. Silent clients that come back at once would otherwise take the whole processor, and a
/// client that logs in needs some milliseconds for its next byte.
const CROWDED: Duration = Duration::from_millis(1);

/// How long to stay away from a listener that fails, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Says that an endpoint cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot open endpoint `{endpoint}`")]
pub(crate) struct OpenError {
    endpoint: EndpointName,
    #[source]
    source: OpenErrorKind,
}

#[derive(Debug, thiserror::Error)]
enum OpenErrorKind {
    #[error("no port can be had")]
    Port(#[from] io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What the control plane says about an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) endpoint: EndpointName,
    pub(crate) branch: BranchKey,
    pub(crate) disabled: bool,
    /// The address it had before, if it had one of its own.
    pub(crate) address: Option<Ipv4Addr>,
}

/// What the listeners need.
pub(crate) struct Needs {
    pub(crate) engine: Engine,
    pub(crate) signer: Signer,
    pub(crate) clock: Clock,
    pub(crate) authority: Authority,
    pub(crate) own_addresses: bool,
    /// The shared port of the last run.
    pub(crate) shared_port: Option<u16>,
}

/// All doors. Clones are the same doors.
#[derive(Clone)]
pub(crate) struct Listeners(Arc<House>);

struct House {
    needs: Needs,
    doors: Mutex<HashMap<EndpointName, Arc<Door>>>,
    shared_port: OnceCell<u16>,
    cancel_keys: CancelKeys,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// An open endpoint.
struct Door {
    endpoint: EndpointName,
    branch: BranchKey,
    /// Whether it turns everybody away, also those who are in.
    disabled: watch::Sender<bool>,
    native: Mutex<NativeLogins>,
    /// Ends its sessions and its listener.
    closing: CancellationToken,
    /// Its address is free again.
    closed: CancellationToken,
}

/// One listening socket: what it speaks TLS with, and the only door it leads to, if it is that door's own.
struct Porch {
    house: Listeners,
    tls: TlsAcceptor,
    only: Option<EndpointName>,
    /// The address of that door.
    address: Option<Ipv4Addr>,
    seats: Arc<Seats>,
    wrong: Wrong,
}

impl Listeners {
    pub(crate) fn new(needs: Needs) -> Self {
        Self(Arc::new(House {
            needs,
            doors: Mutex::default(),
            shared_port: OnceCell::new(),
            cancel_keys: CancelKeys::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Opens a door and returns its own address; none if it is reached through the shared port.
    pub(crate) async fn open(&self, opening: Opening) -> Result<Option<Ipv4Addr>, OpenError> {
        let endpoint = opening.endpoint.clone();
        let door = Arc::new(Door {
            endpoint: opening.endpoint,
            branch: opening.branch,
            disabled: watch::Sender::new(opening.disabled),
            native: Mutex::default(),
            closing: self.0.stop.child_token(),
            closed: CancellationToken::new(),
        });
        let bound = self.bind(&door, opening.address).await;
        let address = bound.map_err(|source| OpenError {
            endpoint: endpoint.clone(),
            source,
        })?;
        self.with_doors(|doors| doors.insert(endpoint, door));
        Ok(address)
    }

    /// Closes a door, ends the sessions behind it and waits until its address is free.
    pub(crate) async fn close(&self, endpoint: &EndpointName) {
        if let Some(door) = self.with_doors(|doors| doors.remove(endpoint)) {
            door.closing.cancel();
            door.closed.cancelled().await;
        }
    }

    /// Makes a door end its sessions and refuse new ones, or accept them again.
    pub(crate) fn set_disabled(&self, endpoint: &EndpointName, disabled: bool) {
        if let Some(door) = self.door(endpoint) {
            door.disabled.send_replace(disabled);
        }
    }

    /// Says which roles have a password at a door, instead of those that had one.
    pub(crate) fn set_native_logins(&self, endpoint: &EndpointName, logins: NativeLogins) {
        if let Some(door) = self.door(endpoint) {
            *door.native.lock().unwrap_or_else(PoisonError::into_inner) = logins;
        }
    }

    /// Returns the port that doors without an address of their own share, once there is such a door.
    pub(crate) fn shared_port(&self) -> Option<u16> {
        self.0.shared_port.get().copied()
    }

    /// Closes all doors and waits for nothing.
    pub(crate) fn hang_up(&self) {
        self.0.stop.cancel();
    }

    /// Closes all doors and waits for their sessions to end.
    pub(crate) async fn stop(&self) {
        self.hang_up();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn bind(&self, door: &Door, before: Option<Ipv4Addr>) -> Result<Option<Ipv4Addr>, OpenErrorKind> {
        if self.0.needs.own_addresses
            && let Some((address, listener)) = address::own(before)
        {
            let porch = self.porch(address, Some(door.endpoint.clone()))?;
            let (closing, closed) = (door.closing.clone(), door.closed.clone());
            self.0.tasks.spawn(async move {
                accept(listener, porch, closing).await;
                closed.cancel();
            });
            return Ok(Some(address));
        }
        self.0
            .shared_port
            .get_or_try_init(async || self.bind_shared())
            .await?;
        door.closed.cancel();
        Ok(None)
    }

    fn bind_shared(&self) -> Result<u16, OpenErrorKind> {
        let listener = address::shared(self.0.needs.shared_port)?;
        let port = listener.local_addr()?.port();
        let porch = self.porch(Ipv4Addr::LOCALHOST, None)?;
        self.0.tasks.spawn(accept(listener, porch, self.0.stop.clone()));
        Ok(port)
    }

    fn porch(&self, address: Ipv4Addr, only: Option<EndpointName>) -> Result<Porch, TlsError> {
        let tls = TlsAcceptor::from(self.0.needs.authority.server(address.into())?);
        Ok(Porch {
            house: self.clone(),
            tls,
            address: only.is_some().then_some(address),
            only,
            seats: Arc::default(),
            wrong: Wrong::default(),
        })
    }

    fn door(&self, endpoint: &EndpointName) -> Option<Arc<Door>> {
        self.with_doors(|doors| doors.get(endpoint).cloned())
    }

    fn with_doors<T>(&self, act: impl FnOnce(&mut HashMap<EndpointName, Arc<Door>>) -> T) -> T {
        act(&mut self.0.doors.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Door {
    /// Returns when nobody may be in any more.
    async fn shut(&self) {
        let mut disabled = self.disabled.subscribe();
        tokio::select! {
            () = self.closing.cancelled() => {}
            // The sender lives as long as the door.
            _ = disabled.wait_for(|disabled| *disabled) => {}
        }
    }

    fn native_verdict(&self, user: &str, password: &str) -> Verdict {
        let native = self.native.lock().unwrap_or_else(PoisonError::into_inner);
        native.judge(user, password)
    }
}

impl Porch {
    /// Returns the door that this password opens for this user, or what there is to say about why not.
    fn admit(&self, user: &str, password: &str) -> Result<Arc<Door>, Verdict> {
        match self.admit_token(user, password) {
            Some(door) => Ok(door),
            None => self.admit_native(user, password),
        }
    }

    /// Without a token only an address that is one endpoint's own says which one is meant.
    fn admit_native(&self, user: &str, password: &str) -> Result<Arc<Door>, Verdict> {
        let only = self.only.as_ref().ok_or(Verdict::Wrong)?;
        let door = self.house.door(only).ok_or(Verdict::Wrong)?;
        match door.native_verdict(user, password) {
            Verdict::Right => Ok(door),
            refused => Err(refused),
        }
    }

    fn admit_token(&self, user: &str, password: &str) -> Option<Arc<Door>> {
        let needs = &self.house.0.needs;
        let claims = needs.signer.read_database_token(password, needs.clock.now())?;
        let door = self.house.door(&claims.endpoint.parse().ok()?)?;
        let here = self.only.as_ref().is_none_or(|only| *only == door.endpoint);
        (here && claims.address == self.address && claims.branch_uid == door.branch.uid && claims.sub == user)
            .then_some(door)
    }
}

/// Lets clients in until the door closes.
async fn accept(listener: TcpListener, porch: Porch, closing: CancellationToken) {
    let porch = Arc::new(porch);
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => admit(stream, &porch).await,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Gives a client a seat.
async fn admit(stream: TcpStream, porch: &Arc<Porch>) {
    let (seat, is_crowded) = porch.seats.take();
    porch
        .house
        .0
        .tasks
        .spawn(session::serve(stream, porch.clone(), seat));
    if !is_crowded {
        return;
    }
    if let Some(clients) = porch.seats.report() {
        let endpoint = porch.only.as_ref().map(EndpointName::as_str);
        tracing::warn!(
            clients,
            endpoint,
            "disconnected clients that did not log in, for newer ones"
        );
    }
    tokio::time::sleep(CROWDED).await;
}
