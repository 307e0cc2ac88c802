//! Who may call the API: the one person of this machine, by an access token that lies in a file only they can read,
//! and a client of theirs, by id and secret exchanged for short-lived tokens, which is a service principal of its own.

use std::io;
use std::path::Path;

use lakebase_api::IdentityType;
use rand::distr::{Alphanumeric, SampleString};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::private_file;

/// Shortest access token that is used; one that is made has 49 letters.
const MIN_TOKEN: usize = 32;

/// Who calls: the name that is also their role in PostgreSQL, and what kind of identity that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) identity_type: IdentityType,
}

/// The access token, as a tool is given it, and the client that may ask for others.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The name of the person, and of their role in PostgreSQL.
    pub(crate) user_name: String,
    /// The access token.
    pub(crate) token: SecretString,
    client_id: String,
    client_secret: SecretString,
}

impl Identity {
    /// Reads the secrets of this installation, and makes them the first time.
    pub(crate) fn load(dir: &Path, user_name: String) -> io::Result<Self> {
        let token = private_file::read_or_make(&dir.join("token"), || format!("local-{}", random(43)))?;
        let client = private_file::read_or_make(&dir.join("client"), || {
            format!("{}\n{}\n", uuid::Uuid::new_v4(), random(43))
        })?;
        let mut lines = client.lines();
        let (Some(id), Some(secret)) = (lines.next(), lines.next()) else {
            return Err(io::Error::other(
                "the file `client` does not hold an id and a secret; move it away, and a new one is made",
            ));
        };
        if token.trim().len() < MIN_TOKEN {
            return Err(io::Error::other(
                "the file `token` is too short to be a token; move it away, and a new one is made",
            ));
        }
        Ok(Self {
            user_name,
            token: token.trim().into(),
            client_id: id.to_owned(),
            client_secret: secret.into(),
        })
    }

    /// Says whether this is the access token, in a time that does not depend on how much of it is right.
    pub(crate) fn is_token(&self, given: &str) -> bool {
        same(given, self.token.expose_secret())
    }

    /// Returns the caller of this name: the person, or the client, which is a service principal named after its id.
    pub(crate) fn caller(&self, name: &str) -> Option<Caller> {
        let is_known = name == self.user_name || name == self.client_id;
        is_known.then(|| Caller {
            name: name.to_owned(),
            identity_type: self.type_of(name),
        })
    }

    /// Returns what kind of identity the owner of something is.
    pub(crate) fn type_of(&self, name: &str) -> IdentityType {
        if name == self.client_id {
            IdentityType::ServicePrincipal
        } else {
            IdentityType::User
        }
    }

    /// Returns the client's id and secret.
    pub(crate) fn client(&self) -> (&str, &SecretString) {
        (&self.client_id, &self.client_secret)
    }

    /// Says whether these are the client's id and secret.
    pub(crate) fn is_client(&self, id: &str, secret: &str) -> bool {
        same(id, &self.client_id) & same(secret, self.client_secret.expose_secret())
    }
}

/// Compares digests, which are of one length whatever was given.
fn same(given: &str, expected: &str) -> bool {
    let (given, expected) = (Sha256::digest(given), Sha256::digest(expected));
    given.ct_eq(&expected).into()
}

/// Makes a secret of that many letters and digits, about six bits each.
pub(crate) fn random(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_survives_a_restart_and_nothing_else_is_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load(dir.path(), "jane@localhost".into()).unwrap();
        let again = Identity::load(dir.path(), "jane@localhost".into()).unwrap();
        assert!(again.is_token(first.token.expose_secret()));
        for wrong in ["", "local-", "x", &format!("{} ", first.token.expose_secret())] {
            assert!(!again.is_token(wrong), "{wrong}");
        }
        assert!(first.token.expose_secret().len() > 40);
    }

    #[test]
    fn a_client_needs_both_id_and_secret() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load(dir.path(), "jane@localhost".into()).unwrap();
        let (id, secret) = (
            identity.client_id.clone(),
            identity.client_secret.expose_secret().to_owned(),
        );
        assert!(identity.is_client(&id, &secret));
        assert!(!identity.is_client(&id, ""));
        assert!(!identity.is_client("", &secret));
    }

    #[test]
    fn secrets_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::load(dir.path(), "jane@localhost".into()).unwrap();
        assert!(!format!("{identity:?}").contains(identity.token.expose_secret()));
    }
}
