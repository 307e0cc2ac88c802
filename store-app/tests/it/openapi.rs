//! The description of the API: as committed for the front end, served, and readable without the internet.

use crate::postgres::Postgres;
use crate::store::{Store, environment};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// What the front end's client is made from.
const COMMITTED: &str = include_str!("../../ui/openapi.json");

#[test]
fn the_committed_document_is_what_the_program_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_store-app"))
        .arg("openapi")
        .output()
        .expect("runs");
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        printed == COMMITTED,
        "the API has changed: run `store-app openapi > store-app/ui/openapi.json`, then `npm run generate` in store-app/ui"
    );
}

#[test]
fn every_operation_has_a_name_and_tells_what_it_answers() {
    let document: Value = serde_json::from_str(COMMITTED).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let mut names = BTreeSet::new();
    for (path, operation) in paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .expect("operations")
            .values()
            .map(move |o| (path, o))
    }) {
        let name = operation["operationId"].as_str().expect("a name");
        assert!(names.insert(name), "{name} twice");
        for (status, response) in operation["responses"].as_object().expect("responses") {
            assert!(response["description"].is_string(), "{path} {status}");
            assert!(
                response["content"]["application/json"]["schema"].is_object(),
                "{path} {status}"
            );
        }
    }
    assert_eq!(names.len(), 9, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_with_a_page_that_needs_no_internet() {
    let postgres = Postgres::with_shop().await;
    let store = Store::ready(environment(&postgres.url("shop"))).await;
    let served = store.ok("/api/openapi.json").await;
    assert_eq!(served, serde_json::from_str::<Value>(COMMITTED).expect("JSON"));
    let (response, page) = store.fetch("/api/docs/").await;
    assert_eq!(response.status(), 200);
    assert!(page.contains("swagger-ui"), "{page}");
    let from_elsewhere = page.split(['"', '\'']).find(|word| word.contains("://"));
    assert_eq!(from_elsewhere, None, "{page}");
    for asset in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js"] {
        assert!(page.contains(asset), "{asset}");
        assert_eq!(store.fetch(&format!("/api/docs/{asset}")).await.0.status(), 200);
    }
    for (path, lifetime) in [
        ("/api/docs/swagger-ui-bundle.js", "public, max-age=3600"),
        ("/api/docs/no-such-file.js", "no-store"),
        ("/api/openapi.json", "no-store"),
        ("/api/categories", "no-store"),
    ] {
        let (response, _) = store.fetch(path).await;
        assert_eq!(response.headers()["cache-control"], lifetime, "{path}");
    }
    store.end().await.expect("ends well");
}
