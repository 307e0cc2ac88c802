//! Which place and which way is chosen, from files and variables as people have them.

use std::fs;

use super::super::sign_in::SignIn;
use super::super::{OriginError, Outcome};
use super::*;

const FILE: &str = "\
[__settings__]
default_profile = team
[DEFAULT]
host = https://default.example.com
token = dapi-default
[team]
host = team.example.com/
token = dapi-team # rotated in June
workspace_id = 77
[sso]
host = https://sso.example.com
auth_type = databricks-cli
[m2m]
host = https://m2m.example.com
client_id = app
client_secret = sec
[half-m2m]
host = https://m2m.example.com
client_id = app
[both]
host = https://both.example.com
token = dapi-both
client_id = app
[both-said]
host = https://both.example.com
token = dapi-both
client_id = app
client_secret = sec
auth_type = oauth-m2m
[azure]
host = https://adb-1.2.azuredatabricks.net
[azure-sp]
host = https://adb-1.2.azuredatabricks.net
azure_client_id = app
azure_client_secret = sec
[file]
host = https://file.example.com
oidc_token_filepath = /run/token
[bare]
host = https://bare.example.com
[basic]
host = https://basic.example.com
username = jane
password = sec
[odd]
host = https://odd.example.com
auth_type = magic
[hostless]
token = dapi-hostless
[clear]
host = http://clear.example.com
token = dapi-clear
";

struct Home(tempfile::TempDir);

impl Home {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".databrickscfg"), text).unwrap();
        Self(folder)
    }

    fn env(&self, variables: &[(&str, &str)]) -> AuthEnv {
        let home = ("HOME", self.0.path().to_str().unwrap());
        AuthEnv::of(variables.iter().copied().chain([home]))
    }
}

/// Host and way, as in `https://team.example.com pat`, or what hinders.
fn found(profile: Option<&str>, env: &AuthEnv) -> String {
    match load(profile, env) {
        Ok(workspace) => {
            let ways: Vec<_> = workspace.sign_in.iter().map(SignIn::name).collect();
            format!("{} {}", workspace.origin, ways.join(" "))
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn each_profile_asks_for_its_own_way() {
    let home = Home::with(FILE);
    let cases = [
        ("team", "https://team.example.com pat"),
        ("sso", "https://sso.example.com databricks-cli"),
        ("m2m", "https://m2m.example.com oauth-m2m"),
        ("both-said", "https://both.example.com oauth-m2m"),
        (
            "azure",
            "https://adb-1.2.azuredatabricks.net azure-cli databricks-cli",
        ),
        (
            "azure-sp",
            "https://adb-1.2.azuredatabricks.net azure-client-secret",
        ),
        ("file", "https://file.example.com file-oidc"),
        ("bare", "https://bare.example.com databricks-cli"),
    ];
    for (profile, expected) in cases {
        assert_eq!(found(Some(profile), &home.env(&[])), expected, "{profile}");
    }
    let oidc = home.env(&[("DATABRICKS_OIDC_TOKEN", "their-token")]);
    assert_eq!(found(Some("bare"), &oidc), "https://bare.example.com env-oidc");
}

#[test]
fn what_cannot_be_chosen_is_named_with_its_place() {
    let home = Home::with(FILE);
    let file = home.0.path().join(".databrickscfg");
    let place = |name: &str| format!("profile `{name}` in `{}`", file.display());
    let several =
        "validate: more than one authorization method configured: oauth and pat (`client_id`, `token` in";
    let cases = [
        ("both", format!("{several} {})", place("both"))),
        (
            "half-m2m",
            format!("cannot use {}: it has no client_secret", place("half-m2m")),
        ),
        (
            "hostless",
            format!("cannot use {}: it has no host", place("hostless")),
        ),
    ];
    for (profile, expected) in cases {
        assert_eq!(found(Some(profile), &home.env(&[])), expected, "{profile}");
    }
    for (profile, method) in [("basic", "basic"), ("odd", "magic")] {
        let error = found(Some(profile), &home.env(&[]));
        assert!(
            error.starts_with(&format!("cannot sign in with `{method}` of ")),
            "{error}"
        );
    }
}

#[test]
fn the_chain_tells_of_every_way() {
    let home = Home::with(FILE);
    let (_, chain) = explain(Some("m2m"), &home.env(&[]));
    let told: Vec<_> = chain
        .iter()
        .map(|attempt| match &attempt.outcome {
            Outcome::Chosen => format!("{}: chosen", attempt.method),
            Outcome::Skipped(reason) => format!("{}: {reason}", attempt.method),
        })
        .collect();
    assert_eq!(
        told,
        [
            "pat: no `token`",
            "oauth-m2m: chosen",
            "env-oidc: an earlier one is used",
            "file-oidc: an earlier one is used",
            "azure-client-secret: an earlier one is used",
            "azure-cli: an earlier one is used",
            "databricks-cli: an earlier one is used",
        ]
    );
    let (error, chain) = explain(Some("both"), &home.env(&[]));
    assert!(
        error.is_err() && chain.len() == 7,
        "the chain is there beside an error"
    );
}

#[test]
fn a_named_profile_wins_over_the_environment_and_never_mixes_with_it() {
    let home = Home::with(FILE);
    let env = home.env(&[
        ("DATABRICKS_HOST", "env.example.com"),
        ("DATABRICKS_TOKEN", "dapi-env"),
    ]);
    assert_eq!(found(Some("team"), &env), "https://team.example.com pat");
    assert!(found(Some("hostless"), &env).ends_with("it has no host"));
    assert_eq!(
        found(Some("bare"), &env),
        "https://bare.example.com databricks-cli"
    );
}

#[test]
fn the_environment_wins_over_the_default_profile() {
    let home = Home::with(FILE);
    let env = home.env(&[
        ("DATABRICKS_HOST", "env.example.com"),
        ("DATABRICKS_TOKEN", "dapi-env"),
    ]);
    assert_eq!(found(None, &env), "https://env.example.com pat");
    assert_eq!(load(None, &env).unwrap().source, TokenSource::Environment);
    let half = home.env(&[("DATABRICKS_TOKEN", "dapi-env")]);
    assert_eq!(found(None, &half), "cannot use the environment: it has no host");
    let app = [
        ("DATABRICKS_HOST", "env.example.com"),
        ("DATABRICKS_CLIENT_ID", "app"),
        ("DATABRICKS_CLIENT_SECRET", "sec"),
    ];
    assert_eq!(found(None, &home.env(&app)), "https://env.example.com oauth-m2m");
}

#[test]
fn the_default_profile_comes_last() {
    let home = Home::with(FILE);
    assert_eq!(found(None, &home.env(&[])), "https://team.example.com pat");
    assert_eq!(
        load(None, &home.env(&[])).unwrap().workspace_id.as_deref(),
        Some("77")
    );
    let plain = Home::with("[DEFAULT]\nhost = https://default.example.com\ntoken = dapi\n");
    assert_eq!(found(None, &plain.env(&[])), "https://default.example.com pat");
    // What is set for Azure's own tools is no wish to use Databricks.
    let terraform = plain.env(&[("ARM_CLIENT_ID", "x"), ("ARM_TENANT_ID", "y")]);
    assert_eq!(found(None, &terraform), "https://default.example.com pat");
}

#[test]
fn a_profile_of_the_environment_must_agree_with_it() {
    let home = Home::with(FILE);
    let named = ("DATABRICKS_CONFIG_PROFILE", "team");
    let same = [
        named,
        ("DATABRICKS_HOST", "https://team.example.com"),
        ("DATABRICKS_TOKEN", "dapi-team"),
    ];
    for variables in [&same[..1], &same] {
        assert_eq!(found(None, &home.env(variables)), "https://team.example.com pat");
    }
    let contradictions = [
        ("DATABRICKS_HOST", "other.example.com"),
        ("DATABRICKS_TOKEN", "dapi-other"),
        ("DATABRICKS_CLIENT_ID", "app"),
    ];
    for other in contradictions {
        let error = found(None, &home.env(&[named, other]));
        assert!(
            error.starts_with("cannot choose between profile `team`") && error.contains(other.0),
            "{error}"
        );
    }
}

#[test]
fn a_missing_profile_is_reported_with_those_there_are() {
    let home = Home::with("[a]\nhost = x\n[b]\nhost = y\n");
    let error = found(Some("c"), &home.env(&[]));
    assert!(error.starts_with("cannot find profile `c` in `"), "{error}");
    assert!(error.ends_with("which has `a`, `b`"), "{error}");
    assert!(matches!(
        load(Some("__settings__"), &home.env(&[])),
        Err(AuthError::UnknownProfile { .. })
    ));
}

#[test]
fn nothing_configured_is_its_own_error() {
    let empty = tempfile::tempdir().unwrap();
    let homes = [
        AuthEnv::of([("HOME", empty.path().to_str().unwrap())]),
        AuthEnv::default(),
    ];
    for env in &homes {
        assert!(matches!(load(None, env), Err(AuthError::NotConfigured { .. })));
        assert!(matches!(
            load(Some("x"), env),
            Err(AuthError::UnknownProfile { .. })
        ));
    }
    let home = Home::with("[other]\nhost = https://x.example\ntoken = t\n");
    assert!(matches!(
        load(None, &home.env(&[])),
        Err(AuthError::NotConfigured { .. })
    ));
}

#[test]
fn the_file_may_be_elsewhere() {
    let home = Home::with("");
    let file = home.0.path().join("mine.cfg");
    fs::write(&file, FILE).unwrap();
    for path in [file.to_str().unwrap(), "~/mine.cfg"] {
        let env = home.env(&[("DATABRICKS_CONFIG_FILE", path)]);
        assert_eq!(found(Some("team"), &env), "https://team.example.com pat");
    }
}

#[test]
fn tokens_do_not_go_to_http_hosts_and_are_not_in_messages() {
    let home = Home::with(FILE);
    let error = load(Some("clear"), &home.env(&[])).unwrap_err();
    let is_insecure = matches!(
        error,
        AuthError::BadHost {
            source: OriginError::NotSecure,
            ..
        }
    );
    assert!(is_insecure, "{error:?}");
    let broken = Home::with("[p]\ntoken = dapi-secret\ndapi-secret-on-its-own\n");
    let error = load(Some("p"), &broken.env(&[])).unwrap_err();
    assert!(matches!(error, AuthError::Malformed { .. }), "{error:?}");
    assert!(
        !format!("{error} {error:?} {}", error.fix()).contains("dapi"),
        "{error}"
    );
    for profile in ["team", "m2m", "azure-sp", "both", "basic"] {
        let told = format!(
            "{:?}",
            explain(Some(profile), &home.env(&[("DATABRICKS_TOKEN", "dapi-env")]))
        );
        assert!(!told.contains("dapi") && !told.contains("\"sec\""), "{told}");
    }
}

#[test]
fn an_unreadable_file_is_not_an_absent_one() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".databrickscfg")).unwrap();
    let env = AuthEnv::of([("HOME", home.path().to_str().unwrap())]);
    assert!(matches!(load(None, &env), Err(AuthError::Unreadable { .. })));
}
