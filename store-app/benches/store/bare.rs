//! The bare thing: a query of the store, run over and over through a pool of sqlx as the store has one.

use anyhow::Context;
use serde_json::Value;
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, PgPool, Row};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// As many as the store's pool has.
const CONNECTIONS: u32 = 8;

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

/// What anybody would want of it: numbers and names. The marks are for the macros, and part of the names.
fn decode(rows: &[PgRow]) -> sqlx::Result<Vec<(i64, String, String, i32)>> {
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
