//! Signed tokens: the password of a database, and the short-lived access token of the API. Signing needs no database,
//! so a credential for a sleeping compute costs nothing.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use lakebase_api::EndpointName;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{identity, private_file};

/// The key's file in the data directory.
const FILE: &str = "signing.key";

const ISSUER: &str = "local-lakebase";
const FOR_POSTGRES: &str = "postgres";
const FOR_API: &str = "api";

/// What the password of a database says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatabaseClaims {
    /// The user it was made for, who must be the one that logs in.
    pub(crate) sub: String,
    /// The only endpoint it opens.
    pub(crate) endpoint: String,
    /// The branch behind it then; a new branch of the same name is another one.
    pub(crate) branch_uid: String,
    /// Address of the endpoint, unless it shares one. After the endpoint has moved, another program may have the address, and
    /// has perhaps been sent this password.
    pub(crate) address: Option<Ipv4Addr>,
    #[serde(flatten)]
    stamp: Stamp,
}

/// What a password opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opens<'a> {
    pub(crate) endpoint: &'a EndpointName,
    pub(crate) branch_uid: &'a str,
    /// Address of the endpoint, unless it shares one.
    pub(crate) address: Option<Ipv4Addr>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ApiClaims {
    sub: String,
    #[serde(flatten)]
    stamp: Stamp,
}

/// What every token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    jti: String,
}

/// From when to when a token is good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) from: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
}

/// The key of this installation. Clones share it.
#[derive(Clone)]
pub(crate) struct Signer {
    sign: EncodingKey,
    check: DecodingKey,
}

impl Signer {
    /// Reads the key, and makes it the first time.
    pub(crate) fn load(dir: &Path) -> io::Result<Self> {
        let key = private_file::read_or_make(&dir.join(FILE), || identity::random(64))?;
        Self::of(&key)
    }

    /// Reads the key; none if there is none.
    pub(crate) fn load_existing(dir: &Path) -> io::Result<Option<Self>> {
        match std::fs::read_to_string(dir.join(FILE)) {
            Ok(key) => Self::of(&key).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn of(key: &str) -> io::Result<Self> {
        if key.len() < 32 {
            return Err(io::Error::other(
                "the file `signing.key` is too short to be a key; move it away, and a new one is made",
            ));
        }
        Ok(Self {
            sign: EncodingKey::from_secret(key.as_bytes()),
            check: DecodingKey::from_secret(key.as_bytes()),
        })
    }

    /// Returns a name of the key, from which the key cannot be found: passwords of another key are other passwords.
    pub(crate) fn key_id(&self) -> Result<String, jsonwebtoken::errors::Error> {
        let mut id = jsonwebtoken::crypto::sign(b"name of this key", &self.sign, Algorithm::HS256)?;
        id.truncate(16);
        Ok(id)
    }

    /// Makes the password that opens this endpoint of this branch for this user.
    pub(crate) fn database_token(
        &self,
        user: &str,
        opens: Opens<'_>,
        validity: Validity,
    ) -> Result<SecretString, jsonwebtoken::errors::Error> {
        self.encode(&DatabaseClaims {
            sub: user.to_owned(),
            endpoint: opens.endpoint.to_string(),
            branch_uid: opens.branch_uid.to_owned(),
            address: opens.address,
            stamp: Stamp::new(FOR_POSTGRES, validity),
        })
    }

    /// Makes a short-lived access token of the API.
    pub(crate) fn api_token(
        &self,
        user: &str,
        validity: Validity,
    ) -> Result<SecretString, jsonwebtoken::errors::Error> {
        self.encode(&ApiClaims {
            sub: user.to_owned(),
            stamp: Stamp::new(FOR_API, validity),
        })
    }

    /// Reads a password; none if it is not one that we made and that is good now.
    pub(crate) fn read_database_token(&self, token: &str, now: DateTime<Utc>) -> Option<DatabaseClaims> {
        let claims: DatabaseClaims = self.decode(token, FOR_POSTGRES)?;
        claims.stamp.is_good(now).then_some(claims)
    }

    /// Returns whom an access token was made for; none if it is not one that we made and that is good now.
    pub(crate) fn read_api_token(&self, token: &str, now: DateTime<Utc>) -> Option<String> {
        let claims: ApiClaims = self.decode(token, FOR_API)?;
        claims.stamp.is_good(now).then_some(claims.sub)
    }

    /// Makes the password of a role. The same role and nonce have the same password for as long as the key lives, so
    /// nothing secret needs to be remembered. What is signed has blanks, which no token has.
    pub(crate) fn native_password(
        &self,
        role: &str,
        nonce: &str,
    ) -> Result<SecretString, jsonwebtoken::errors::Error> {
        let message = format!("password of role {nonce} {role}");
        let signed = jsonwebtoken::crypto::sign(message.as_bytes(), &self.sign, Algorithm::HS256);
        signed.map(SecretString::from)
    }

    fn encode(&self, claims: &impl Serialize) -> Result<SecretString, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.sign).map(SecretString::from)
    }

    fn decode<T: DeserializeOwned + Clone>(&self, token: &str, audience: &str) -> Option<T> {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud"]);
        // Checked in `is_good` by our own clock, without the leeway for clocks of other machines.
        rules.validate_exp = false;
        Some(jsonwebtoken::decode::<T>(token, &self.check, &rules).ok()?.claims)
    }
}

impl Stamp {
    fn new(audience: &str, validity: Validity) -> Self {
        Self {
            iss: ISSUER.to_owned(),
            aud: audience.to_owned(),
            iat: validity.from.timestamp(),
            exp: validity.until.timestamp(),
            jti: Uuid::new_v4().to_string(),
        }
    }

    fn is_good(&self, now: DateTime<Utc>) -> bool {
        now.timestamp() < self.exp
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use secrecy::ExposeSecret;

    use super::*;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
    const HOUR: Duration = Duration::from_hours(1);

    fn signer() -> Signer {
        let dir = tempfile::tempdir().unwrap();
        Signer::load(dir.path()).unwrap()
    }

    fn hour() -> Validity {
        Validity {
            from: NOW,
            until: NOW + HOUR,
        }
    }

    fn opens(endpoint: &EndpointName) -> Opens<'_> {
        Opens {
            endpoint,
            branch_uid: "br-1",
            address: Some(Ipv4Addr::new(127, 64, 0, 1)),
        }
    }

    fn password(signer: &Signer) -> SecretString {
        let endpoint = "projects/shop/branches/dev/endpoints/primary".parse().unwrap();
        signer
            .database_token("jane@localhost", opens(&endpoint), hour())
            .unwrap()
    }

    #[test]
    fn a_password_says_whom_it_is_for_until_it_expires() {
        let signer = signer();
        let token = password(&signer);
        let token = token.expose_secret();
        let claims = signer.read_database_token(token, NOW).unwrap();
        assert_eq!((&*claims.sub, &*claims.branch_uid), ("jane@localhost", "br-1"));
        assert_eq!(claims.endpoint, "projects/shop/branches/dev/endpoints/primary");
        assert_eq!(claims.address, Some(Ipv4Addr::new(127, 64, 0, 1)));
        let second = Duration::from_secs(1);
        assert!(signer.read_database_token(token, NOW + HOUR - second).is_some());
        assert!(signer.read_database_token(token, NOW + HOUR).is_none());
    }

    #[test]
    fn pg_01_only_our_own_key_signs() {
        let (ours, other) = (signer(), signer());
        assert!(
            ours.read_database_token(password(&other).expose_secret(), NOW)
                .is_none()
        );
        let token = password(&ours).expose_secret().to_owned();
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (_, payload) = head.split_once('.').unwrap();
        let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
        for wrong in [
            String::new(),
            head.into(),
            format!("{head}."),
            format!("{none}.{payload}.{signature}"),
        ] {
            assert!(ours.read_database_token(&wrong, NOW).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_password_is_no_access_token_and_the_other_way_round() {
        let signer = signer();
        let access = signer.api_token("jane@localhost", hour()).unwrap();
        let read = |token: &SecretString, now| signer.read_api_token(token.expose_secret(), now);
        assert_eq!(read(&access, NOW).as_deref(), Some("jane@localhost"));
        assert_eq!(read(&access, NOW + HOUR), None);
        assert!(signer.read_database_token(access.expose_secret(), NOW).is_none());
        assert_eq!(read(&password(&signer), NOW), None);
    }

    #[test]
    fn a_native_password_depends_on_key_role_and_nonce() {
        let (ours, other) = (signer(), signer());
        let of = |signer: &Signer, role, nonce| {
            let password = signer.native_password(role, nonce).unwrap();
            password.expose_secret().to_owned()
        };
        let password = of(&ours, "app", "n1");
        assert_eq!(password, of(&ours, "app", "n1"));
        assert!(password.len() > 40, "256 bits");
        for another in [
            of(&other, "app", "n1"),
            of(&ours, "ann", "n1"),
            of(&ours, "app", "n2"),
        ] {
            assert_ne!(password, another);
        }
    }
}
