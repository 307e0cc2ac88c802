//! The packet that opens a PostgreSQL connection: read into a value, and written from that value again.
//!
//! This file imports nothing of the crate, so that the fuzz targets can compile it on their own. A compute gets a packet
//! that is written from the checked value and never copied from the client: where this reader and PostgreSQL's could
//! disagree about the same bytes, those bytes are not sent.
//!
//! The format: <https://www.postgresql.org/docs/current/protocol-message-formats.html>, `StartupMessage`. PostgreSQL's
//! reader is `ProcessStartupPacket` in `src/backend/tcop/backend_startup.c`: it takes the last value of a repeated name.

use std::collections::HashSet;

/// Longest startup packet with its length, as in PostgreSQL.
pub(super) const MAX_STARTUP: usize = 10_000;

/// Longest name of a user or a database. PostgreSQL truncates longer ones, and what is left may be another user's name.
/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>
const MAX_NAME: usize = 63;

const SSL_REQUEST: u32 = (1234 << 16) + 5679;
const GSS_REQUEST: u32 = (1234 << 16) + 5680;
const CANCEL_REQUEST: u32 = (1234 << 16) + 5678;

/// Parameters of libpq that are no settings of a server. Drivers that take a connection string and do not know them send
/// them as settings, and PostgreSQL would then refuse the session.
/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS>
///
/// Not in this list: `client_encoding`, `application_name`, `options`, `port`, `tcp_user_timeout` and
/// `ssl_(min|max)_protocol_version` are settings of a server too, and without `dbname` PostgreSQL would open another
/// database than the one that the client means.
const LIBPQ_ONLY: [&str; 41] = [
    "channel_binding",
    "connect_timeout",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
    "passfile",
    "password",
    "require_auth",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslkeylogfile",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
];

/// First packet of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// A request for TLS.
    Tls,
    /// A request for GSSAPI encryption, which is not offered.
    Gss,
    /// A request to cancel the query of another session.
    Cancel(CancelKey),
    /// A request to log in.
    Startup(Startup),
}

/// Process id and secret by which a client cancels the query of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CancelKey(pub(super) Vec<u8>);

/// A request to log in, as far as it is passed on.
///
/// Neither name is empty, longer than PostgreSQL's names or holds a zero byte, no parameter is repeated, and
/// [`Startup::encode`] is not longer than [`MAX_STARTUP`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Startup {
    /// Protocol version as sent. The server negotiates the minor version, so that of the client passes as it is.
    version: u32,
    user: String,
    database: String,
    /// The other parameters in the order in which they came, as bytes: PostgreSQL knows their encoding only after login.
    parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reason why a first packet is refused, in PostgreSQL's words where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StartupError {
    #[error("invalid length of startup packet")]
    Length,
    #[error("unsupported frontend protocol")]
    Protocol,
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    #[error("startup packet has parameter \"{0}\" more than once")]
    Repeated(String),
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    #[error("{0} name in startup packet is longer than {MAX_NAME} bytes")]
    LongName(&'static str),
    #[error("{0} name in startup packet is not UTF-8")]
    NotText(&'static str),
    #[error("replication connections are not supported")]
    Replication,
}

impl StartupError {
    /// Returns the SQLSTATE to report. <https://www.postgresql.org/docs/current/errcodes-appendix.html>
    pub(super) fn sqlstate(&self) -> &'static str {
        match self {
            Self::Length | Self::Layout | Self::Repeated(_) | Self::NotText(_) => "08P01",
            Self::NoUser => "28000",
            Self::LongName(_) => "42622",
            Self::Protocol | Self::Replication => "0A000",
        }
    }
}

/// Reads from the first four bytes of a first packet how many bytes follow.
pub(super) fn startup_rest(header: [u8; 4]) -> Result<usize, StartupError> {
    let length = usize::try_from(u32::from_be_bytes(header)).map_err(|_| StartupError::Length)?;
    match length {
        8..=MAX_STARTUP => Ok(length - 4),
        _ => Err(StartupError::Length),
    }
}

/// Reads a first packet without its length.
pub(super) fn opening(rest: &[u8]) -> Result<Opening, StartupError> {
    let (code, body) = rest.split_first_chunk::<4>().ok_or(StartupError::Length)?;
    match u32::from_be_bytes(*code) {
        SSL_REQUEST if body.is_empty() => Ok(Opening::Tls),
        GSS_REQUEST if body.is_empty() => Ok(Opening::Gss),
        CANCEL_REQUEST if (8..=260).contains(&body.len()) => Ok(Opening::Cancel(CancelKey(body.to_vec()))),
        version if version >> 16 == 3 => Startup::read(version, body).map(Opening::Startup),
        _ => Err(StartupError::Protocol),
    }
}

/// Writes the packet that asks a server to cancel.
pub(super) fn cancel(key: &CancelKey) -> Vec<u8> {
    framed(CANCEL_REQUEST, &[&key.0])
}

impl Startup {
    fn read(version: u32, body: &[u8]) -> Result<Self, StartupError> {
        let mut startup = Self {
            version,
            user: String::new(),
            database: String::new(),
            parameters: Vec::new(),
        };
        for (name, value) in pairs(body)? {
            match name {
                b"user" => startup.user = identifier("user", value)?,
                b"database" => startup.database = identifier("database", value)?,
                b"replication" if is_off(value) => {}
                b"replication" => return Err(StartupError::Replication),
                _ if LIBPQ_ONLY.iter().any(|key| key.as_bytes() == name) => {}
                _ => startup.parameters.push((name.to_vec(), value.to_vec())),
            }
        }
        startup.completed()
    }

    /// Checks what takes the whole packet to know. Without a database PostgreSQL opens the one named as the user.
    fn completed(mut self) -> Result<Self, StartupError> {
        if self.user.is_empty() {
            return Err(StartupError::NoUser);
        }
        if self.database.is_empty() {
            self.database.clone_from(&self.user);
        }
        // The default database makes the packet longer than the one that was read.
        if self.encode().len() > MAX_STARTUP {
            return Err(StartupError::Length);
        }
        Ok(self)
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// Writes the packet with its length: the checked names first, then each other parameter once.
    pub(super) fn encode(&self) -> Vec<u8> {
        let names: [&[u8]; 4] = [
            b"user",
            self.user.as_bytes(),
            b"database",
            self.database.as_bytes(),
        ];
        let others = self
            .parameters
            .iter()
            .flat_map(|(name, value)| [&name[..], &value[..]]);
        let mut texts: Vec<&[u8]> = Vec::with_capacity(10 + 4 * self.parameters.len());
        for text in names.into_iter().chain(others) {
            texts.extend([text, b"\0"]);
        }
        texts.push(b"\0");
        framed(self.version, &texts)
    }
}

/// Name and value of a parameter.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// Splits the body of a startup packet into names and values, and refuses a name that is there twice.
fn pairs(body: &[u8]) -> Result<Vec<Pair<'_>>, StartupError> {
    let (mut pairs, mut seen) = (Vec::new(), HashSet::new());
    let mut rest = body;
    loop {
        let name = text(&mut rest)?;
        if name.is_empty() {
            // As in PostgreSQL an empty name ends the list, and nothing may follow it.
            return rest.is_empty().then_some(pairs).ok_or(StartupError::Layout);
        }
        let value = text(&mut rest)?;
        if !seen.insert(name) {
            return Err(StartupError::Repeated(String::from_utf8_lossy(name).into_owned()));
        }
        pairs.push((name, value));
    }
}

/// Takes a zero-terminated text from the front.
fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], StartupError> {
    let end = rest.iter().position(|byte| *byte == 0);
    let (text, after) = rest.split_at(end.ok_or(StartupError::Layout)?);
    *rest = &after[1..];
    Ok(text)
}

fn identifier(kind: &'static str, value: &[u8]) -> Result<String, StartupError> {
    if value.len() > MAX_NAME {
        return Err(StartupError::LongName(kind));
    }
    let name = str::from_utf8(value).map_err(|_| StartupError::NotText(kind))?;
    Ok(name.to_owned())
}

/// Returns whether PostgreSQL takes a text for `false`, as `parse_bool` in `src/backend/utils/adt/bool.c` does: any
/// case, and any beginning that is not also one of `on`.
fn is_off(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |word: &[u8], shortest: usize| value.len() >= shortest && word.starts_with(&value);
    value == b"0" || begins(b"false", 1) || begins(b"no", 1) || begins(b"off", 2)
}

/// Puts the length, which counts itself, and the code in front.
fn framed(code: u32, parts: &[&[u8]]) -> Vec<u8> {
    let length = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    let counted = u32::try_from(length).expect("packets here are bounded far below 4 GB");
    let mut packet = Vec::with_capacity(length);
    packet.extend(counted.to_be_bytes());
    packet.extend(code.to_be_bytes());
    for part in parts {
        packet.extend(*part);
    }
    packet
}

#[cfg(test)]
mod tests;
