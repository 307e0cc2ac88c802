//! The messages with which a server opens a session, up to the point where the client may speak. They are judged before
//! the client gets any of them.
//!
//! This is the second wall behind [`super::startup`]: whatever a packet looked like, a session of another user than the
//! checked one, or of a superuser, is not handed out. PostgreSQL reports both settings in every session:
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC>

use super::packet::{self, Malformed};
use super::startup::CancelKey;

const AUTHENTICATION_OK: [u8; 4] = [0; 4];

/// A server's messages so far.
#[derive(Debug)]
pub(super) struct Greeting<'a> {
    /// Name of the user that was checked, which is the user of the packet that the server got.
    user: &'a str,
    session_authorization: Option<Vec<u8>>,
    is_superuser: Option<Vec<u8>>,
    server_encoding: Option<Vec<u8>>,
    client_encoding: Option<Vec<u8>>,
    key: Option<CancelKey>,
}

/// State of a greeting after a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More messages follow.
    Incomplete,
    /// The session is that of the checked user; the key cancels its queries.
    Open(Option<CancelKey>),
    /// The server refused the session, and the message says why.
    Refused,
}

/// Reason why a session is not handed out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untrusted {
    #[error("the compute asks for a password")]
    Password,
    #[error("the compute did not report {0}")]
    Unreported(&'static str),
    #[error("the compute reported {0} more than once")]
    Repeated(&'static str),
    #[error("the session is that of another user")]
    OtherUser,
    #[error("the session has the rights of a superuser")]
    Superuser,
    #[error("the compute sent an unreadable message: {0}")]
    Malformed(#[from] Malformed),
}

impl<'a> Greeting<'a> {
    /// Starts with the name of the user that was checked.
    pub(super) fn new(user: &'a str) -> Self {
        Self {
            user,
            session_authorization: None,
            is_superuser: None,
            server_encoding: None,
            client_encoding: None,
            key: None,
        }
    }

    /// Takes the next message.
    pub(super) fn take(&mut self, kind: u8, body: &[u8]) -> Result<Progress, Untrusted> {
        match kind {
            b'R' if body != AUTHENTICATION_OK => return Err(Untrusted::Password),
            b'S' => self.note(body)?,
            b'K' => self.key = Some(CancelKey(body.to_vec())),
            b'E' => return Ok(Progress::Refused),
            b'Z' => {
                self.judge()?;
                return Ok(Progress::Open(self.key.take()));
            }
            _ => {}
        }
        Ok(Progress::Incomplete)
    }

    fn note(&mut self, body: &[u8]) -> Result<(), Untrusted> {
        let (name, value) = packet::reported(body)?;
        match name {
            b"session_authorization" => once(&mut self.session_authorization, "session_authorization", value),
            b"is_superuser" => once(&mut self.is_superuser, "is_superuser", value),
            b"server_encoding" => once(&mut self.server_encoding, "server_encoding", value),
            b"client_encoding" => {
                self.client_encoding = Some(value.to_vec());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn judge(&self) -> Result<(), Untrusted> {
        let missing = Untrusted::Unreported;
        let session_user = self.session_authorization.as_deref();
        let is_superuser = self.is_superuser.as_deref();
        if !self.is_same_user(session_user.ok_or(missing("session_authorization"))?) {
            return Err(Untrusted::OtherUser);
        }
        // The rights of the current user, who may be another one by `ALTER ROLE … SET role`.
        match is_superuser.ok_or(missing("is_superuser"))? {
            b"off" => Ok(()),
            _ => Err(Untrusted::Superuser),
        }
    }

    /// Compares names. PostgreSQL converts what it reports to the client's encoding, in which a name that is not ASCII
    /// looks different; no encoding changes a name that is ASCII, such as that of the superuser, or makes one of it.
    fn is_same_user(&self, reported: &[u8]) -> bool {
        let is_converted = self.client_encoding != self.server_encoding;
        reported == self.user.as_bytes() || (is_converted && !self.user.is_ascii() && !reported.is_ascii())
    }
}

fn once(slot: &mut Option<Vec<u8>>, name: &'static str, value: &[u8]) -> Result<(), Untrusted> {
    match slot.replace(value.to_vec()) {
        None => Ok(()),
        Some(_) => Err(Untrusted::Repeated(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("client_encoding", "UTF8"),
        ("is_superuser", "off"),
        ("server_encoding", "UTF8"),
        ("session_authorization", "jane"),
    ];

    fn status(name: &str, value: &[u8]) -> Vec<u8> {
        [name.as_bytes(), b"\0", value, b"\0"].concat()
    }

    /// What comes of a session of this user whose compute reports these settings.
    fn judged(user: &str, settings: &[(&str, &[u8])]) -> Result<Progress, Untrusted> {
        let mut greeting = Greeting::new(user);
        assert_eq!(greeting.take(b'R', &[0; 4]), Ok(Progress::Incomplete));
        for (name, value) in settings {
            assert_eq!(greeting.take(b'S', &status(name, value))?, Progress::Incomplete);
        }
        assert_eq!(greeting.take(b'K', b"12345678"), Ok(Progress::Incomplete));
        greeting.take(b'Z', b"I")
    }

    fn with(name: &str, value: Option<&str>) -> Result<Progress, Untrusted> {
        let kept = GOOD.iter().filter(|(other, _)| *other != name).copied();
        let settings: Vec<_> = kept
            .chain(value.map(|value| (name, value)))
            .map(|(name, value)| (name, value.as_bytes()))
            .collect();
        judged("jane", &settings)
    }

    #[test]
    fn pg_10_a_session_of_the_checked_user_is_open() {
        let key = CancelKey(b"12345678".to_vec());
        assert_eq!(with("TimeZone", Some("UTC")), Ok(Progress::Open(Some(key))));
    }

    #[test]
    fn pg_10_a_session_of_another_user_or_a_superuser_is_not_handed_out() {
        for other in ["cloud_admin", "Jane", "\"jane\"", "jane ", "jan", ""] {
            let judged = with("session_authorization", Some(other));
            assert_eq!(judged, Err(Untrusted::OtherUser), "{other}");
        }
        for on in ["on", "true", "OFF", ""] {
            assert_eq!(with("is_superuser", Some(on)), Err(Untrusted::Superuser), "{on}");
        }
    }

    #[test]
    fn pg_10_a_setting_that_is_reported_twice_or_not_at_all_is_not_believed() {
        for name in ["session_authorization", "is_superuser"] {
            assert_eq!(with(name, None), Err(Untrusted::Unreported(name)));
            let mut settings: Vec<_> = GOOD.map(|(name, value)| (name, value.as_bytes())).to_vec();
            let again = settings.iter().find(|(other, _)| *other == name);
            settings.push(*again.unwrap());
            assert_eq!(judged("jane", &settings), Err(Untrusted::Repeated(name)));
        }
        assert!(matches!(
            judged("jane", &[("a\0b", b"c")]),
            Err(Untrusted::Malformed(_))
        ));
    }

    #[test]
    fn pg_10_a_request_for_a_password_is_not_passed_on() {
        for method in [3_u32, 5, 7, 10, 11, 12, 99] {
            let body = [&method.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat();
            assert_eq!(Greeting::new("jane").take(b'R', &body), Err(Untrusted::Password));
        }
        assert_eq!(Greeting::new("jane").take(b'R', b""), Err(Untrusted::Password));
    }

    #[test]
    fn pg_10_a_name_in_another_encoding_is_not_compared_by_its_bytes() {
        let settings = |client: &'static str, name: &'static [u8]| {
            [
                ("client_encoding", client.as_bytes()),
                ("is_superuser", b"off"),
                ("server_encoding", b"UTF8"),
                ("session_authorization", name),
            ]
        };
        let opens = |user, client, name| judged(user, &settings(client, name)).is_ok();
        assert!(opens("jürgen", "UTF8", "jürgen".as_bytes()));
        assert!(opens("jürgen", "LATIN1", b"j\xfcrgen"));
        assert!(!opens("jürgen", "UTF8", b"j\xfcrgen"));
        assert!(!opens("jürgen", "UTF8", "jörgen".as_bytes()));
        assert!(!opens("jürgen", "LATIN1", b"cloud_admin"));
        assert!(!opens("jane", "LATIN1", b"j\xe4ne"));
        assert!(!opens("jane", "LATIN1", b"cloud_admin"));
    }

    #[test]
    fn a_refusal_of_the_server_ends_the_greeting() {
        let mut greeting = Greeting::new("jane");
        assert_eq!(greeting.take(b'N', b"notice"), Ok(Progress::Incomplete));
        assert_eq!(
            greeting.take(b'v', b"\0\x03\0\0\0\0\0\0"),
            Ok(Progress::Incomplete)
        );
        assert_eq!(greeting.take(b'E', b"C28000\0\0"), Ok(Progress::Refused));
    }
}
