//! Data directories: where they are, how one is copied from another, how they go. No HTTP, no processes but `initdb` and
//! `pg_controldata`.
//!
//! A directory appears under its name whole or not at all: it is made under `*.tmp` and renamed. One that goes is renamed
//! into `trash` first. Only names that are exactly of this form are ever removed; data directories that the catalog does
//! not name are moved to `lost`.

mod cluster;
pub(crate) mod descriptor_file;
mod half_made;
mod hba;
mod layout;
mod live;
pub(crate) mod lost;
pub(crate) mod mount;
mod space;
pub(crate) mod survey;
mod tree;

pub(crate) use cluster::{
    EndOfLog, INITDB, OWNER, end_of_log, init_cluster, program, write_settings, write_settings_for,
};
pub(crate) use half_made::HalfMade;
pub(crate) use hba::{RULES as LOGIN_RULES, write_login_rules};
pub(crate) use layout::{LOST, Layout, PORT, branch_dir, socket};
pub(crate) use live::copy_live;
#[cfg(test)]
pub(crate) use space::is_scattered;
pub use space::shares_blocks;
pub(crate) use tree::CopyError;

use private_dir::Others;

use crate::engine::{BranchKey, Durability, EngineError};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tree::{Copying, Skip};

/// The variable that names the data directory.
pub(crate) const DIR_VARIABLE: &str = "LAKEBASE_LOCAL_DIR";

/// Returns what other users may do in the data directory. Run by root they must be able to pass through it, because PostgreSQL
/// runs as one of them; the files in it have modes of their own.
pub(crate) fn others() -> Others {
    if rustix::process::geteuid().is_root() {
        Others::Pass
    } else {
        Others::Nothing
    }
}

/// What a stopped data directory is copied from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The template's directory.
    Template(PathBuf),
    /// A branch whose compute is kept asleep by the caller.
    Branch(BranchKey),
}

/// Copies a data directory that no postmaster uses.
pub(crate) async fn copy_stopped(
    layout: &Layout,
    source: &Source,
    child: &BranchKey,
    durability: Durability,
) -> Result<(), EngineError> {
    let from = match source {
        Source::Template(path) => path.join("pgdata"),
        Source::Branch(key) => layout.pgdata(key),
    };
    check_room(layout, &from).await?;
    let how = layout.how();
    new_branch(layout, child, durability, async move |pgdata, abandoned| {
        let copying = Copying {
            from,
            to: pgdata,
            how,
            skip: Skip::StoppedOnly,
            abandoned,
        };
        blocking(move || copying.run()).await?;
        Ok(())
    })
    .await
}

/// Refuses a copy of a data directory that would leave no room on the disk.
async fn check_room(layout: &Layout, pgdata: &Path) -> Result<(), EngineError> {
    let (root, pgdata) = (layout.root().to_owned(), pgdata.to_owned());
    let shares_blocks = layout.shares_blocks();
    blocking(move || space::check(&root, size_of(&pgdata), shares_blocks)).await
}

/// Makes a branch's directory: `fill` puts the data in place, and the branch appears when all is there.
async fn new_branch<T>(
    layout: &Layout,
    child: &BranchKey,
    durability: Durability,
    fill: impl AsyncFnOnce(PathBuf, Arc<AtomicBool>) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    if !child.is_plain() {
        return Err(EngineError::OddName(child.uid.clone()));
    }
    let path = layout.branch(child);
    layout.make_project_dir(path.parent().unwrap_or(&path))?;
    let half = HalfMade::of(&path);
    let pgdata = half.path().join("pgdata");
    let made = async {
        layout.make_dir(half.path())?;
        layout.make_dir(&pgdata)?;
        let filled = fill(pgdata.clone(), half.abandoned()).await?;
        write_settings(layout, child, &pgdata, durability)?;
        Ok(filled)
    };
    match made.await {
        Ok(filled) => half.publish(&path, durability).await.map(|()| filled),
        Err(error) => {
            half.remove().await;
            Err(error)
        }
    }
}

/// Lists the branches' directories on the disk, and names what is none.
pub(crate) fn branches(layout: &Layout) -> Result<Vec<survey::BranchDir>, EngineError> {
    let disk = survey::survey(layout.root()).map_err(|source| EngineError::Io {
        path: layout.projects(),
        source,
    })?;
    for path in &disk.strange {
        tracing::warn!(path = %path.display(), "not a branch; left alone");
    }
    Ok(disk.branches)
}

/// Removes a branch's directory: out of the way at once, from the disk in the background.
pub(crate) fn discard(layout: &Layout, key: &BranchKey) -> Result<(), EngineError> {
    let path = layout.branch(key);
    let trash = layout
        .trash()
        .join(format!("{}-{}", key.uid, uuid::Uuid::new_v4()));
    match fs::rename(&path, &trash) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(EngineError::Io { path, source }),
    }
    drop(fs::remove_dir_all(layout.socket_dir(key)));
    tokio::task::spawn_blocking(move || drop(fs::remove_dir_all(trash)));
    Ok(())
}

/// Lists the templates that a crash left half-made; their postmasters may still run.
pub(crate) fn half_made_templates(layout: &Layout) -> Result<Vec<PathBuf>, EngineError> {
    named(layout.root(), layout::is_half_made_template)
}

/// Removes what a crash left: half-made directories and trash, by names that only this program gives. Returns how many.
pub(crate) async fn sweep(layout: &Layout) -> Result<usize, EngineError> {
    let mut left = half_made_templates(layout)?;
    left.extend(named(&layout.trash(), layout::is_trash)?);
    for (_, project) in subdirs(&layout.projects())? {
        left.extend(named(&project, layout::is_half_made_branch)?);
    }
    let count = left.len();
    let remove = move || {
        for path in &left {
            if let Err(error) = fs::remove_dir_all(path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove a half-made directory");
            }
        }
    };
    blocking(remove).await;
    Ok(count)
}

/// The directories in a directory whose names are of a form.
fn named(dir: &Path, is_of_form: fn(&str) -> bool) -> Result<Vec<PathBuf>, EngineError> {
    let dirs = subdirs(dir)?.into_iter();
    Ok(dirs
        .filter(|(name, _)| is_of_form(name))
        .map(|(_, path)| path)
        .collect())
}

/// How large a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Its data, the write-ahead log left out.
    pub(crate) logical: u64,
    /// What it takes of the disk by itself, log and all: blocks shared with other branches left out.
    pub(crate) own: u64,
}

/// Measures a branch.
pub(crate) async fn sizes(layout: &Layout, key: &BranchKey) -> Result<Sizes, EngineError> {
    let pgdata = layout.pgdata(key);
    if !pgdata.is_dir() {
        return Err(EngineError::Missing(key.uid.clone()));
    }
    let shares_blocks = layout.shares_blocks();
    Ok(blocking(move || {
        let data = ["base", "global"].iter();
        Sizes {
            logical: data.map(|dir| size_of(&pgdata.join(dir))).sum(),
            own: space::own(&pgdata, shares_blocks),
        }
    })
    .await)
}

/// Measures the files below a directory.
pub(crate) fn size_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size_of(&entry.path()),
        Ok(meta) => meta.len(),
        // Dropped between the list and the look.
        Err(_) => 0,
    });
    sizes.sum()
}

/// The directories in a directory, by name.
fn subdirs(dir: &Path) -> Result<Vec<(String, PathBuf)>, EngineError> {
    let io = |source| EngineError::Io {
        path: dir.to_owned(),
        source,
    };
    let mut found = vec![];
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(found)
}

/// Runs something that waits for the disk.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
