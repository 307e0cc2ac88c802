//! The API as a whole: its routes under `/api`, the document that describes them, and a page to read that in.

use crate::db::Database;
use crate::error::ErrorDocument;
use crate::ui::FOR_AN_HOUR;
use crate::{branch, catalog, health, user};
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Data & Bricks Store",
        description = "The catalogue of a small shop, and the Lakebase branch it is read from. A failed request gets an `ErrorDocument`."
    ),
    components(schemas(ErrorDocument)),
    tags(
        (name = "catalogue", description = "What is sold"),
        (name = "process", description = "Who answers, and whose data it is"),
    ),
)]
struct Api;

/// Returns the OpenAPI document as JSON.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn document() -> serde_json::Result<String> {
    let (_, document) = described().split_for_parts();
    document.to_pretty_json().map(|json| json + "\n")
}

/// The routes of the API, with the document at `/api/openapi.json` and a page for people at `/api/docs`.
pub(crate) fn router() -> Router<Database> {
    let (routes, document): (_, Document) = described().split_for_parts();
    let docs = SwaggerUi::new("/api/docs").url("/api/openapi.json", document);
    // Answers come from whichever branch serves now: none is worth keeping.
    let no_store = HeaderValue::from_static("no-store");
    let fresh = SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, no_store);
    let lifetime = |response: &Response| Some(lifetime_of_docs(response));
    let kept = SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, lifetime);
    let docs = Router::from(docs).layer(kept);
    routes.layer(fresh).merge(docs)
}

/// The page's files change with the program alone, and so does the document; that one is short, and asked for by programs.
fn lifetime_of_docs(response: &Response) -> HeaderValue {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_document = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let is_kept = response.status().is_success() && !is_document;
    HeaderValue::from_static(if is_kept { FOR_AN_HOUR } else { "no-store" })
}

fn described() -> OpenApiRouter<Database> {
    let api = OpenApiRouter::new()
        .merge(catalog::router())
        .merge(branch::router())
        .merge(user::router())
        .merge(health::router());
    OpenApiRouter::with_openapi(Api::openapi()).nest("/api", api)
}
