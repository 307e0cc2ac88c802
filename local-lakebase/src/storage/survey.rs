//! What lies in a data directory, read without changing anything.

use super::descriptor_file::{self, Content};
use super::layout::{self, PROJECTS};
use crate::engine::BranchKey;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The data directories of an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) branches: Vec<BranchDir>,
    /// What is neither a branch's directory nor one that is being made. It is left alone.
    pub(crate) strange: Vec<PathBuf>,
}

/// A branch's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BranchDir {
    pub(crate) key: BranchKey,
    pub(crate) path: PathBuf,
    pub(crate) descriptor: Content,
}

/// Reads which branches' directories there are.
///
/// # Errors
/// When a directory cannot be read: what is in it is then unknown, and not absent.
pub(crate) fn survey(root: &Path) -> io::Result<Disk> {
    let mut disk = Disk::default();
    for project in entries(&root.join(PROJECTS))? {
        if !project.is_dir {
            disk.strange.push(project.path);
            continue;
        }
        for entry in entries(&project.path)? {
            let key = BranchKey {
                project: project.name.clone(),
                uid: entry.name.clone(),
            };
            if entry.is_dir && key.is_plain() && has_pgdata(&entry.path)? {
                let descriptor = descriptor_file::read(&entry.path);
                let path = entry.path;
                disk.branches.push(BranchDir {
                    key,
                    path,
                    descriptor,
                });
            } else if !(entry.is_dir && layout::is_half_made_branch(&entry.name)) {
                disk.strange.push(entry.path);
            }
        }
    }
    disk.branches.sort_by(|one, other| one.key.cmp(&other.key));
    disk.strange.sort();
    Ok(disk)
}

/// Whether a branch has data that PostgreSQL could start on.
pub(crate) fn has_data(dir: &Path) -> bool {
    dir.join("pgdata/global/pg_control").is_file()
}

/// What has a `pgdata` is a branch's directory, also when that is empty.
fn has_pgdata(dir: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(dir.join("pgdata")) {
        Ok(meta) => Ok(meta.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

struct Entry {
    name: String,
    path: PathBuf,
    is_dir: bool,
}

fn entries(dir: &Path) -> io::Result<Vec<Entry>> {
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut found = vec![];
    for entry in listed {
        let entry = entry?;
        found.push(Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            path: entry.path(),
            is_dir: entry.file_type()?.is_dir(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ll_10_what_is_of_no_known_form_is_named_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a temp dir");
        let projects = dir.path().join(PROJECTS);
        assert_eq!(survey(dir.path()).expect("read"), Disk::default());
        let half = format!("br-x.{}.tmp", uuid::Uuid::new_v4().simple());
        for made in [
            "shop/br-x/pgdata",
            &format!("shop/{half}/pgdata"),
            "shop/br-y.tmp",
            "shop/My Backup",
        ] {
            fs::create_dir_all(projects.join(made)).expect("made");
        }
        fs::write(projects.join("notes"), "").expect("written");
        let disk = survey(dir.path()).expect("read");
        let keys: Vec<_> = disk.branches.iter().map(|dir| dir.key.uid.as_str()).collect();
        assert_eq!(keys, ["br-x"]);
        let strange = ["notes", "shop/My Backup", "shop/br-y.tmp"].map(|name| projects.join(name));
        assert_eq!(disk.strange, strange);
        assert!(!has_data(&disk.branches[0].path), "an empty pgdata is no data");
    }
}
