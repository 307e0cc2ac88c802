//! Whether an installation may be served. A catalog that is lost, or is not the one of last time, would make branches seem to
//! belong to nobody: so nothing is started, moved or removed with it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use super::Seen;
use crate::catalog::{Found, Row, Rows};
use crate::engine::BranchKey;
use crate::model::record::Phase;

/// Why a data directory is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What does not fit.
    pub reason: RefusalReason,
    /// Number of data directories on the disk.
    pub directories: usize,
    /// Number of branches in the catalog.
    pub branches: usize,
}

/// What does not fit between a catalog and the data directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// There is no catalog.
    CatalogMissing,
    /// The catalog has no branch.
    CatalogEmpty,
    /// The catalog cannot be read, for this reason.
    CatalogUnreadable(String),
    /// A newer version of this program wrote the catalog.
    CatalogNewer,
    /// The catalog is an older copy: this many directories have a later state.
    CatalogOlder(usize),
    /// The catalog is of another installation: this many directories are not its own.
    CatalogForeign(usize),
    /// None of the catalog's branches has data.
    DataMissing,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directories = counted(self.directories, "data directory", "data directories");
        match &self.reason {
            RefusalReason::CatalogMissing => write!(f, "the catalog is missing, beside {directories}"),
            RefusalReason::CatalogEmpty => write!(f, "the catalog has no branch, beside {directories}"),
            RefusalReason::CatalogUnreadable(why) => {
                write!(f, "the catalog cannot be read ({why}), beside {directories}")
            }
            RefusalReason::CatalogNewer => write!(f, "a newer lakebased wrote the catalog"),
            RefusalReason::CatalogOlder(newer) => {
                write!(
                    f,
                    "the catalog is an older copy: {newer} of {directories} have a later state"
                )
            }
            RefusalReason::CatalogForeign(foreign) => {
                write!(
                    f,
                    "the catalog is of another installation than {foreign} of {directories}"
                )
            }
            RefusalReason::DataMissing => {
                let branches = counted(self.branches, "branch", "branches");
                write!(f, "the catalog has {branches}, and none of their data is there")
            }
        }
    }
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

impl Refusal {
    /// Returns what the user can do about it.
    pub fn fix(&self, data_dir: &Path) -> String {
        match &self.reason {
            RefusalReason::CatalogNewer => "install that version of lakebased, or a newer one".to_owned(),
            RefusalReason::DataMissing => format!(
                "mount the disk that holds `{}`; if the data are lost, run `lakebased local recover`",
                data_dir.join("projects").display()
            ),
            _ => "run `lakebased local recover`: it shows what can be restored, and changes nothing without --yes"
                .to_owned(),
        }
    }
}

/// Decides whether these fit together. `with_data` are the catalog's branches whose data are there.
pub(crate) fn judge(catalog: &Found, dirs: &[Seen], with_data: &[BranchKey]) -> Result<(), Refusal> {
    let branches = match catalog {
        Found::Readable(rows) => known(rows).count(),
        _ => 0,
    };
    let reason = match catalog {
        Found::Newer => Some(RefusalReason::CatalogNewer),
        Found::Unreadable(why) => Some(RefusalReason::CatalogUnreadable(why.clone())),
        Found::Missing | Found::Empty => (!dirs.is_empty()).then_some(RefusalReason::CatalogMissing),
        Found::Readable(rows) => misfit(rows, dirs, with_data),
    };
    let directories = dirs.len();
    reason.map_or(Ok(()), |reason| {
        Err(Refusal {
            reason,
            directories,
            branches,
        })
    })
}

/// The rows that stand for data: one that is being made does not yet.
fn known(rows: &Rows) -> impl Iterator<Item = &Row> {
    rows.branches.iter().filter(|row| row.phase != Phase::Creating)
}

fn misfit(rows: &Rows, dirs: &[Seen], with_data: &[BranchKey]) -> Option<RefusalReason> {
    let named: BTreeSet<&BranchKey> = rows
        .branches
        .iter()
        .map(|row| &row.key)
        .chain(&rows.removals)
        .collect();
    if known(rows).count() == 0 && dirs.iter().any(|dir| !named.contains(&dir.key)) {
        return Some(RefusalReason::CatalogEmpty);
    }
    let described = || dirs.iter().filter_map(|dir| Some((dir, dir.described.here()?)));
    let is_foreign = |id: &str| rows.id.as_deref().is_some_and(|ours| ours != id);
    let foreign = described()
        .filter(|(_, descriptor)| is_foreign(&descriptor.catalog_id))
        .count();
    if foreign > 0 {
        return Some(RefusalReason::CatalogForeign(foreign));
    }
    // A catalog from before there were descriptors is older than any.
    let state_of = |key: &BranchKey| match (&rows.id, rows.branches.iter().find(|row| row.key == *key)) {
        (None, _) => -1,
        (Some(_), Some(row)) => row.generation,
        (Some(_), None) => rows.generation,
    };
    let newer = described()
        .filter(|(dir, descriptor)| descriptor.generation > state_of(&dir.key))
        .count();
    if newer > 0 {
        return Some(RefusalReason::CatalogOlder(newer));
    }
    let has_data = |row: &Row| with_data.contains(&row.key);
    let is_lost = known(rows).count() > 0 && !known(rows).any(has_data);
    is_lost.then_some(RefusalReason::DataMissing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Described, descriptor};
    use std::path::PathBuf;

    fn dir(id: &str, described: Described) -> Seen {
        Seen {
            key: key(id),
            path: PathBuf::new(),
            has_data: true,
            described,
        }
    }

    fn key(id: &str) -> BranchKey {
        BranchKey {
            project: "shop".into(),
            uid: format!("br-{id}"),
        }
    }

    fn at(id: &str, generation: i64) -> Seen {
        dir(id, Described::Here(Box::new(descriptor(id, "ours", generation))))
    }

    fn rows(branches: &[(&str, Phase, i64)]) -> Rows {
        let row = |(id, phase, generation): &(&str, Phase, i64)| Row {
            key: key(id),
            name: format!("projects/shop/branches/{id}"),
            phase: *phase,
            generation: *generation,
        };
        Rows {
            id: Some("ours".into()),
            generation: 9,
            branches: branches.iter().map(row).collect(),
            removals: vec![],
        }
    }

    /// The verdict when each directory has data.
    fn verdict(rows: Rows, dirs: &[Seen]) -> Option<RefusalReason> {
        let data: Vec<_> = dirs.iter().map(|dir| dir.key.clone()).collect();
        judge(&Found::Readable(rows), dirs, &data)
            .err()
            .map(|refusal| refusal.reason)
    }

    #[test]
    fn ll_01_a_lost_catalog_beside_data_is_refused_and_an_empty_directory_is_not() {
        let refused = |catalog: Found| judge(&catalog, &[at("a", 1)], &[]).map_err(|refusal| refusal.reason);
        assert_eq!(refused(Found::Missing), Err(RefusalReason::CatalogMissing));
        assert_eq!(refused(Found::Empty), Err(RefusalReason::CatalogMissing));
        assert_eq!(refused(Found::Newer), Err(RefusalReason::CatalogNewer));
        assert_eq!(
            refused(Found::Readable(Rows::default())),
            Err(RefusalReason::CatalogEmpty)
        );
        for fine in [Found::Missing, Found::Empty, Found::Readable(Rows::default())] {
            assert_eq!(judge(&fine, &[], &[]), Ok(()), "{fine:?}");
        }
        let broken = Found::Unreadable("malformed".into());
        assert!(judge(&broken, &[], &[]).is_err(), "also without data");
    }

    #[test]
    fn ll_03_a_descriptor_that_is_newer_than_its_row_or_the_catalog_is_refused() {
        let one = || rows(&[("a", Phase::Ready, 5)]);
        assert_eq!(verdict(one(), &[at("a", 5)]), None);
        assert_eq!(
            verdict(one(), &[at("a", 4)]),
            None,
            "killed before it was written"
        );
        assert_eq!(
            verdict(one(), &[at("a", 6)]),
            Some(RefusalReason::CatalogOlder(1))
        );
        let two = [at("a", 5), at("b", 9)];
        assert_eq!(verdict(one(), &two), None, "`b` was left by an old removal");
        let two = [at("a", 5), at("b", 10)];
        assert_eq!(verdict(one(), &two), Some(RefusalReason::CatalogOlder(1)));
        let before = Rows { id: None, ..one() };
        assert_eq!(
            verdict(before.clone(), &[at("a", 0)]),
            Some(RefusalReason::CatalogOlder(1))
        );
        assert_eq!(
            verdict(before, &[dir("a", Described::Missing)]),
            None,
            "an update"
        );
    }

    #[test]
    fn ll_04_the_catalog_of_another_installation_is_refused() {
        let foreign = dir("a", Described::Here(Box::new(descriptor("a", "theirs", 1))));
        let one = rows(&[("a", Phase::Ready, 5)]);
        assert_eq!(verdict(one, &[foreign]), Some(RefusalReason::CatalogForeign(1)));
    }

    #[test]
    fn ll_06_what_the_catalog_removes_or_makes_does_not_make_it_wrong() {
        let mut removing = rows(&[]);
        removing.removals = vec![key("a")];
        assert_eq!(
            verdict(removing, &[at("a", 5)]),
            None,
            "the last branch is being removed"
        );
        let making = rows(&[("a", Phase::Creating, 5)]);
        assert_eq!(verdict(making.clone(), &[dir("a", Described::Missing)]), None);
        let beside = [dir("a", Described::Missing), dir("b", Described::Missing)];
        assert_eq!(verdict(making, &beside), Some(RefusalReason::CatalogEmpty));
        let one = rows(&[("a", Phase::Ready, 5)]);
        let unknown = [
            at("a", 5),
            dir("b", Described::Missing),
            dir("c", Described::Elsewhere),
        ];
        assert_eq!(verdict(one, &unknown), None, "they are moved to `lost`");
    }

    #[test]
    fn ll_11_a_catalog_without_any_data_is_refused() {
        let two = Found::Readable(rows(&[("a", Phase::Ready, 5), ("b", Phase::Deleted, 6)]));
        let refusal = judge(&two, &[], &[]).unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.branches),
            (RefusalReason::DataMissing, 2)
        );
        assert_eq!(
            judge(&two, &[at("a", 5)], &[key("a")]),
            Ok(()),
            "one of two is served"
        );
    }
}
