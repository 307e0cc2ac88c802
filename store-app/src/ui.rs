//! The front end that is in the program: its files, how long a browser may keep them, and what every other address gets.
//! A program that was built without it shows the plain page instead. Knows nothing of the shop.

use crate::db::Database;
use crate::error::Error;
use crate::page::page;
use axum::Router;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};

/// What `npm run build` in `store-app/ui` left behind; empty if that was never run.
#[derive(RustEmbed)]
#[folder = "dist/ui"]
#[allow_missing = true]
struct Built;

const INDEX: &str = "index.html";
/// Vite puts a hash of the content into the names of these: an address never changes its content.
const HASHED: &str = "assets/";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Pictures keep their names when they change.
pub(crate) const FOR_AN_HOUR: &str = "public, max-age=3600";
/// To be asked for each time; the answer is short if nothing changed.
const ASK: &str = "no-cache";
/// The toasts and the dialog bring styles of their own.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The front end at every address that is not the API's, and the plain page at `/plain`.
pub(crate) fn router() -> Router<Database> {
    let plain = Router::new().route("/plain", get(page));
    if Built::get(INDEX).is_some() {
        plain.fallback(async |method, uri, headers| answer::<Built>(&method, &uri, &headers))
    } else {
        plain.route("/", get(page)).fallback(async || Error::NoRoute)
    }
}

/// Answers with a file; with the page that draws all others if a person may be meant to see one; or with nothing.
fn answer<Files: RustEmbed>(method: &Method, uri: &Uri, headers: &HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let asks = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let may_be_page =
        !path.starts_with("api/") && asks(header::ACCEPT).is_some_and(|accept| accept.contains("text/html"));
    let index = || Files::get(INDEX);
    let (found, is_known) = match Files::get(path) {
        Some(file) => (Some((path, file)), true),
        None if path.is_empty() || may_be_page => (index().map(|file| (INDEX, file)), is_route(path)),
        None => (None, false),
    };
    match found {
        Some(_) if method != Method::GET && method != Method::HEAD => Error::Method.into_response(),
        Some((path, file)) if is_known => send(path, file, asks(header::IF_NONE_MATCH)),
        // The same page, which then says so to people.
        Some((path, file)) => (StatusCode::NOT_FOUND, send(path, file, None)).into_response(),
        None => Error::NoRoute.into_response(),
    }
}

/// Returns whether the page draws something at this address; `ui/src/router.tsx` has them. Whether a product with that
/// number exists only the database knows.
fn is_route(path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_number = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    matches!(path, "" | "products") || path.strip_prefix("products/").is_some_and(is_number)
}

fn send(path: &str, file: EmbeddedFile, held: Option<&str>) -> Response {
    let tag = tag(&file);
    let mut response = if held.is_some_and(|held| is_held(held, &tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = file.metadata.mimetype().to_owned();
        ([(header::CONTENT_TYPE, kind)], file.data).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(lifetime(path)));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if path == INDEX {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Names the content. Weak, for what is sent may be compressed.
fn tag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let enough = hash.first_chunk::<16>().copied().unwrap_or_default();
    format!("W/\"{:032x}\"", u128::from_be_bytes(enough))
}

/// Returns whether one of the tags in `If-None-Match` is this one.
fn is_held(held: &str, tag: &str) -> bool {
    let bare = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    held.split(',')
        .any(|one| bare(one) == bare(tag) || one.trim() == "*")
}

fn lifetime(path: &str) -> &'static str {
    match path {
        INDEX => ASK,
        hashed if hashed.starts_with(HASHED) => FOR_EVER,
        _ => FOR_AN_HOUR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(RustEmbed)]
    #[folder = "tests/ui"]
    struct Sample;

    fn ask(method: &Method, path: &'static str, headers: &[(header::HeaderName, &str)]) -> Response {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("text")))
            .collect();
        answer::<Sample>(method, &Uri::from_static(path), &headers)
    }

    fn header_of<'a>(response: &'a Response, name: &header::HeaderName) -> &'a str {
        response.headers()[name].to_str().expect("text")
    }

    const PERSON: (header::HeaderName, &str) = (header::ACCEPT, "text/html,application/xhtml+xml");

    #[test]
    fn a_hashed_file_is_kept_for_ever_and_the_page_is_asked_for() {
        for (path, lifetime, kind) in [
            ("/", ASK, "text/html"),
            ("/index.html", ASK, "text/html"),
            ("/assets/index-1a2b3c4d.js", FOR_EVER, "text/javascript"),
            ("/images/brick.svg", FOR_AN_HOUR, "image/svg+xml"),
        ] {
            let response = ask(&Method::GET, path, &[]);
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(header_of(&response, &header::CACHE_CONTROL), lifetime, "{path}");
            assert_eq!(header_of(&response, &header::CONTENT_TYPE), kind, "{path}");
        }
    }

    #[test]
    fn what_the_browser_holds_is_not_sent_again() {
        let first = ask(&Method::GET, "/images/brick.svg", &[]);
        let tag = header_of(&first, &header::ETAG).to_owned();
        let held = format!("\"other\", {tag}");
        let again = ask(
            &Method::GET,
            "/images/brick.svg",
            &[(header::IF_NONE_MATCH, &held)],
        );
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header_of(&again, &header::ETAG), tag);
        let changed = ask(
            &Method::GET,
            "/images/brick.svg",
            &[(header::IF_NONE_MATCH, "\"other\"")],
        );
        assert_eq!(changed.status(), StatusCode::OK);
    }

    #[test]
    fn a_person_gets_the_page_at_every_address_but_the_apis() {
        let page = ask(&Method::GET, "/products/7", &[PERSON]);
        assert_eq!(page.status(), StatusCode::OK);
        assert!(header_of(&page, &header::CONTENT_SECURITY_POLICY).contains("default-src 'self'"));
        for (path, headers) in [
            ("/api/nothing", &[PERSON][..]),
            ("/products/7", &[]),
            ("/images/no-such.svg", &[(header::ACCEPT, "image/svg+xml,*/*")]),
            ("/../Cargo.toml", &[]),
        ] {
            assert_eq!(
                ask(&Method::GET, path, headers).status(),
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
    }

    #[test]
    fn an_address_that_the_page_does_not_know_is_not_found_by_programs_either() {
        for path in [
            "/",
            "/products",
            "/products/",
            "/products/4711",
            "/products/4711/",
        ] {
            assert_eq!(
                ask(&Method::GET, path, &[PERSON]).status(),
                StatusCode::OK,
                "{path}"
            );
        }
        let held = (header::IF_NONE_MATCH, "*");
        for path in [
            "/nothing",
            "/products/0x10",
            "/products/1/2",
            "/product/1",
            "/products/1x/",
        ] {
            let page = ask(&Method::GET, path, &[PERSON, held.clone()]);
            assert_eq!(page.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(header_of(&page, &header::CONTENT_TYPE), "text/html", "{path}");
        }
    }

    #[test]
    fn files_are_read_only() {
        let answer = ask(&Method::POST, "/index.html", &[PERSON]);
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        let nothing = ask(&Method::POST, "/api/nothing", &[PERSON]);
        assert_eq!(nothing.status(), StatusCode::NOT_FOUND);
    }
}
