//! The packet that a compute gets names the checked user and no other, as PostgreSQL reads it.
//!
//! PostgreSQL's own reader is written out here once more, independent of ours: of a repeated name it takes the last value
//! (`ProcessStartupPacket` in `src/backend/tcop/backend_startup.c`).
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use startup::{Opening, Startup};

#[path = "../../local-lakebase/src/listener/startup.rs"]
#[allow(dead_code, reason = "the listener reports errors as well")]
mod startup;

/// Longest name that PostgreSQL does not truncate.
const MAX_NAME: usize = 63;

/// A startup packet as PostgreSQL reads it.
#[derive(Debug, Default)]
struct Read<'a> {
    version: &'a [u8],
    user: &'a [u8],
    database: &'a [u8],
    replication: Option<&'a [u8]>,
    others: Vec<(&'a [u8], &'a [u8])>,
    /// All names, those that are repeated as often as they are there.
    names: Vec<&'a [u8]>,
}

/// Reads a packet without its length; none where PostgreSQL ends the connection.
fn as_postgresql(packet: &[u8]) -> Option<Read<'_>> {
    // Texts are read like those of C, up to a zero byte or the end.
    let text = |at: usize| packet[at..].split(|byte| *byte == 0).next().unwrap_or_default();
    let mut read = Read {
        version: packet.get(..4)?,
        ..Read::default()
    };
    let mut at = 4;
    while at < packet.len() {
        let name = text(at);
        let value_at = at + name.len() + 1;
        if name.is_empty() || value_at >= packet.len() {
            break;
        }
        let value = text(value_at);
        match name {
            b"user" => read.user = value,
            b"database" => read.database = value,
            b"replication" => read.replication = Some(value),
            _ => read.others.push((name, value)),
        }
        read.names.push(name);
        at = value_at + value.len() + 1;
    }
    if at + 1 != packet.len() || read.user.is_empty() {
        return None;
    }
    if read.database.is_empty() {
        read.database = read.user;
    }
    Some(read)
}

fn check(original: &[u8], startup: &Startup) {
    let packet = startup.encode();
    assert!(packet.len() <= startup::MAX_STARTUP);
    let (length, rest) = packet.split_first_chunk().unwrap();
    assert_eq!(usize::try_from(u32::from_be_bytes(*length)).unwrap(), packet.len());
    let rebuilt = as_postgresql(rest).expect("PostgreSQL takes the packet");
    assert_eq!(rebuilt.user, startup.user().as_bytes());
    assert_eq!(rebuilt.database, startup.database().as_bytes());
    assert!(rebuilt.user.len() <= MAX_NAME && rebuilt.database.len() <= MAX_NAME);
    assert_eq!(rebuilt.replication, None);
    let distinct: HashSet<_> = rebuilt.names.iter().collect();
    assert_eq!(distinct.len(), rebuilt.names.len());

    // The client means the same session as PostgreSQL would have read from its own packet, with fewer settings at most.
    let original = as_postgresql(original).expect("PostgreSQL takes the client's packet");
    assert_eq!(original.version, rebuilt.version);
    assert_eq!((original.user, original.database), (rebuilt.user, rebuilt.database));
    let mut sent = original.others.iter();
    assert!(rebuilt.others.iter().all(|setting| sent.any(|other| other == setting)));
}

fuzz_target!(|bytes: &[u8]| {
    if let Some((_length, rest)) = bytes.split_first_chunk::<4>()
        && rest.len() + 4 <= startup::MAX_STARTUP
        && let Ok(Opening::Startup(startup)) = startup::opening(rest)
    {
        check(rest, &startup);
    }
});
