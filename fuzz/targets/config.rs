//! `lakebase.config`, as the author of a repository may have written it: whatever is accepted is within its grammar.
#![no_main]

use daemon_core::config_file::parse;
use libfuzzer_sys::fuzz_target;

fn is_id(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fuzz_target!(|text: &str| {
    let Ok(settings) = parse(text) else { return };
    assert!(is_id(settings.project.as_str()) && is_id(settings.policy.source_branch.as_str()));
    let texts = [&settings.database, &settings.env_prefix]
        .into_iter()
        .chain(&settings.profile)
        .chain(&settings.env_file);
    assert!(!texts.into_iter().any(|text| text.contains(char::is_control)));
    let env_file = settings.env_file.as_deref().unwrap_or("x");
    assert!(
        !env_file.starts_with('/')
            && env_file
                .split('/')
                .all(|part| !["", ".", "..", ".git"].contains(&part))
    );
    assert!(
        settings
            .policy
            .ttl
            .is_none_or(|ttl| ttl.num_seconds() >= 120 && ttl.num_days() <= 30)
    );
});
