//! What is sold: categories and products, their rows, queries and handlers. The only file that knows the shop's tables.

use crate::db::Database;
use crate::error::{Away, Error, NoSuchThing, Path, Query, Refused};
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, query, query_as};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How many things a list has at most, and if nobody says.
const LIMIT: i64 = 100;

/// A heading in the shop.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Category {
    id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    created_at: DateTime<Utc>,
}

/// A product as lists show it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Product {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) description: String,
    /// US dollars; text, so that no reader makes a binary fraction of it.
    #[schema(example = "49.99")]
    pub(crate) price: String,
    image_url: String,
    category_id: i64,
    pub(crate) category_name: String,
    pub(crate) quantity: i32,
}

/// A product with all that belongs to it.
#[derive(Debug, Serialize, ToSchema)]
struct ProductDetail {
    id: i64,
    name: String,
    description: String,
    /// US dollars, as text.
    #[schema(example = "49.99")]
    price: String,
    image_url: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    category: CategoryOfProduct,
    inventory: Inventory,
}

/// The heading over a product.
#[derive(Debug, Serialize, ToSchema)]
struct CategoryOfProduct {
    id: i64,
    name: String,
    description: String,
}

/// How many are left; none, if nobody ever counted.
#[derive(Debug, Serialize, ToSchema)]
struct Inventory {
    quantity: i32,
    updated_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ProductFilter {
    /// Only this category.
    category_id: Option<i64>,
    /// At most so many.
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<i64>,
    /// Not the first so many.
    #[param(minimum = 0, default = 0)]
    offset: Option<i64>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CategoryFilter {
    /// At most so many.
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<i64>,
    /// Not the first so many.
    #[param(minimum = 0, default = 0)]
    offset: Option<i64>,
}

/// A part of a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice {
    limit: i64,
    offset: i64,
}

impl Slice {
    /// The beginning of a list.
    pub(crate) const FIRST: Self = Self {
        limit: LIMIT,
        offset: 0,
    };

    fn new(limit: Option<i64>, offset: Option<i64>) -> Result<Self, Error> {
        let (limit, offset) = (limit.unwrap_or(LIMIT), offset.unwrap_or(0));
        if !(1..=LIMIT).contains(&limit) {
            return Err(Error::Invalid(format!("limit must be from 1 to {LIMIT}")));
        }
        if offset < 0 {
            return Err(Error::Invalid("offset must not be negative".to_owned()));
        }
        Ok(Self { limit, offset })
    }
}

/// The routes of the catalogue.
pub(crate) fn router() -> OpenApiRouter<Database> {
    OpenApiRouter::new()
        .routes(routes!(list_categories))
        .routes(routes!(category_by_id))
        .routes(routes!(list_products))
        .routes(routes!(product_by_id))
}

/// The categories.
#[utoipa::path(
    get,
    path = "/categories",
    operation_id = "list_categories",
    tag = "catalogue",
    params(CategoryFilter),
    responses((status = 200, description = "In the order of their ids", body = [Category]), Refused, Away),
)]
async fn list_categories(
    State(database): State<Database>,
    Query(filter): Query<CategoryFilter>,
) -> Result<Json<Vec<Category>>, Error> {
    let slice = Slice::new(filter.limit, filter.offset)?;
    let (categories, _) = database
        .read(|connection| fetch_categories(connection, slice).boxed())
        .await?;
    Ok(Json(categories))
}

/// One category.
#[utoipa::path(
    get,
    path = "/categories/{id}",
    operation_id = "get_category",
    tag = "catalogue",
    params(("id" = i64, Path, description = "The category's id")),
    responses((status = 200, description = "The category", body = Category), NoSuchThing, Refused, Away),
)]
async fn category_by_id(
    State(database): State<Database>,
    Path(id): Path<i64>,
) -> Result<Json<Category>, Error> {
    let (found, _) = database
        .read(|connection| fetch_category(connection, id).boxed())
        .await?;
    let what = "category";
    found.map(Json).ok_or(Error::Absent { what, id })
}

/// The products of one category, or of all.
#[utoipa::path(
    get,
    path = "/products",
    operation_id = "list_products",
    tag = "catalogue",
    params(ProductFilter),
    responses((status = 200, description = "In the order of their ids", body = [Product]), Refused, Away),
)]
async fn list_products(
    State(database): State<Database>,
    Query(filter): Query<ProductFilter>,
) -> Result<Json<Vec<Product>>, Error> {
    let slice = Slice::new(filter.limit, filter.offset)?;
    let (products, _) = database
        .read(|connection| fetch_products(connection, filter.category_id, slice).boxed())
        .await?;
    Ok(Json(products))
}

/// One product, with its category and its stock.
#[utoipa::path(
    get,
    path = "/products/{id}",
    operation_id = "get_product",
    tag = "catalogue",
    params(("id" = i64, Path, description = "The product's id")),
    responses((status = 200, description = "The product", body = ProductDetail), NoSuchThing, Refused, Away),
)]
async fn product_by_id(
    State(database): State<Database>,
    Path(id): Path<i64>,
) -> Result<Json<ProductDetail>, Error> {
    let (found, _) = database
        .read(|connection| fetch_product(connection, id).boxed())
        .await?;
    let what = "product";
    found.map(Json).ok_or(Error::Absent { what, id })
}

/// Returns the categories.
pub(crate) async fn fetch_categories(
    connection: &mut PgConnection,
    slice: Slice,
) -> sqlx::Result<Vec<Category>> {
    query_as!(
        Category,
        "SELECT id, name, description, created_at FROM categories ORDER BY id LIMIT $1 OFFSET $2",
        slice.limit,
        slice.offset
    )
    .fetch_all(connection)
    .await
}

async fn fetch_category(connection: &mut PgConnection, id: i64) -> sqlx::Result<Option<Category>> {
    query_as!(
        Category,
        "SELECT id, name, description, created_at FROM categories WHERE id = $1",
        id
    )
    .fetch_optional(connection)
    .await
}

/// Returns the products of one category, or all.
pub(crate) async fn fetch_products(
    connection: &mut PgConnection,
    category_id: Option<i64>,
    slice: Slice,
) -> sqlx::Result<Vec<Product>> {
    query_as!(
        Product,
        r#"SELECT p.id, p.name, p.description, p.price::text AS "price!", p.image_url, p.category_id,
                  c.name AS category_name, coalesce(i.quantity, 0) AS "quantity!"
           FROM products p
           JOIN categories c ON c.id = p.category_id
           LEFT JOIN inventory i ON i.product_id = p.id
           WHERE $1::bigint IS NULL OR p.category_id = $1
           ORDER BY p.id
           LIMIT $2 OFFSET $3"#,
        category_id,
        slice.limit,
        slice.offset
    )
    .fetch_all(connection)
    .await
}

async fn fetch_product(connection: &mut PgConnection, id: i64) -> sqlx::Result<Option<ProductDetail>> {
    let row = query!(
        r#"SELECT p.id, p.name, p.description, p.price::text AS "price!", p.image_url, p.created_at, p.updated_at,
                  c.id AS category_id, c.name AS category_name, c.description AS category_description,
                  coalesce(i.quantity, 0) AS "quantity!", i.updated_at AS "counted_at?"
           FROM products p
           JOIN categories c ON c.id = p.category_id
           LEFT JOIN inventory i ON i.product_id = p.id
           WHERE p.id = $1"#,
        id
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| ProductDetail {
        id: row.id,
        name: row.name,
        description: row.description,
        price: row.price,
        image_url: row.image_url,
        created_at: row.created_at,
        updated_at: row.updated_at,
        category: CategoryOfProduct {
            id: row.category_id,
            name: row.category_name,
            description: row.category_description,
        },
        inventory: Inventory {
            quantity: row.quantity,
            updated_at: row.counted_at,
        },
    }))
}
