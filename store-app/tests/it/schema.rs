//! The migrations, run as a member of `databricks_superuser` who owns nothing else.

use crate::postgres::{JANE, Postgres};
use crate::store::{Store, environment};
use sqlx::{Connection, PgConnection};
use store_app::migrations;

const TABLES: &str =
    "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations'";

async fn jane(postgres: &Postgres) -> PgConnection {
    let login = postgres.login("shop", "jane", JANE);
    PgConnection::connect_with(&login).await.expect("jane")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_migrations_go_up_and_down_and_up_again() {
    let postgres = Postgres::with_shop().await;
    let mut jane = jane(&postgres).await;
    for _ in 0..2 {
        migrations().run(&mut jane).await.expect("up");
        assert_eq!(postgres.count("shop", TABLES).await, 3);
        assert_eq!(postgres.count("shop", "SELECT count(*) FROM products").await, 13);
        migrations()
            .undo(&mut jane, 1)
            .await
            .expect("down to the empty schema");
        assert_eq!(postgres.count("shop", "SELECT count(*) FROM products").await, 0);
        assert_eq!(postgres.count("shop", "SELECT count(*) FROM categories").await, 0);
        migrations().undo(&mut jane, 0).await.expect("down to nothing");
        assert_eq!(postgres.count("shop", TABLES).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_migrations_leave_room_for_people() {
    let postgres = Postgres::with_shop().await;
    let mut jane = jane(&postgres).await;
    migrations().run(&mut jane).await.expect("up");
    let category =
        "INSERT INTO categories (name, description) VALUES ('Gravel', 'Bricks, sharded.') RETURNING id";
    let id: i64 = sqlx::query_scalar(category)
        .fetch_one(&mut jane)
        .await
        .expect("a category");
    assert_eq!(id, 5);
    let product = "INSERT INTO products (name, description, price, image_url, category_id)
                   VALUES ('Pebble', 'One.', 0.5, '', 1) RETURNING id";
    let id: i64 = sqlx::query_scalar(product)
        .fetch_one(&mut jane)
        .await
        .expect("a product");
    assert_eq!(id, 14);
    let stock = "INSERT INTO inventory (product_id) VALUES (14) RETURNING quantity";
    let quantity: i32 = sqlx::query_scalar(stock)
        .fetch_one(&mut jane)
        .await
        .expect("stock");
    assert_eq!(quantity, 0);
    // Going back would have to delete the pebble with its category: it is refused, and nothing is lost.
    migrations()
        .undo(&mut jane, 1)
        .await
        .expect_err("a product of a person");
    assert_eq!(postgres.count("shop", "SELECT count(*) FROM products").await, 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_colleague_serves_a_branch_that_is_ahead_of_the_program() {
    let postgres = Postgres::with_shop().await;
    migrations().run(&mut jane(&postgres).await).await.expect("up");
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (999, 'reviews', true, '', 1)";
    postgres.run("shop", newer).await;
    let url = postgres
        .url("shop")
        .replace("jane:first-password", "joe:joes-password");
    let store = Store::ready(environment(&url)).await;
    assert_eq!(store.ok("/api/current-user").await["user_name"], "joe");
    assert_eq!(store.ok("/api/categories/1").await["name"], "Premium Data");
    store.end().await.expect("ends well");
}
