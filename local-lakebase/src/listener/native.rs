//! Native logins: the passwords that open a door without a token. Only digests are kept, and the control plane says
//! which there are.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The roles of a branch that have a password, and whether passwords count at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct NativeLogins {
    is_enabled: bool,
    digests: HashMap<String, [u8; 32]>,
}

/// What a password comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    /// It is wrong, or this role has none.
    Wrong,
    /// The role has one, but passwords do not count here.
    Disabled,
}

impl NativeLogins {
    /// Takes the passwords of roles, by their names in PostgreSQL.
    pub(crate) fn new(is_enabled: bool, passwords: impl IntoIterator<Item = (String, SecretString)>) -> Self {
        let digest = |(role, password): (String, SecretString)| (role, digest(password.expose_secret()));
        Self {
            is_enabled,
            digests: passwords.into_iter().map(digest).collect(),
        }
    }

    /// Judges a password in a time that does not depend on how much of it is right.
    pub(super) fn judge(&self, role: &str, password: &str) -> Verdict {
        match self.digests.get(role) {
            Some(_) if !self.is_enabled => Verdict::Disabled,
            Some(expected) if digest(password).ct_eq(expected).into() => Verdict::Right,
            Some(_) | None => Verdict::Wrong,
        }
    }
}

fn digest(password: &str) -> [u8; 32] {
    Sha256::digest(password).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pg_01_only_the_right_password_of_the_right_role_counts_and_only_if_passwords_do() {
        let of_app = || [("app".to_owned(), SecretString::from("s3cret"))];
        let on = NativeLogins::new(true, of_app());
        assert_eq!(on.judge("app", "s3cret"), Verdict::Right);
        assert_eq!(on.judge("app", "s3cret "), Verdict::Wrong);
        assert_eq!(on.judge("jane", "s3cret"), Verdict::Wrong);
        let off = NativeLogins::new(false, of_app());
        assert_eq!(off.judge("app", "s3cret"), Verdict::Disabled);
        assert_eq!(off.judge("jane", ""), Verdict::Wrong);
        assert!(!format!("{on:?}").contains("s3cret"));
    }
}
