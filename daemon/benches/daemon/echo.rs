//! The bare thing beside the daemon's socket: a tonic server on a Unix socket with one unary method, whose answer is always
//! the same and as long as the daemon's.

use lakebase_proto::v1;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};

#[derive(Debug, Clone)]
struct Echo {
    answer: v1::Credential,
}

impl UnaryService<v1::GetCredentialRequest> for Echo {
    type Response = v1::Credential;
    type Future = Ready<Result<Response<v1::Credential>, Status>>;

    fn call(&mut self, _: Request<v1::GetCredentialRequest>) -> Self::Future {
        ready(Ok(Response::new(self.answer.clone())))
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "lakebase.control.v1.Control";
}

impl tower::Service<axum::http::Request<Body>> for Echo {
    type Response = axum::http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(tonic_prost::ProstCodec::default());
            Ok(grpc.unary(echo, request).await)
        })
    }
}

/// Serves until the process is killed.
pub(crate) async fn serve(socket: &Path) -> anyhow::Result<()> {
    let answer = v1::Credential {
        host: "jane-main-worktree-w1.example.com".into(),
        port: 5432,
        database: "databricks_postgres".into(),
        user: "jane@example.com".into(),
        password: "t".repeat(900),
        sslmode: "require".into(),
        endpoint: "projects/shop/branches/jane-main-worktree-w1/endpoints/primary".into(),
        branch: Some(v1::Branch {
            branch_id: "jane-main-worktree-w1".into(),
            name: "projects/shop/branches/jane-main-worktree-w1".into(),
            uid: "br-jane-main-worktree-w1".into(),
            source_branch: "projects/shop/branches/production".into(),
            ..v1::Branch::default()
        }),
        ..v1::Credential::default()
    };
    let listener = UnixListenerStream::new(UnixListener::bind(socket)?);
    tonic::transport::Server::builder()
        .add_service(Echo { answer })
        .serve_with_incoming(listener)
        .await?;
    Ok(())
}
