//! The first bytes of a PostgreSQL client, before anything is known of it: a length, the rest of the packet, a password.
#![no_main]

use libfuzzer_sys::fuzz_target;
use packet::Opening;

#[path = "../../local-lakebase/src/listener/packet.rs"]
#[allow(dead_code, reason = "the listener answers as well")]
mod packet;

fuzz_target!(|bytes: &[u8]| {
    if let Some((header, rest)) = bytes.split_first_chunk::<4>()
        && let Ok(length) = packet::startup_rest(*header)
    {
        assert!((4..packet::MAX_STARTUP).contains(&length));
        match packet::opening(&rest[..length.min(rest.len())]) {
            Ok(Opening::Startup(startup)) => {
                assert!(!startup.user.is_empty() && !startup.user.contains('\0'));
                assert!(rest.starts_with(&startup.packet[4..]));
            }
            Ok(Opening::Cancel(key)) => assert!(rest.starts_with(&packet::cancel(&key)[4..])),
            Ok(Opening::Tls | Opening::Gss) | Err(_) => {}
        }
    }
    if let Some((header, rest)) = bytes.split_first_chunk::<5>()
        && let Ok((_, length)) = packet::message_rest(*header, packet::MAX_PASSWORD)
        && let Ok(text) = packet::password(&rest[..length.min(rest.len())])
    {
        assert!(!text.contains('\0'));
    }
});
