//! A list is complete and about what was asked, or it is an error.

use lakebase_api::{Branch, Client, Error};
use serde_json::{Value, json};

use crate::server::{BRANCH, branch, failed, ok, sent, serve};

async fn list(client: &Client) -> Result<Vec<Branch>, Error> {
    client.list_branches(&"projects/shop".parse().unwrap()).await
}

fn page(names: &[&str], next: &str) -> Value {
    let branches: Vec<Value> = names
        .iter()
        .map(|name| branch(&format!("projects/shop/branches/{name}")))
        .collect();
    json!({ "branches": branches, "next_page_token": next })
}

#[tokio::test]
async fn every_page_is_followed_with_the_first_query() {
    let pages = vec![
        ok(&page(&["c"], "t 1&x=y")),
        ok(&json!({ "next_page_token": "t2" })),
        ok(&page(&["a", "b"], "")),
    ];
    let (server, client) = serve(pages).await;
    let found = client
        .list_branches_with_deleted(&"projects/shop".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(
        found.iter().map(|branch| branch.name.id()).collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    let base = "GET /api/2.0/postgres/projects/shop/branches?show_deleted=true";
    let expected = [
        base.to_owned(),
        format!("{base}&page_token=t+1%26x%3Dy"),
        format!("{base}&page_token=t2"),
    ];
    assert_eq!(sent(&server).await, expected);
}

#[tokio::test]
async fn cp_06_a_list_that_breaks_off_is_an_error() {
    let (_server, client) = serve(vec![
        ok(&page(&["a"], "t1")),
        failed(403, "PERMISSION_DENIED", "no"),
    ])
    .await;
    let error = list(&client).await.unwrap_err();
    assert!(matches!(error, Error::PermissionDenied { .. }), "{error:?}");
}

#[tokio::test]
async fn cp_22_a_page_token_that_comes_again_is_an_error() {
    let (server, client) = serve(vec![
        ok(&page(&["a"], "t1")),
        ok(&page(&["b"], "t2")),
        ok(&page(&["c"], "t1")),
    ])
    .await;
    let error = list(&client).await.unwrap_err();
    assert!(matches!(error, Error::Unintelligible { .. }), "{error:?}");
    assert_eq!(sent(&server).await.len(), 3);
}

#[tokio::test]
async fn a_list_without_an_end_is_given_up() {
    let server = wiremock::MockServer::start().await;
    let turn = std::sync::atomic::AtomicUsize::new(0);
    wiremock::Mock::given(wiremock::matchers::any())
        .respond_with(move |_: &wiremock::Request| {
            let turn = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            ok(&json!({ "next_page_token": format!("t{turn}") }))
        })
        .mount(&server)
        .await;
    let error = list(&crate::server::client_at(&server.uri(), crate::server::quick()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("more than 200 pages"), "{error}");
    assert_eq!(sent(&server).await.len(), 200);
}

#[tokio::test]
async fn cp_25_a_branch_of_another_project_spoils_the_list() {
    let strange = json!({ "branches": [branch(BRANCH), branch("projects/other/branches/dev")] });
    let (_server, client) = serve(vec![ok(&strange)]).await;
    let error = list(&client).await.unwrap_err();
    assert!(matches!(error, Error::Unintelligible { .. }), "{error:?}");
}

#[tokio::test]
async fn an_endpoint_of_another_branch_spoils_the_list() {
    let strange = json!({ "endpoints": [{ "name": "projects/shop/branches/dev2/endpoints/primary" }] });
    let (_server, client) = serve(vec![ok(&strange)]).await;
    let error = client.list_endpoints(&BRANCH.parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, Error::Unintelligible { .. }), "{error:?}");
}

#[tokio::test]
async fn names_that_are_not_names_spoil_the_list() {
    for name in [
        "projects/shop/branches/../../x",
        "projects/shop/branches/",
        "projects/shop/branches/a%2Fb",
    ] {
        let (_server, client) = serve(vec![ok(&json!({ "branches": [branch(name)] }))]).await;
        let error = list(&client).await.unwrap_err();
        assert!(matches!(error, Error::Unintelligible { .. }), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn cp_25_an_answer_about_another_branch_is_refused() {
    let (_server, client) = serve(vec![ok(&branch("projects/shop/branches/production"))]).await;
    let error = client.branch(&BRANCH.parse().unwrap()).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the answer is about `projects/shop/branches/production`"),
        "{error}"
    );
}
