//! The gRPC server: which services answer, and how much of anything one client may ask for.

use crate::service::Service;
use crate::socket::accept::accept;
use crate::socket::gate::Gate;
use crate::socket::{Bound, SocketError};
use anyhow::Context;
use lakebase_proto::v1::control_server::ControlServer;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;

/// The largest message that a client may send.
const MAX_REQUEST: usize = 256 * 1024;
/// The most metadata that a call may carry.
const MAX_METADATA: u32 = 16 * 1024;
/// How many calls one client may have open at once.
const MAX_STREAMS: u32 = 64;
/// How many calls a client may take back before they were even looked at; one more, and it is hung up on.
const MAX_TAKEN_BACK: usize = 20;
/// How long open calls may go on after the daemon was told to stop.
pub(crate) const DRAIN: Duration = Duration::from_secs(3);

/// Answers calls until `stop`.
///
/// # Errors
/// When the socket is lost to another daemon.
pub(crate) async fn serve(
    bound: Bound,
    service: Service,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (seated, guests) = mpsc::channel(64);
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ControlServer<Service>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(lakebase_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    // A client that answers no ping for half of this and half again reads nothing any more.
    let unread = service.about.unread / 2;
    let answering = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_METADATA)
        .http2_max_pending_accept_reset_streams(Some(MAX_TAKEN_BACK))
        .http2_keepalive_interval(Some(unread))
        .http2_keepalive_timeout(Some(unread))
        .layer(Gate)
        .add_service(ControlServer::new(service).max_decoding_message_size(MAX_REQUEST))
        .add_service(health_service)
        .add_service(reflection)
        .serve_with_incoming_shutdown(ReceiverStream::new(guests), stop.clone().cancelled_owned());
    let cut_off = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    let ended = async {
        tokio::select! {
            served = answering => served.context("cannot serve"),
            () = cut_off => Ok(()),
        }
    };
    let accepting = accept(bound, seated, tasks, &stop);
    let lost_or_accepted = async {
        match accepting.await {
            Ok(()) => std::future::pending::<SocketError>().await,
            Err(lost) => lost,
        }
    };
    tokio::select! {
        ended = ended => ended,
        lost = lost_or_accepted => Err(lost).context("lost the socket to another daemon"),
    }
}
