//! `lakebased local recover`: looks, shows a plan, and carries it out.
//!
//! A kill at any point leaves an installation that is not served, and that the same command recovers to the same state: the
//! new catalog is complete before anything else, descriptors say what it says before it is put in place, and until then they
//! are newer than the old one.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use private_dir::DirError;

use super::plan::{Evidence, Plan, plan};
use super::{Directories, Refusal, RefusalReason, Seen, directories, judge, show, with_data};
use crate::catalog::{self, CATALOG, CatalogError, Described, Descriptor, Found, Remembered, Stamp};
use crate::clock::Clock;
use crate::compute;
use crate::postgres::RunAs;
use crate::recovery::RecoveryPlan;
use crate::storage::mount::{self, NotMounted};
use crate::storage::survey::has_data;
use crate::storage::{self, Layout, descriptor_file, lost};
use crate::token::Signer;

/// The new catalog until it is complete.
const NEW: &str = "catalog.new";

/// Duration for which the lock is tried: a daemon that is refused holds it for moments.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// Why nothing can be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Another process serves this directory.
    #[error("cannot recover `{}`: Local Lakebase is running there", .0.display())]
    InUse(PathBuf),
    /// The directory, or something in it, cannot be used.
    #[error("cannot use `{}`", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another user can change the directory, or one above it.
    #[error(transparent)]
    Untrusted(DirError),
    /// The disk of the directory is not mounted.
    #[error("cannot recover `{}`: its disk is not mounted", .dir.display())]
    NotMounted {
        /// The data directory.
        dir: PathBuf,
        /// How this is known.
        why: NotMounted,
    },
    /// There is nothing that could be restored, or nothing that this version understands.
    #[error("cannot recover `{}`: {refusal}", .dir.display())]
    Impossible {
        /// The data directory.
        dir: PathBuf,
        /// What is in the way.
        refusal: Refusal,
    },
    /// A catalog cannot be read or written.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The directories cannot be prepared.
    #[error("cannot prepare the data directory")]
    Prepare(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What was done.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Done {
    /// Where the old catalog is kept.
    pub old_catalog: Option<PathBuf>,
    /// Directories that were moved to `lost`, by their new places.
    pub moved: Vec<PathBuf>,
}

/// A recovery that is planned. While it lives, nothing else can use the data directory.
#[derive(Debug)]
pub struct Recovery {
    root: PathBuf,
    evidence: Evidence,
    plan: Plan,
    shown: RecoveryPlan,
    _lock: File,
}

impl RecoverError {
    /// Returns what the user can do about it.
    pub fn fix(&self) -> String {
        match self {
            Self::InUse(_) => "stop it with `lakebase down`, or end `lakebased local serve`".to_owned(),
            Self::NotMounted { dir, why } => why.fix(dir),
            Self::Untrusted(error) => error.fix(storage::DIR_VARIABLE).unwrap_or_default(),
            Self::Impossible { dir, refusal } => match refusal.reason {
                RefusalReason::DataMissing => format!(
                    "mount the disk that holds the data; to start without any of them, move `{}` away",
                    dir.join(CATALOG).display()
                ),
                _ => refusal.fix(dir),
            },
            Self::Io { .. } | Self::Catalog(_) | Self::Prepare(_) => String::new(),
        }
    }
}

impl Recovery {
    /// Looks at a data directory and plans. Changes nothing.
    pub async fn examine(data_dir: &Path) -> Result<Self, RecoverError> {
        Self::examine_at(data_dir, Clock::default().now()).await
    }

    async fn examine_at(data_dir: &Path, now: DateTime<Utc>) -> Result<Self, RecoverError> {
        // Nothing is created where no Local Lakebase was, and a link is refused before it is resolved.
        let root = data_dir.canonicalize().map_err(io_at(data_dir))?;
        private_dir::own(data_dir, storage::others()).map_err(RecoverError::Untrusted)?;
        if let Some(why) = mount::missing(&root) {
            return Err(RecoverError::NotMounted { dir: root, why });
        }
        let lock = lock(&root).await?;
        let catalog = catalog::inspect(&root).await;
        let Directories {
            branches: dirs,
            strange,
        } = directories(&root).await.map_err(io_at(&root))?;
        let verdict = judge(&catalog, &dirs, &with_data(&root, &catalog));
        let remembered = match catalog {
            Found::Readable(_) => catalog::remembered(&root).await?,
            _ => Remembered::default(),
        };
        let key = Signer::load_existing(&root).map_err(io_at(&root))?;
        let evidence = Evidence {
            catalog,
            remembered,
            dirs,
            lost: in_lost(&root).map_err(io_at(&root))?,
            key_id: key.and_then(|key| key.key_id().ok()),
            new_id: uuid::Uuid::new_v4().simple().to_string(),
            now,
        };
        let plan = plan(&evidence);
        check_possible(&root, &verdict, &plan)?;
        let measured = (root.clone(), evidence.clone(), plan.clone());
        let is_served = verdict.is_ok();
        let shown = storage::blocking(move || {
            let (root, evidence, plan) = measured;
            show::show(&root, &evidence, &plan, is_served, &strange)
        })
        .await;
        Ok(Self {
            root,
            evidence,
            plan,
            shown,
            _lock: lock,
        })
    }

    /// Returns what was found and what will be done.
    pub fn plan(&self) -> &RecoveryPlan {
        &self.shown
    }

    /// Carries the plan out.
    pub async fn carry_out(self) -> Result<Done, RecoverError> {
        self.build().await?;
        let moved = self.arrange().await?;
        self.describe()?;
        let old_catalog = self.keep_old()?;
        self.put_in_place()?;
        Ok(Done { old_catalog, moved })
    }

    /// Makes the new catalog beside the old one.
    async fn build(&self) -> Result<(), RecoverError> {
        let new = self.root.join(NEW);
        for left in [new.clone(), self.root.join(format!("{NEW}-journal"))] {
            match fs::remove_file(&left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_at(&left)(error)),
                _ => {}
            }
        }
        Ok(catalog::build(&new, &self.plan.wanted(&self.evidence.remembered)).await?)
    }

    /// Moves directories to `lost`, and back from there.
    async fn arrange(&self) -> Result<Vec<PathBuf>, RecoverError> {
        let prepare = |error| RecoverError::Prepare(Box::new(error));
        let run_as = RunAs::find().map_err(prepare)?;
        let layout = Layout::prepare(&self.root, run_as).map_err(prepare)?;
        let mut moved = vec![];
        for (key, reason) in &self.plan.set_aside {
            let dir = layout.branch(key);
            compute::stop_in(&dir).await;
            let place = lost::set_aside(&self.root, key, *reason, self.evidence.now);
            moved.push(place.map_err(io_at(&dir))?);
        }
        for branch in &self.plan.branches {
            if let Some(lost) = &branch.taken_back {
                let key = branch.contents.key();
                let place = layout.branch(&key);
                layout
                    .make_project_dir(place.parent().unwrap_or(&place))
                    .map_err(prepare)?;
                lost::take_back(&self.root, lost, &key).map_err(io_at(lost))?;
            }
        }
        Ok(moved)
    }

    /// Has every descriptor say what the new catalog says.
    fn describe(&self) -> Result<(), RecoverError> {
        let stamp = Stamp {
            catalog_id: self.plan.id.clone(),
            key_id: self.evidence.key_id.clone().unwrap_or_default(),
            settings: self.plan.settings.clone(),
        };
        for branch in &self.plan.branches {
            let descriptor = Descriptor::new(&stamp, self.plan.generation, branch.contents.clone());
            let place = storage::branch_dir(&self.root, &branch.contents.key());
            descriptor.write(&self.root).map_err(io_at(&place))?;
        }
        Ok(())
    }

    /// Moves the old catalog aside. Its log goes first: without the log it is older still, and refused.
    fn keep_old(&self) -> Result<Option<PathBuf>, RecoverError> {
        let time = lost::stamp(self.evidence.now);
        let kept = lost::free_name(&self.root, &format!("{CATALOG}.{time}"));
        for file in catalog::files(&self.root) {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let mut target = kept.clone().into_os_string();
            target.push(name.strip_prefix(CATALOG).unwrap_or_default());
            match fs::rename(&file, &target) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_at(&file)(error)),
                _ => {}
            }
        }
        Ok(Some(kept).filter(|kept| fs::symlink_metadata(kept).is_ok()))
    }

    fn put_in_place(&self) -> Result<(), RecoverError> {
        let file = self.root.join(CATALOG);
        let put = || {
            fs::rename(self.root.join(NEW), &file)?;
            File::open(&self.root)?.sync_all()
        };
        put().map_err(io_at(&file))
    }
}

/// Refuses where a new catalog would forget everything, or an old version would write over a newer one's.
fn check_possible(root: &Path, verdict: &Result<(), Refusal>, plan: &Plan) -> Result<(), RecoverError> {
    let Err(refusal) = verdict else {
        return Ok(());
    };
    let is_impossible = match refusal.reason {
        RefusalReason::CatalogNewer => true,
        RefusalReason::DataMissing => plan.branches.is_empty(),
        _ => false,
    };
    if is_impossible {
        let (dir, refusal) = (root.to_owned(), refusal.clone());
        return Err(RecoverError::Impossible { dir, refusal });
    }
    Ok(())
}

async fn lock(root: &Path) -> Result<File, RecoverError> {
    let path = root.join("lock");
    let file = private_dir::lock_file(&path).map_err(io_at(&path))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(io_at(&path)(source)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(RecoverError::InUse(root.to_owned()));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
        }
    }
}

/// What lies in `lost`, by the branch that its name or its descriptor states.
fn in_lost(root: &Path) -> io::Result<Vec<Seen>> {
    let seen = |lost: lost::Lost| {
        let content = descriptor_file::read(&lost.path);
        let described = match &lost.key {
            Some(key) => Described::parse(&content, key),
            None => Described::parse_any(&content),
        };
        let of_descriptor = || Some(described.here()?.contents.key());
        let key = lost.key.clone().or_else(of_descriptor)?;
        let (has_data, path) = (has_data(&lost.path), lost.path);
        Some(Seen {
            key,
            path,
            has_data,
            described,
        })
    };
    Ok(lost::list(root)?.into_iter().filter_map(seen).collect())
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> RecoverError {
    let path = path.to_owned();
    move |source| RecoverError::Io { path, source }
}

#[cfg(test)]
mod tests;
