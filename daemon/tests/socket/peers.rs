//! Who is at the other end. A thread of this process becomes another user for a while, which takes root; without it there is
//! nobody else to be.

use crate::frames::PREFACE;
use crate::numbers::metric;
use crate::world::{World, until};
use lakebase_proto::{ConnectError, connect, v1};
use rustix::process::Uid;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

const NOBODY: u32 = 65534;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can be another user");
    }
    is_root
}

/// Runs as another user, in a thread of its own that ends with it.
fn as_nobody<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::spawn(|| {
        let nobody = Uid::from_raw(NOBODY);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("we are root");
        work()
    });
    thread.join().expect("it ends well")
}

#[tokio::test]
async fn sec_01_another_user_is_hung_up_on_whatever_the_socket_allows() {
    if !is_root() {
        return;
    }
    let mut world = World::new()
        .without_postgres()
        .with_args(&["--metrics-period", "100"]);
    world.start().await;
    let socket = world.socket();
    let dir = socket.parent().expect("a directory").to_owned();
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("opened");
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).expect("opened");
    let said = as_nobody(move || {
        let mut stream = UnixStream::connect(socket).expect("the socket lets it");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("set");
        // May fail: it hangs up without having read a byte.
        drop(stream.write_all(PREFACE));
        let mut said = Vec::new();
        match stream.read_to_end(&mut said) {
            Ok(_) => said,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                said
            }
        }
    });
    assert!(said.is_empty(), "{said:?}");
    let refused = "lakebased_connections_refused_total{reason=\"user\"}";
    until("it is counted", async || metric(&world, refused) == 1).await;
    // The same words from our own user are answered.
    let info = world
        .client()
        .await
        .get_daemon_info(v1::GetDaemonInfoRequest {})
        .await;
    assert!(info.is_ok());
}

#[tokio::test]
async fn sec_05_the_user_is_asked_of_the_socket_and_not_of_the_process() {
    if !is_root() {
        return;
    }
    let mut world = World::new()
        .without_postgres()
        .with_args(&["--metrics-period", "100"]);
    world.start().await;
    let socket = world.socket();
    let dir = socket.parent().expect("a directory").to_owned();
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("opened");
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).expect("opened");
    // Opened by somebody else, then held by a process of ours: its number would tell the wrong user.
    let mut stream = as_nobody(move || UnixStream::connect(socket).expect("the socket lets it"));
    drop(stream.write_all(PREFACE));
    let mut said = Vec::new();
    drop(stream.read_to_end(&mut said));
    assert!(said.is_empty(), "{said:?}");
    let refused = "lakebased_connections_refused_total{reason=\"user\"}";
    until("it is counted", async || metric(&world, refused) == 1).await;
}

#[tokio::test]
async fn sec_03_a_client_says_nothing_to_a_server_of_another_user() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temp dir");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("opened");
    let socket = dir.path().join("l.sock");
    let place = socket.clone();
    let listener = as_nobody(move || UnixListener::bind(place).expect("bound"));
    let refused = connect(&socket, Duration::from_secs(10)).await;
    let error = refused.expect_err("it is not our daemon");
    assert!(
        matches!(error, ConnectError::ForeignServer { uid: NOBODY, .. }),
        "{error}"
    );
    let (mut stream, _) = listener.accept().expect("it was there");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).expect("it hung up");
    assert!(said.is_empty(), "{said:?}");
}
