//! What the store answers: the catalogue to the letter, error documents, the page, health.

use crate::control::Control;
use crate::postgres::Postgres;
use crate::store::{Store, daemon, environment, eventually};
use serde_json::{Value, json};

/// Category, name, price and stock, as the shop's sheet has them.
const SHEET: [(&str, &str, &str, i64); 13] = [
    ("Premium Data", "Premium JSON Blob", "49.99", 1000),
    ("Premium Data", "Enterprise Parquet File", "199.99", 50),
    ("Premium Data", "Organic CSV Dataset", "29.99", 5000),
    ("Premium Data", "Delta Lake Subscription", "99.99", 999),
    ("Vintage Data", "Vintage XML Dataset", "19.99", 200),
    ("Vintage Data", "Classic SQL Dump", "39.99", 75),
    ("Vintage Data", "Retro Fixed-Width File", "14.99", 300),
    ("Artisan Bricks", "Artisan Red Brick", "5.99", 10000),
    ("Artisan Bricks", "Reclaimed Vintage Brick", "12.99", 150),
    ("Artisan Bricks", "Designer Glass Brick", "24.99", 500),
    ("Industrial Bricks", "Industrial Cinder Block", "3.49", 25000),
    ("Industrial Bricks", "Fire-Resistant Brick", "8.99", 3000),
    ("Industrial Bricks", "Bulk Paver Brick (100 pack)", "149.99", 100),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_api_tells_the_catalogue_and_its_errors() {
    let postgres = Postgres::with_shop().await;
    let store = Store::ready(environment(&postgres.url("shop"))).await;
    check_categories(&store).await;
    check_product_list(&store).await;
    check_product_detail(&store, &postgres).await;
    check_process(&store).await;
    check_errors(&store).await;
    store.end().await.expect("ends well");
}

async fn check_categories(store: &Store) {
    let categories = store.ok("/api/categories").await;
    let names: Vec<_> = list(&categories).iter().map(|c| c["name"].clone()).collect();
    assert_eq!(
        names,
        [
            "Premium Data",
            "Vintage Data",
            "Artisan Bricks",
            "Industrial Bricks"
        ]
    );
    let third = store.ok("/api/categories/3").await;
    assert_eq!(third, categories[2]);
    assert_eq!(third["id"], 3);
    assert!(third["description"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(third["created_at"].is_string());
    let slice = store.ok("/api/categories?limit=2&offset=1").await;
    let ids: Vec<_> = list(&slice).iter().map(|c| c["id"].clone()).collect();
    assert_eq!(ids, [2, 3]);
}

async fn check_product_list(store: &Store) {
    let products = store.ok("/api/products").await;
    let told: Vec<_> = list(&products)
        .iter()
        .map(|p| json!([p["category_name"], p["name"], p["price"], p["quantity"]]))
        .collect();
    let sheet: Vec<_> = SHEET.iter().map(|(c, n, p, q)| json!([c, n, p, q])).collect();
    assert_eq!(told, sheet);
    let mut fields: Vec<_> = products[0].as_object().expect("an object").keys().collect();
    fields.sort();
    assert_eq!(
        fields,
        [
            "category_id",
            "category_name",
            "description",
            "id",
            "image_url",
            "name",
            "price",
            "quantity"
        ]
    );
    assert_eq!(
        products[12]["image_url"],
        "/images/products/bulk-paver-brick-100-pack.svg"
    );
    let vintage = store.ok("/api/products?category_id=2").await;
    let ids: Vec<_> = list(&vintage).iter().map(|p| p["id"].clone()).collect();
    assert_eq!(ids, [5, 6, 7]);
    assert_eq!(store.ok("/api/products?category_id=99").await, json!([]));
    let slice = store.ok("/api/products?limit=2&offset=3").await;
    let ids: Vec<_> = list(&slice).iter().map(|p| p["id"].clone()).collect();
    assert_eq!(ids, [4, 5]);
}

async fn check_product_detail(store: &Store, postgres: &Postgres) {
    let product = store.ok("/api/products/6").await;
    assert_eq!((&product["id"], &product["price"]), (&json!(6), &json!("39.99")));
    assert_eq!(product["category"]["id"], 2);
    assert_eq!(product["category"]["name"], "Vintage Data");
    assert!(product["category"]["description"].is_string());
    assert_eq!(product["inventory"]["quantity"], 75);
    assert!(product["inventory"]["updated_at"].is_string());
    assert!(product["created_at"].is_string() && product["updated_at"].is_string());
    postgres
        .run("shop", "DELETE FROM inventory WHERE product_id = 6")
        .await;
    let uncounted = store.ok("/api/products/6").await;
    assert_eq!(uncounted["inventory"], json!({"quantity": 0, "updated_at": null}));
    assert_eq!(store.ok("/api/products").await[5]["quantity"], 0);
}

async fn check_process(store: &Store) {
    assert_eq!(
        store.ok("/api/version").await,
        json!({"name": "store-app", "version": env!("CARGO_PKG_VERSION")})
    );
    assert_eq!(store.ok("/api/current-user").await, json!({"user_name": "jane"}));
    assert_eq!(store.ok("/api/health/live").await, json!({"status": "live"}));
    assert_eq!(store.ok("/api/health/ready").await, json!({"status": "ready"}));
    assert_eq!(store.ok("/api/health").await, json!({"status": "ready"}));
    // The environment names no branch.
    assert_eq!(
        store.ok("/api/branch").await,
        json!({"name": null, "uid": null, "source": null, "expires_at": null, "ownership": "none", "host": "127.0.0.1", "endpoint": null,
               "credential": 1, "credential_expires_at": null})
    );
}

async fn check_errors(store: &Store) {
    for (path, status, code) in [
        ("/api/products/99", 404, "not_found"),
        ("/api/products/-1", 404, "not_found"),
        ("/api/categories/99", 404, "not_found"),
        ("/api/products/abc", 422, "invalid_argument"),
        ("/api/products/1.5", 422, "invalid_argument"),
        ("/api/products/99999999999999999999", 422, "invalid_argument"),
        ("/api/products/1%27%20OR%201=1", 422, "invalid_argument"),
        ("/api/categories/abc", 422, "invalid_argument"),
        ("/api/products?category_id=abc", 422, "invalid_argument"),
        ("/api/products?limit=0", 422, "invalid_argument"),
        ("/api/products?limit=101", 422, "invalid_argument"),
        ("/api/products?offset=-1", 422, "invalid_argument"),
        ("/api/categories?limit=101", 422, "invalid_argument"),
        ("/api/categories?offset=-1", 422, "invalid_argument"),
        ("/api/nothing", 404, "not_found"),
        ("/nothing", 404, "not_found"),
    ] {
        let (response, body) = store.fetch(path).await;
        let document: Value = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}"));
        assert_eq!(
            (response.status().as_u16(), &document["code"]),
            (status, &json!(code)),
            "{path}"
        );
        assert!(
            document["message"].as_str().is_some_and(|text| !text.is_empty()),
            "{path}"
        );
        assert_eq!(response.headers()["cache-control"], "no-store", "{path}");
        let id = response.headers()["x-request-id"].to_str().expect("text");
        assert_eq!(document["request_id"], id, "{path}");
        assert_eq!(
            document.as_object().map(serde_json::Map::len),
            Some(3),
            "{document}"
        );
    }
    let post = reqwest::Client::new().post(format!("{}/api/products", store.url));
    let answer = post
        .header("x-request-id", "mine")
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["allow"], "GET,HEAD");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let document: Value = answer.json().await.expect("a document");
    assert_eq!(
        (&document["code"], &document["request_id"]),
        (&json!("method_not_allowed"), &json!("mine"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_branch_and_escapes_what_people_wrote() {
    let postgres = Postgres::with_shop().await;
    let control = Control::start(&postgres.dir().join("l.sock"));
    let mut credential = postgres.credential("shop");
    credential.branch.as_mut().expect("named").branch_id = "<i>jane</i>".into();
    control.publish(credential);
    let store = Store::ready(daemon(&postgres.dir().join("l.sock"))).await;
    let evil = r#"UPDATE products SET name = '<script>alert(1)</script>', description = '"><img src=x onerror=''a''>&' WHERE id = 1;
                  UPDATE categories SET name = '<b>Premium</b>' WHERE id = 1;
                  UPDATE inventory SET quantity = 0 WHERE product_id = 2"#;
    postgres.run("shop", evil).await;
    let (response, page) = store.fetch("/plain").await;
    assert_eq!(response.status(), 200);
    assert!(
        response.headers()["content-type"]
            .to_str()
            .is_ok_and(|kind| kind.starts_with("text/html"))
    );
    for wrong in ["<script", "<img", "<i>", "<b>Premium"] {
        assert!(!page.contains(wrong), "{wrong} in {page}");
    }
    for right in [
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "&quot;&gt;&lt;img src=x onerror=&#39;a&#39;&gt;&amp;",
        "&lt;b&gt;Premium&lt;/b&gt;",
        "&lt;i&gt;jane&lt;/i&gt;",
        "owned · from production · until 2030-03-17 17:46 UTC",
        "Out of stock",
        "Only 75 left!",
        "25000 in stock",
        "$149.99",
    ] {
        assert!(page.contains(right), "{right} not in {page}");
    }
    assert_eq!(page.matches("<article id=\"product-").count(), 13);
    assert_eq!(
        store.ok("/api/products/1").await["name"],
        "<script>alert(1)</script>"
    );
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_goes_and_comes_back_with_the_database() {
    let mut postgres = Postgres::with_shop().await;
    let store = Store::ready(environment(&postgres.url("shop"))).await;
    store.ok("/api/products").await;
    postgres.stop();
    let away = store.wait_for_status("/api/health/ready", 503).await;
    assert_eq!(away["code"], "unavailable");
    assert!(
        away["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("database away: ")),
        "{away}"
    );
    let (response, _) = store.fetch("/api/products").await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    let (response, page) = store.fetch("/plain").await;
    assert_eq!(response.status(), 503);
    assert!(page.contains("Closed for a moment"), "{page}");
    // A browser that runs no scripts asks again, too.
    assert_eq!(response.headers()["refresh"], "3");
    store.ok("/api/health/live").await;
    postgres.resume().await;
    store.wait_for_status("/api/health/ready", 200).await;
    assert_eq!(list(&store.ok("/api/products").await).len(), 13);
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_starts_before_its_database_becomes_ready() {
    let mut postgres = Postgres::with_shop().await;
    postgres.stop();
    let store = Store::start(environment(&postgres.url("shop"))).await;
    let away = store.wait_for_status("/api/health/ready", 503).await;
    assert!(
        away["message"]
            .as_str()
            .is_some_and(|text| text.contains("cannot connect to `127.0.0.1`")),
        "{away}"
    );
    postgres.resume().await;
    store.wait_for_status("/api/health/ready", 200).await;
    assert_eq!(list(&store.ok("/api/products").await).len(), 13);
    store.end().await.expect("ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_cut_while_idle_do_not_fail_requests() {
    let postgres = Postgres::with_shop().await;
    let store = Store::ready(environment(&postgres.url("shop"))).await;
    let hammer = store.hammer("/api/products/1", 4);
    eventually("several connections are open", async || {
        postgres.connections().await > 1
    })
    .await;
    hammer.answers().await;
    let rounds = std::env::var("LAKEBASE_TEST_ROUNDS").map_or(3, |rounds| rounds.parse().expect("a number"));
    for round in 0..rounds {
        // A connection lent a moment ago is lent again unchecked, and one that was checked may still be cut before the query.
        let path = ["/api/products/1", "/api/products", "/api/health/ready", "/plain"][round % 4];
        store.fetch(path).await;
        assert!(postgres.connections().await > 0);
        // A compute that is suspended ends its backends just so.
        let cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'store-app'";
        postgres.run("shop", cut).await;
        let (answer, body) = store.fetch(path).await;
        assert_eq!(answer.status(), 200, "round {round}: {path}: {body}");
    }
    store.end().await.expect("ends well");
    assert_eq!(postgres.connections().await, 0);
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}
