//! What happens when catalog and data directories disagree: a start is refused, and `lakebased local recover` puts the two
//! together again.
//!
//! ```text
//! catalog ──► inspect ──┐
//!                       ├─► verdict: may this be served?      pure
//! disk ─────► survey ───┴─► plan: what to restore, from what  pure ──► carry_out
//! ```
//!
//! Nothing is removed here. What cannot be restored is moved to `lost`, and the old catalog is kept beside the new one.

mod carry_out;
mod plan;
mod show;
mod verdict;

use std::io;
use std::path::{Path, PathBuf};

pub use self::carry_out::{Done, RecoverError, Recovery};
pub use self::show::{
    Aside, FoundCatalog, LostPassword, Missing, RecoveryPlan, Restored, Source, StillLost, WithoutDefault,
};
pub(crate) use self::verdict::judge;
pub use self::verdict::{Refusal, RefusalReason};

use crate::catalog::{Described, Found};
use crate::engine::BranchKey;
use crate::storage::survey::{BranchDir, Disk, has_data, survey};
use crate::storage::{self, lost};

/// A branch's directory, as it was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) key: BranchKey,
    pub(crate) path: PathBuf,
    pub(crate) has_data: bool,
    pub(crate) described: Described,
}

/// The directories of an installation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Directories {
    pub(crate) branches: Vec<Seen>,
    /// What is of no known form.
    pub(crate) strange: Vec<PathBuf>,
}

/// Reads the directories of an installation.
pub(crate) async fn directories(root: &Path) -> io::Result<Directories> {
    let root = root.to_owned();
    storage::blocking(move || {
        let Disk { branches, strange } = survey(&root)?;
        let branches = branches.into_iter().map(Seen::of).collect();
        Ok(Directories { branches, strange })
    })
    .await
}

impl Seen {
    fn of(dir: BranchDir) -> Self {
        Self {
            has_data: has_data(&dir.path),
            described: Described::parse(&dir.descriptor, &dir.key),
            key: dir.key,
            path: dir.path,
        }
    }
}

/// Returns the branches of a catalog that have data, wherever a link may lead.
pub(crate) fn with_data(root: &Path, catalog: &Found) -> Vec<BranchKey> {
    let Found::Readable(rows) = catalog else {
        return vec![];
    };
    let keys = rows.branches.iter().map(|row| &row.key);
    keys.filter(|key| has_data(&storage::branch_dir(root, key)))
        .cloned()
        .collect()
}

/// Counts the directories in `lost`. One that cannot be read counts as none.
pub(crate) fn count_lost(root: &Path) -> usize {
    lost::list(root).map_or(0, |lost| lost.len())
}
