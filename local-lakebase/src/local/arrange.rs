//! What a start does with what the last run left: looks whether catalog and data fit together, and puts the disk in order by
//! the catalog.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Config, StartError};
use crate::catalog::{self, Catalog, CatalogError, Found};
use crate::clock::Clock;
use crate::control;
use crate::engine::{Engine, EngineConfig, EngineError, Known};
use crate::model::record::Phase;
use crate::recovery::{self, Directories, Seen};
use crate::storage::mount;

/// How long an idle compute runs when its endpoint does not say.
const SUSPEND: Duration = Duration::from_mins(5);

/// Refuses what must not be served, before anything is made, opened or moved there.
pub(super) async fn check(dir: &Path) -> Result<Directories, StartError> {
    if let Some(why) = mount::missing(dir) {
        let dir = dir.to_owned();
        return Err(StartError::NotMounted { dir, why });
    }
    let catalog = catalog::inspect(dir).await;
    let found = recovery::directories(dir).await;
    let found = found.map_err(|source| StartError::Directory {
        dir: dir.to_owned(),
        source,
    })?;
    let verdict = recovery::judge(&catalog, &found.branches, &recovery::with_data(dir, &catalog));
    verdict.map_err(|refusal| StartError::Refused {
        dir: dir.to_owned(),
        refusal,
    })?;
    if let Found::Readable(rows) = catalog {
        tracing::debug!(
            branches = rows.branches.len(),
            generation = rows.generation,
            "the catalog fits the disk"
        );
    }
    Ok(found)
}

/// Opens the engine and puts the disk in order by what the catalog says.
pub(super) async fn engine(
    config: &Config,
    catalog: &Catalog,
    clock: &Clock,
) -> Result<(Engine, Vec<PathBuf>), StartError> {
    let engine = Engine::open(EngineConfig {
        data_dir: config.data_dir.clone(),
        pg_bindir: config.pg_bindir.clone(),
        suspend_timeout: SUSPEND,
        running_computes: config.limits.running_computes,
    });
    let engine = engine.await.map_err(engine_error)?;
    let (unfinished, removed) = (catalog.unfinished().await?, catalog.removals().await?);
    let mut branches = Vec::new();
    for project in catalog.projects().await? {
        let all = catalog.branches(&project.name).await?;
        branches.extend(
            all.iter()
                .filter(|b| b.phase != Phase::Creating)
                .map(control::key),
        );
    }
    let known = Known {
        branches: &branches,
        unfinished: &unfinished,
        removed: &removed,
    };
    let recovered = engine.recover(known, clock.now()).await.map_err(engine_error)?;
    tracing::debug!(?recovered, branches = branches.len(), "branches in order");
    // Forgotten only now: until their data are gone, the rows say that these may be removed.
    catalog.forget_unfinished().await?;
    for key in &removed {
        catalog.forget_removal(&key.uid).await?;
    }
    Ok((engine, recovered.unmoved))
}

/// Writes the descriptors that the disk does not have as the catalog has them.
pub(super) async fn renew_descriptors(
    catalog: &Catalog,
    key_id: &str,
    dirs: Vec<Seen>,
) -> Result<(), CatalogError> {
    let is_current = |uid: &str, generation: i64| {
        let of_branch = dirs.iter().filter(|dir| dir.key.uid == uid);
        let mut descriptors = of_branch.filter_map(|dir| dir.described.here());
        descriptors.any(|found| found.generation == generation && found.key_id == key_id)
    };
    catalog.renew_descriptors(is_current).await
}

fn engine_error(error: EngineError) -> StartError {
    match error {
        EngineError::NoPostgres { fix } | EngineError::TooOld { fix, .. } => StartError::NoPostgres { fix },
        other => StartError::Engine(Box::new(other)),
    }
}
