//! The bare thing: a query of the store, run over and over through a pool of sqlx as the store has one; and the same behind an
//! axum that does nothing else, which is what HTTP costs anybody.

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, PgPool, Row};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// As many as the store's pool has.
const CONNECTIONS: u32 = 8;

#[derive(Debug, Clone)]
pub(crate) struct Bare {
    pool: PgPool,
    query: Arc<str>,
    arguments: usize,
    clients: usize,
}

impl Bare {
    /// Takes the query that has `mark` in it from what is known of the store's queries.
    pub(crate) async fn new(database: &str, mark: &str, clients: usize) -> anyhow::Result<Self> {
        let known = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
        let mut found = None;
        for entry in std::fs::read_dir(known)? {
            let data: Value = serde_json::from_str(&std::fs::read_to_string(entry?.path())?)?;
            if data["query"].as_str().is_some_and(|query| query.contains(mark)) {
                found = Some(data);
            }
        }
        let data = found.with_context(|| format!("no query has `{mark}`"))?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
        Ok(Self {
            pool: pool.connect(database).await?,
            query: data["query"].as_str().unwrap_or_default().into(),
            arguments: data["describe"]["parameters"]["Left"]
                .as_array()
                .map_or(0, Vec::len),
            clients,
        })
    }

    /// Returns how many queries in a second were answered.
    pub(crate) async fn rate(&self, turn: Duration) -> anyhow::Result<f64> {
        let (began, mut sides) = (Instant::now(), JoinSet::new());
        for _ in 0..self.clients {
            let (pool, query, arguments) = (self.pool.clone(), Arc::clone(&self.query), self.arguments);
            sides.spawn(async move {
                let mut count = 0_u32;
                while began.elapsed() < turn {
                    let rows = ask(&pool, &query, arguments).await?;
                    anyhow::ensure!(!rows.is_empty(), "no rows");
                    std::hint::black_box(decode(&rows)?);
                    count += 1;
                }
                Ok(count)
            });
        }
        let mut total = 0;
        while let Some(count) = sides.join_next().await {
            total += count??;
        }
        Ok(f64::from(total) / began.elapsed().as_secs_f64())
    }
}

/// Answers with the query's rows, each time asked; returns where. It goes on until the program ends.
pub(crate) async fn serve(bare: &Bare) -> anyhow::Result<String> {
    let app = Router::new().route("/", get(answer)).with_state(bare.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(url)
}

async fn answer(State(bare): State<Bare>) -> Result<Json<Vec<Decoded>>, StatusCode> {
    let rows = ask(&bare.pool, &bare.query, bare.arguments).await;
    let decoded = rows.and_then(|rows| decode(&rows));
    decoded.map(Json).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// The list has a filter, a limit and an offset; one product has its id.
async fn ask(pool: &PgPool, query: &Arc<str>, arguments: usize) -> sqlx::Result<Vec<PgRow>> {
    let query = sqlx::query(AssertSqlSafe(Arc::clone(query)));
    let query = if arguments == 1 {
        query.bind(6_i64)
    } else {
        query.bind(None::<i64>).bind(100_i64).bind(0_i64)
    };
    query.fetch_all(pool).await
}

type Decoded = (i64, String, String, i32);

/// What anybody would want of it: numbers and names. The marks are for the macros, and part of the names.
fn decode(rows: &[PgRow]) -> sqlx::Result<Vec<Decoded>> {
    rows.iter()
        .map(|row| {
            Ok((
                row.try_get("id")?,
                row.try_get("name")?,
                row.try_get("price!")?,
                row.try_get("quantity!")?,
            ))
        })
        .collect()
}
