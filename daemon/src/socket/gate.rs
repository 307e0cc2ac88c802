//! What every call must carry, checked before its method is looked for: the key that our clients know and a web page does
//! not, the one authority, and no `origin`.

use futures_util::future::{Either, Ready, ready};
use lakebase_proto::{AUTHORITY, CLIENT_KEY};
use std::task::{Context, Poll};
use tonic::Status;
use tonic::codegen::http::uri::Authority;
use tonic::codegen::http::{Request, Response, header};
use tower::{Layer, Service};

/// Puts the gate before a service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate;

/// A service behind the gate.
#[derive(Debug, Clone)]
pub(crate) struct Gated<S>(S);

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated(inner)
    }
}

impl<S, B, A> Service<Request<B>> for Gated<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    A: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match objection(&request) {
            None => Either::Left(self.0.call(request)),
            Some(why) => {
                crate::metrics::REFUSED_CALLS.count();
                Either::Right(ready(Ok(Status::permission_denied(why).into_http())))
            }
        }
    }
}

fn objection<B>(request: &Request<B>) -> Option<&'static str> {
    let authority = request.uri().authority().map(Authority::as_str);
    if request.headers().contains_key(header::ORIGIN) {
        return Some("this is no service for web pages");
    }
    if authority != Some(AUTHORITY) {
        return Some("the authority must be `localhost`");
    }
    (!request.headers().contains_key(CLIENT_KEY)).then_some("the metadata key `lakebase-client` is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[&'static str]) -> Request<()> {
        let mut request = Request::builder().uri(uri);
        for name in headers {
            request = request.header(*name, "x");
        }
        request.body(()).expect("a request")
    }

    #[test]
    fn sec_04_only_the_key_the_authority_and_no_origin_pass() {
        let path = "http://localhost/lakebase.control.v1.Control/Shutdown";
        assert_eq!(objection(&request(path, &[CLIENT_KEY])), None);
        for refused in [
            request(path, &[]),
            request(path, &["origin"]),
            request(path, &[CLIENT_KEY, "origin"]),
            request("http://evil.example/x", &[CLIENT_KEY]),
            request("http://localhost:80/x", &[CLIENT_KEY]),
            request("/x", &[CLIENT_KEY]),
        ] {
            assert!(objection(&refused).is_some(), "{refused:?}");
        }
    }
}
