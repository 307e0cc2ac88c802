//! Copies a data directory that is being written to, under PostgreSQL's own backup protocol: start point, files, log up to
//! the stop point, label. Every shortcut around it loses data on some file system or other.
//!
//! Source: "Continuous Archiving and Point-in-Time Recovery, making a base backup using the low level API".

use super::layout::Layout;
use super::tree::{self, CopyError, Copying, How, Skip};
use super::{blocking, check_room, new_branch};
use crate::compute::sql::{self, Access};
use crate::engine::{BranchKey, Durability, EngineError};
use crate::postgres::RunAs;
use sqlx::{Connection, PgConnection, Row};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Copies a branch whose compute answers. Returns the place in its log where the child's history begins.
pub(crate) async fn copy_live(
    layout: &Layout,
    access: &Access,
    source: &BranchKey,
    child: &BranchKey,
    durability: Durability,
) -> Result<String, EngineError> {
    let (from, how) = (layout.pgdata(source), layout.how());
    check_room(layout, &from).await?;
    let mut session = sql::open(access).await?;
    let lsn = new_branch(layout, child, durability, async |to, abandoned| {
        let copying = Copying {
            from,
            to,
            how,
            skip: Skip::Live,
            abandoned,
        };
        let lsn = backup(&mut session, copying).await?;
        session.close().await?;
        Ok(lsn)
    })
    .await?;
    Ok(lsn)
}

/// The protocol, all of it in one session: with the session, backup mode and slot end by themselves.
async fn backup(session: &mut PgConnection, copying: Copying) -> Result<String, EngineError> {
    let (from, to, how) = (copying.from.clone(), copying.to.clone(), copying.how);
    let begun = Instant::now();
    // Keeps the segments from now on; temporary, so that a crash of ours leaks nothing.
    let slot = format!("fork_{}", uuid::Uuid::new_v4().simple());
    sqlx::query("SELECT pg_create_physical_replication_slot($1, true, true)")
        .bind(&slot)
        .execute(&mut *session)
        .await?;
    let start: String = sqlx::query_scalar("SELECT pg_walfile_name(pg_backup_start($1, fast => true))")
        .bind(&slot)
        .fetch_one(&mut *session)
        .await?;
    let started = begun.elapsed();
    blocking(move || copying.run()).await?;
    let copied = begun.elapsed();
    // The stop point is the first byte that is not needed. At a segment's very end, releases differ in which one they name.
    let stop = sqlx::query(
        "SELECT lsn::text, labelfile, spcmapfile, pg_walfile_name(lsn - 1) AS segment,
                (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size') AS segment_size
         FROM pg_backup_stop(wait_for_archive => false)",
    )
    .fetch_one(&mut *session)
    .await?;
    let stopped = begun.elapsed();
    let tablespaces: String = stop.try_get("spcmapfile")?;
    if !tablespaces.trim().is_empty() {
        return Err(CopyError::Tablespace(from.join("pg_tblspc")).into());
    }
    let (segment, segment_size): (String, i64) = (stop.try_get("segment")?, stop.try_get("segment_size")?);
    let names = segments(&start, &segment, segment_size).ok_or(CopyError::SegmentGone(segment))?;
    let (log_from, log_to) = (from.join("pg_wal"), to.join("pg_wal"));
    blocking(move || copy_segments(&log_from, &log_to, &names, how)).await?;
    let label: String = stop.try_get("labelfile")?;
    write_label(&to, &label, how.run_as)?;
    let whole = begun.elapsed();
    tracing::debug!(?started, ?copied, ?stopped, ?whole, "backed up");
    Ok(stop.try_get("lsn")?)
}

/// The names of all segments from one to another, both included: timeline, then the two halves of the number.
fn segments(start: &str, stop: &str, segment_size: i64) -> Option<Vec<String>> {
    let per_log = u64::try_from(0x1_0000_0000_i64.checked_div(segment_size)?).ok()?;
    let number = |name: &str| {
        let log = u64::from_str_radix(name.get(8..16)?, 16).ok()?;
        let segment = u64::from_str_radix(name.get(16..24)?, 16).ok()?;
        Some(log * per_log + segment)
    };
    let timeline = start
        .get(..8)
        .filter(|timeline| stop.get(..8) == Some(timeline))?;
    let range = number(start)?..=number(stop)?;
    Some(
        range
            .map(|n| format!("{timeline}{:08X}{:08X}", n / per_log, n % per_log))
            .collect(),
    )
}

fn copy_segments(from: &Path, to: &Path, names: &[String], how: How) -> Result<(), CopyError> {
    for name in names {
        if tree::copy_file(&from.join(name), &to.join(name), how)? == 0 {
            return Err(CopyError::SegmentGone(name.clone()));
        }
    }
    Ok(())
}

/// With the label in place the child starts from the backup's start point, and refuses to open before its end.
fn write_label(pgdata: &Path, label: &str, run_as: RunAs) -> Result<(), EngineError> {
    let path: PathBuf = pgdata.join("backup_label");
    let write = || {
        fs::write(&path, label)?;
        run_as.own(&path)
    };
    write().map_err(|source| EngineError::Io {
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_carry_over_into_the_next_log() {
        let of = |start, stop, size| segments(start, stop, size);
        let mb = 1024 * 1024;
        assert_eq!(
            of("000000010000000000000FFE", "000000010000000100000001", mb),
            Some(vec![
                "000000010000000000000FFE".into(),
                "000000010000000000000FFF".into(),
                "000000010000000100000000".into(),
                "000000010000000100000001".into(),
            ])
        );
        assert_eq!(
            of("000000010000000000000002", "000000010000000000000002", 16 * mb).map(|n| n.len()),
            Some(1)
        );
        assert_eq!(
            of("000000010000000000000002", "000000020000000000000002", mb),
            None,
            "another timeline"
        );
        assert_eq!(of("x", "000000020000000000000002", mb), None);
    }
}
