//! The password of the role that owns every cluster: one for a data directory, random, in a file of mode 0600. A cluster holds
//! only a SCRAM verifier of it.

use std::io;
use std::path::Path;

use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::private_file;

/// The file in the data directory that holds the password.
pub(crate) const FILE: &str = "postgres.password";

/// Length of the password in hexadecimal digits: 256 bits.
const LENGTH: usize = 64;

/// Start of a verifier of ours. Iterations slow down guessing, which 256 random bits rule out, so one is enough: PostgreSQL's
/// 4096 would cost each of our logins a millisecond.
///
/// The form is that of [`pg_authid.rolpassword`](https://www.postgresql.org/docs/current/catalog-pg-authid.html).
const PREFIX: &str = "SCRAM-SHA-256$1:";

/// The password of the owner of all clusters in one data directory.
#[derive(Clone, Debug)]
pub(crate) struct OwnerPassword(SecretString);

impl OwnerPassword {
    /// Reads the password of a data directory. Creates one if the file is missing or holds none; branches get it when they
    /// start.
    pub(crate) fn load(data_dir: &Path) -> io::Result<Self> {
        let file = data_dir.join(FILE);
        match private_file::read_or_make(&file, random) {
            Ok(known) if is_password(&known) => return Ok(Self(known.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
            Err(error) => return Err(error),
        }
        tracing::warn!(file = %file.display(), "it holds no password; creating another one");
        let password = random();
        private_file::write(&file, password.as_bytes(), private_file::SECRET)?;
        Ok(Self(password.into()))
    }

    /// Returns the password for a login.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Returns a verifier with a fresh salt.
    pub(crate) fn verifier(&self) -> String {
        self.verifier_with(&rand::random::<[u8; 16]>())
    }

    /// Returns whether a verifier is one of this password.
    pub(crate) fn is_verifier(&self, verifier: &str) -> bool {
        let salt = verifier
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('$'))
            .and_then(|(salt, _)| BASE64_STANDARD.decode(salt).ok());
        salt.is_some_and(|salt| {
            let expected = self.verifier_with(&salt);
            expected.as_bytes().ct_eq(verifier.as_bytes()).into()
        })
    }

    /// Computes `StoredKey` and `ServerKey`, [RFC 5802 section 3](https://www.rfc-editor.org/rfc/rfc5802#section-3).
    fn verifier_with(&self, salt: &[u8]) -> String {
        // `Hi` with one iteration.
        let salted = sign(self.expose().as_bytes(), &[salt, &1_u32.to_be_bytes()].concat());
        let client_key = sign(salted.as_ref(), b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let server_key = sign(salted.as_ref(), b"Server Key");
        let [salt, stored_key, server_key] =
            [salt, stored_key.as_ref(), server_key.as_ref()].map(|bytes| BASE64_STANDARD.encode(bytes));
        format!("{PREFIX}{salt}${stored_key}:{server_key}")
    }
}

fn sign(key: &[u8], message: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

fn random() -> String {
    hex::encode(rand::random::<[u8; LENGTH / 2]>())
}

fn is_password(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const EXPECTED: &str = "SCRAM-SHA-256$1:MDEyMzQ1Njc4OWFiY2RlZg==$rb2i4FWE8CCi1HDhnBxhv8/uERf3QN6tiTjE4qSdliQ=:gWfVquF9Vgm4YA/KIyjllnL4Zn6B7unP+DKFnilYEAg=";

    #[test]
    fn pg_20_a_verifier_is_the_one_that_the_rfc_defines() {
        // Computed with Python's `hashlib.pbkdf2_hmac` and `hmac`.
        let password = OwnerPassword("secret".to_owned().into());
        let verifier = password.verifier_with(b"0123456789abcdef");
        assert_eq!(verifier, EXPECTED);
        assert!(password.is_verifier(EXPECTED));
        assert!(password.is_verifier(&password.verifier()));
        assert_ne!(
            password.verifier(),
            password.verifier(),
            "each has a salt of its own"
        );
    }

    #[test]
    fn pg_20_no_other_verifier_is_taken_for_ours() {
        let password = OwnerPassword("secret".to_owned().into());
        let other = OwnerPassword("other".to_owned().into()).verifier();
        let mut changed = password.verifier();
        changed.pop();
        for verifier in [
            "",
            "md5d41d8cd98f00b204e9800998ecf8427e",
            "SCRAM-SHA-256$1:",
            PREFIX,
            &other,
            &changed,
        ] {
            assert!(!password.is_verifier(verifier), "{verifier}");
        }
    }

    #[test]
    fn pg_20_a_password_is_kept_secret_and_replaced_when_its_file_holds_none() {
        let dir = tempfile::tempdir().unwrap();
        let first = OwnerPassword::load(dir.path()).unwrap();
        assert!(is_password(first.expose()));
        assert_eq!(OwnerPassword::load(dir.path()).unwrap().expose(), first.expose());
        assert!(!format!("{first:?}").contains(first.expose()));
        for content in [&b""[..], b"short", &[b'x'; LENGTH], &[0xff; LENGTH]] {
            fs::write(dir.path().join(FILE), content).unwrap();
            let other = OwnerPassword::load(dir.path()).unwrap();
            assert!(
                is_password(other.expose()) && other.expose() != first.expose(),
                "{content:?}"
            );
            assert_eq!(OwnerPassword::load(dir.path()).unwrap().expose(), other.expose());
        }
    }
}
