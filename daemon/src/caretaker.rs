//! Looks after what nobody else does: leases that were held open in repositories that were given up, replaced, or are gone with
//! their disk. What is done is decided in the core, and is never a delete. Keeps the ledger small, too.

use crate::apply::{self, Applying, Failed};
use crate::clock;
use crate::ledger::{Place, RepositoryRow};
use crate::patient::{Budget, Desk};
use crate::reconcile::Reconciler;
use crate::repository_config::Confirmed;
use crate::services::chain;
use anyhow::{Context, anyhow};
use daemon_core::plan::{Action, Standing, Step, Unattended, unattended};
use daemon_core::state::{Observed, Record};
use daemon_core::why::Why;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

/// How often it looks; the first time when the daemon starts.
const PERIOD: Duration = Duration::from_mins(10);

/// How soon again when something could not be done; each further failure doubles it.
const AGAIN: Duration = Duration::from_secs(20);

/// Looks now and then, for as long as the daemon runs.
pub(crate) async fn run(reconciler: Arc<Reconciler>, desk: Desk) {
    let mut failures = 0;
    loop {
        let looked = look(&reconciler, &desk).await;
        if let Err(error) = &looked {
            tracing::warn!(
                error = format!("{error:#}"),
                "cannot look after what is left; it is tried again"
            );
        }
        let pause = if looked.is_ok() {
            failures = 0;
            PERIOD
        } else {
            failures = (failures + 1).min(6);
            PERIOD.min(AGAIN * 2_u32.pow(failures - 1))
        };
        tokio::time::sleep(pause).await;
    }
}

/// Goes through what is held where nobody looks. One that cannot be helped does not keep the others from it.
async fn look(reconciler: &Reconciler, desk: &Desk) -> anyhow::Result<()> {
    if reconciler.ledger.is_unconfirmed() {
        return Ok(());
    }
    let mut looked = Ok(());
    for row in reconciler.ledger.holding().await? {
        if row.is_unconfirmed {
            continue;
        }
        if row.is_retired || is_gone(&row, desk).await {
            let given_back = give_back(reconciler, &row).await;
            looked = looked.and(given_back.with_context(|| row.common_dir.display().to_string()));
        }
    }
    reconciler.ledger.tidy(clock::now()).await?;
    looked
}

/// Whatever keeps its directory from being read, only one that is not there is gone; and should it come back, its branches
/// get their leases again as long as they last.
async fn is_gone(row: &RepositoryRow, desk: &Desk) -> bool {
    let path = row.common_dir.clone();
    let budget = Budget::Repository(row.id.clone());
    let found = desk.run(budget, move || path.symlink_metadata()).await;
    matches!(found, Ok(Err(error)) if error.kind() == ErrorKind::NotFound)
}

/// Gives back what was held in one repository, where nothing forks from it any more.
async fn give_back(reconciler: &Reconciler, row: &RepositoryRow) -> anyhow::Result<()> {
    let Some(settings) = Confirmed::of(row.confirmed_config.as_deref()).settings() else {
        return Ok(());
    };
    let provider = reconciler.services.provider(&settings).await;
    let provider = provider.map_err(|problem| anyhow!("{}: {}", problem.message, problem.fix))?;
    let place = Place {
        origin: provider.origin.clone(),
        project: provider.project_id(),
    };
    let turn = reconciler.turn(&place);
    let _turn = turn.lock().await;
    let records = reconciler.ledger.records(&row.id, &place).await?;
    let held: Vec<Record> = records
        .iter()
        .filter(|record| record.lease_held)
        .cloned()
        .collect();
    let mut observed = provider.observe().await?;
    let mut applying = Applying {
        ledger: &reconciler.ledger,
        provider: &provider,
        repository: &row.id,
        place: &place,
        records,
        locked: BTreeSet::new(),
    };
    for record in held {
        match unattended(&record, &observed, settings.policy.ttl, clock::now()) {
            Unattended::Wait => continue,
            Unattended::Release { expire_time } => {
                release(&mut applying, &record, expire_time, &mut observed).await?;
            }
            Unattended::Nothing => {}
        }
        if row.is_retired {
            reconciler.ledger.forget(&row.id, &place, &record.slot).await?;
        }
    }
    Ok(())
}

async fn release(
    applying: &mut Applying<'_>,
    record: &Record,
    expire_time: daemon_core::Timestamp,
    observed: &mut Observed,
) -> anyhow::Result<()> {
    let step = Step {
        slot: record.slot.clone(),
        action: Action::Release { expire_time },
        why: Why::LastChildGone,
        standing: Standing::Unused,
    };
    apply::apply(applying, &step, observed)
        .await
        .map_err(|failed| match failed {
            Failed::Ledger(error) => anyhow!(chain(&error)),
            Failed::Provider(error) => anyhow!(chain(&error)),
        })
}
