//! The block in a `.env` file: what stands around it stays, and a second one takes the place of the first. The input is the
//! file, and after a NUL a value.
#![no_main]

use daemon_core::env_file::{with_block, without_block};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (text, value) = input.split_once('\0').unwrap_or((input, "x"));
    let variables = |value: &str| vec![("PGPASSWORD".to_owned(), value.to_owned())];
    // A value with an end of line could end the block; there is none with control characters.
    if value.contains(['\n', '\r']) {
        return;
    }
    let Ok(before) = without_block(text) else {
        assert!(with_block(text, &variables(value)).is_err());
        return;
    };
    let with = with_block(text, &variables(value)).expect("the block has both its ends, or there is none");
    assert_eq!(with_block(&with, &variables(value)).as_deref(), Ok(with.as_str()));
    let after = without_block(&with).expect("there is one block");
    assert!(after == before || after == format!("{before}\n"));
});
