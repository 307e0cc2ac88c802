//! What is sold: categories and products, their rows, queries and handlers. The only file that knows the shop's tables.

use crate::db::Database;
use crate::error::{Error, Path, Query};
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, PgConnection};

/// A heading in the shop.
#[derive(Debug, Serialize, FromRow)]
pub(crate) struct Category {
    id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    created_at: DateTime<Utc>,
}

/// A product as lists show it.
#[derive(Debug, Serialize, FromRow)]
pub(crate) struct Product {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    /// Text, so that no reader makes a binary fraction of it.
    pub(crate) price: String,
    image_url: String,
    category_id: i64,
    pub(crate) category_name: String,
    pub(crate) quantity: i32,
}

/// A product with all that belongs to it.
#[derive(Debug, Serialize, FromRow)]
struct ProductDetail {
    id: i64,
    name: String,
    description: String,
    price: String,
    image_url: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    #[sqlx(flatten)]
    category: CategoryOfProduct,
    #[sqlx(flatten)]
    inventory: Inventory,
}

#[derive(Debug, Serialize, FromRow)]
struct CategoryOfProduct {
    #[sqlx(rename = "category_id")]
    id: i64,
    #[sqlx(rename = "category_name")]
    name: String,
    #[sqlx(rename = "category_description")]
    description: String,
}

/// How many are left; none, if nobody ever counted.
#[derive(Debug, Serialize, FromRow)]
struct Inventory {
    quantity: i32,
    #[sqlx(rename = "counted_at")]
    updated_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
struct ProductFilter {
    category_id: Option<i64>,
}

/// The routes of the catalogue.
pub(crate) fn router() -> Router<Database> {
    Router::new()
        .route("/categories", get(list_categories))
        .route("/categories/{id}", get(category_by_id))
        .route("/products", get(list_products))
        .route("/products/{id}", get(product_by_id))
}

async fn list_categories(State(database): State<Database>) -> Result<Json<Vec<Category>>, Error> {
    let (mut connection, _) = database.acquire().await?;
    Ok(Json(fetch_categories(&mut connection).await?))
}

async fn category_by_id(
    State(database): State<Database>,
    Path(id): Path<i64>,
) -> Result<Json<Category>, Error> {
    let (mut connection, _) = database.acquire().await?;
    let found = fetch_category(&mut connection, id).await?;
    let what = "category";
    found.map(Json).ok_or(Error::Absent { what, id })
}

async fn list_products(
    State(database): State<Database>,
    Query(filter): Query<ProductFilter>,
) -> Result<Json<Vec<Product>>, Error> {
    let (mut connection, _) = database.acquire().await?;
    Ok(Json(fetch_products(&mut connection, filter.category_id).await?))
}

async fn product_by_id(
    State(database): State<Database>,
    Path(id): Path<i64>,
) -> Result<Json<ProductDetail>, Error> {
    let (mut connection, _) = database.acquire().await?;
    let found = fetch_product(&mut connection, id).await?;
    let what = "product";
    found.map(Json).ok_or(Error::Absent { what, id })
}

/// Returns all categories.
pub(crate) async fn fetch_categories(connection: &mut PgConnection) -> sqlx::Result<Vec<Category>> {
    sqlx::query_as("SELECT id, name, description, created_at FROM categories ORDER BY id")
        .fetch_all(connection)
        .await
}

async fn fetch_category(connection: &mut PgConnection, id: i64) -> sqlx::Result<Option<Category>> {
    sqlx::query_as("SELECT id, name, description, created_at FROM categories WHERE id = $1")
        .bind(id)
        .fetch_optional(connection)
        .await
}

/// Returns the products of one category, or all.
pub(crate) async fn fetch_products(
    connection: &mut PgConnection,
    category_id: Option<i64>,
) -> sqlx::Result<Vec<Product>> {
    sqlx::query_as(
        "SELECT p.id, p.name, p.description, p.price::text AS price, p.image_url, p.category_id,
                c.name AS category_name, coalesce(i.quantity, 0) AS quantity
         FROM products p
         JOIN categories c ON c.id = p.category_id
         LEFT JOIN inventory i ON i.product_id = p.id
         WHERE $1::bigint IS NULL OR p.category_id = $1
         ORDER BY p.id",
    )
    .bind(category_id)
    .fetch_all(connection)
    .await
}

async fn fetch_product(connection: &mut PgConnection, id: i64) -> sqlx::Result<Option<ProductDetail>> {
    sqlx::query_as(
        "SELECT p.id, p.name, p.description, p.price::text AS price, p.image_url, p.created_at, p.updated_at,
                c.id AS category_id, c.name AS category_name, c.description AS category_description,
                coalesce(i.quantity, 0) AS quantity, i.updated_at AS counted_at
         FROM products p
         JOIN categories c ON c.id = p.category_id
         LEFT JOIN inventory i ON i.product_id = p.id
         WHERE p.id = $1",
    )
    .bind(id)
    .fetch_optional(connection)
    .await
}
