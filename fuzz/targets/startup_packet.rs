//! The first bytes of a PostgreSQL client, before anything is known of it: a length, the rest of the packet, a password;
//! and the messages of a compute.
#![no_main]

use libfuzzer_sys::fuzz_target;
use startup::Opening;

#[path = "../../local-lakebase/src/listener/packet.rs"]
#[allow(dead_code, reason = "the listener answers as well")]
mod packet;
#[path = "../../local-lakebase/src/listener/startup.rs"]
#[allow(dead_code, reason = "the listener reports errors as well")]
mod startup;

fuzz_target!(|bytes: &[u8]| {
    if let Some((header, rest)) = bytes.split_first_chunk::<4>()
        && let Ok(length) = startup::startup_rest(*header)
    {
        assert!((4..startup::MAX_STARTUP).contains(&length));
        match startup::opening(&rest[..length.min(rest.len())]) {
            Ok(Opening::Startup(startup)) => {
                assert!(!startup.user().is_empty() && !startup.user().contains('\0'));
            }
            Ok(Opening::Cancel(key)) => assert!(rest.starts_with(&startup::cancel(&key)[4..])),
            Ok(Opening::Tls | Opening::Gss) | Err(_) => {}
        }
    }
    if let Some((header, rest)) = bytes.split_first_chunk::<5>()
        && let Ok((_, length)) = packet::message_rest(*header, packet::MAX_PASSWORD)
    {
        let body = &rest[..length.min(rest.len())];
        if let Ok(text) = packet::password(body) {
            assert!(!text.contains('\0'));
        }
        if let Ok((name, value)) = packet::reported(body) {
            assert_eq!([name, b"\0", value, b"\0"].concat(), body);
        }
    }
});
