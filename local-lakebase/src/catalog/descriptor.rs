//! Descriptors: what the catalog knows of a branch, written a second time beside its data. A lost catalog is rebuilt from
//! them.
//!
//! A descriptor is written after the commit that changed its branch, never before. So one that is older than the catalog only
//! means that the process ended between the two, and one that is newer proves that the catalog is an older copy.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::engine::{BranchKey, Durability};
use crate::model::record::{BranchRecord, DatabaseRecord, EndpointRecord, ProjectRecord, RoleRecord};
use crate::storage::{self, descriptor_file};

/// The version of the file's form.
const FORMAT: u32 = 1;

/// The largest generation that is believed: a commit each microsecond would take 285 years to it.
const MAX_GENERATION: i64 = 1 << 53;

/// Everything that the catalog remembers of one branch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Contents {
    pub(crate) project: ProjectRecord,
    pub(crate) branch: BranchRecord,
    pub(crate) endpoints: Vec<EndpointRecord>,
    /// With the nonces that their passwords are made from. Without the signing key those open nothing.
    pub(crate) roles: Vec<RoleRecord>,
    pub(crate) databases: Vec<DatabaseRecord>,
}

/// A descriptor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Descriptor {
    format: u32,
    /// The catalog that wrote it.
    pub(crate) catalog_id: String,
    /// The state of that catalog in which the branch was last changed.
    pub(crate) generation: i64,
    /// Names the key that the passwords of the roles were made with.
    pub(crate) key_id: String,
    /// The catalog's settings.
    pub(crate) settings: BTreeMap<String, String>,
    #[serde(flatten)]
    pub(crate) contents: Contents,
}

/// What there is of a descriptor in a branch's directory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Described {
    Missing,
    /// It cannot be read; the text is the reason.
    Unreadable(String),
    /// It describes another directory: this one is a copy.
    Elsewhere,
    Here(Box<Descriptor>),
}

impl Contents {
    pub(crate) fn key(&self) -> BranchKey {
        BranchKey {
            project: self.project.name.id().to_owned(),
            uid: self.branch.uid.clone(),
        }
    }

    /// Whether everything in it is of the one branch.
    fn is_consistent(&self) -> bool {
        let (uid, name) = (&self.branch.uid, &self.branch.name);
        let is_of_branch =
            |endpoint: &EndpointRecord| endpoint.branch_uid == *uid && endpoint.name.branch() == *name;
        self.key().is_plain()
            && name.project() == self.project.name
            && self.endpoints.iter().all(is_of_branch)
            && self.roles.iter().all(|role| role.branch_uid == *uid)
            && self.databases.iter().all(|database| database.branch_uid == *uid)
    }

    fn durability(&self) -> Durability {
        match self.branch.expire_time {
            Some(_) => Durability::Ephemeral,
            None => Durability::Durable,
        }
    }
}

impl Descriptor {
    pub(crate) fn new(stamp: &Stamp, generation: i64, contents: Contents) -> Self {
        Self {
            format: FORMAT,
            catalog_id: stamp.catalog_id.clone(),
            generation,
            key_id: stamp.key_id.clone(),
            settings: stamp.settings.clone(),
            contents,
        }
    }

    /// Writes it into the directory of its branch.
    ///
    /// # Errors
    /// `NotFound` when that is not there.
    pub(crate) fn write(&self, root: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let dir = storage::branch_dir(root, &self.contents.key());
        descriptor_file::write(&dir, &text, self.contents.durability())
    }
}

impl Described {
    /// Reads what lies in the directory of a branch.
    pub(crate) fn parse(content: &descriptor_file::Content, key: &BranchKey) -> Self {
        match Self::parse_any(content) {
            Self::Here(descriptor) if descriptor.contents.key() != *key => Self::Elsewhere,
            described => described,
        }
    }

    /// Reads what lies in a directory that may be of any branch.
    pub(crate) fn parse_any(content: &descriptor_file::Content) -> Self {
        let text = match content {
            descriptor_file::Content::Missing => return Self::Missing,
            descriptor_file::Content::Unreadable(why) => return Self::Unreadable(why.clone()),
            descriptor_file::Content::Text(text) => text,
        };
        match serde_json::from_str::<Descriptor>(text) {
            Ok(descriptor) if descriptor.format > FORMAT => {
                Self::Unreadable("a newer version wrote it".to_owned())
            }
            Ok(descriptor) if !(0..=MAX_GENERATION).contains(&descriptor.generation) => {
                Self::Unreadable("its generation is out of range".to_owned())
            }
            Ok(descriptor) if !descriptor.contents.is_consistent() => {
                Self::Unreadable("its parts are of different branches".to_owned())
            }
            Ok(descriptor) => Self::Here(Box::new(descriptor)),
            Err(error) => Self::Unreadable(format!("line {}: it is not a descriptor", error.line())),
        }
    }

    pub(crate) fn here(&self) -> Option<&Descriptor> {
        match self {
            Self::Here(descriptor) => Some(descriptor),
            Self::Missing | Self::Unreadable(_) | Self::Elsewhere => None,
        }
    }
}

/// What descriptors say of the catalog that writes them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stamp {
    pub(crate) catalog_id: String,
    pub(crate) key_id: String,
    pub(crate) settings: BTreeMap<String, String>,
}

/// The descriptors of an installation.
#[derive(Debug)]
pub(super) struct Descriptors {
    root: PathBuf,
    pub(super) key_id: String,
    /// Held from a commit to the end of its writes here, so that an older descriptor never replaces a newer one.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// Branches whose descriptor could not be written.
    unwritten: Mutex<BTreeSet<String>>,
}

impl Descriptors {
    pub(super) fn new(root: PathBuf, key_id: String) -> Arc<Self> {
        Arc::new(Self {
            root,
            key_id,
            turn: tokio::sync::Mutex::default(),
            unwritten: Mutex::default(),
        })
    }

    /// Writes these. The commit is done by now, so a failure is noted, and tried again later.
    pub(super) async fn write(self: &Arc<Self>, descriptors: Vec<Descriptor>) {
        if descriptors.is_empty() {
            return;
        }
        let this = self.clone();
        storage::blocking(move || {
            for descriptor in descriptors {
                this.note(&descriptor.contents.branch, descriptor.write(&this.root));
            }
        })
        .await;
    }

    fn note(&self, branch: &BranchRecord, written: io::Result<()>) {
        let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        match written {
            Ok(()) => {
                unwritten.remove(&branch.uid);
            }
            Err(error) => {
                if unwritten.insert(branch.uid.clone()) {
                    tracing::warn!(%error, branch = %branch.name, "cannot write the descriptor of a branch; retrying");
                }
            }
        }
    }

    /// Returns the branches whose descriptors must be written again.
    pub(super) fn unwritten(&self) -> BTreeSet<String> {
        let unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        unwritten.clone()
    }

    /// Forgets a branch that needs no descriptor any more.
    pub(super) fn forget(&self, uid: &str) {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::catalog::tests::{branch, now, primary};
    use crate::model::record::Phase;
    use crate::model::{database, project, role};
    use lakebase_api::IdentityType;
    use storage::descriptor_file::Content;

    /// A descriptor of branch `id` of the project `shop`.
    pub(crate) fn descriptor(id: &str, catalog_id: &str, generation: i64) -> Descriptor {
        let branch = branch(id, Phase::Ready);
        let roles = role::born(&branch.uid, "jane@localhost", IdentityType::User, now()).to_vec();
        let contents = Contents {
            project: project::tests::record("shop", now()),
            endpoints: vec![primary(id)],
            roles,
            databases: vec![database::born(&branch.uid, now())],
            branch,
        };
        let stamp = Stamp {
            catalog_id: catalog_id.to_owned(),
            ..Stamp::default()
        };
        Descriptor::new(&stamp, generation, contents)
    }

    fn text(descriptor: &Descriptor) -> Content {
        Content::Text(serde_json::to_string(descriptor).unwrap())
    }

    #[test]
    fn ll_02_a_descriptor_is_read_as_it_was_written() {
        let mut written = descriptor("dev", "one", 7);
        written.contents.branch.expire_time = Some(now());
        written.contents.endpoints[0].min_cu = 0.3;
        written.contents.roles[0].password_nonce = Some("nonce".into());
        let key = written.contents.key();
        assert_eq!(
            Described::parse(&text(&written), &key),
            Described::Here(Box::new(written))
        );
    }

    #[test]
    fn ll_02_what_is_not_the_descriptor_of_this_directory_is_none() {
        let here = descriptor("dev", "one", 7);
        let key = here.contents.key();
        let parse = |content: &Content| Described::parse(content, &key);
        assert_eq!(parse(&Content::Missing), Described::Missing);
        assert_eq!(parse(&text(&descriptor("other", "one", 7))), Described::Elsewhere);
        let newer = Descriptor {
            format: FORMAT + 1,
            ..here.clone()
        };
        let mut mixed = here.clone();
        mixed.contents.roles[0].branch_uid = "br-other".into();
        let mut moved = here.clone();
        moved.contents.endpoints[0].name = primary("other").name;
        let mut endless = here.clone();
        endless.generation = i64::MAX;
        let whole = serde_json::to_string(&here).unwrap();
        let half = whole[..whole.len() / 2].to_owned();
        for broken in [
            text(&newer),
            text(&mixed),
            text(&moved),
            text(&endless),
            Content::Text(half),
            Content::Text(String::new()),
        ] {
            assert!(matches!(parse(&broken), Described::Unreadable(_)), "{broken:?}");
        }
    }
}
