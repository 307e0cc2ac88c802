//! What is deployed: databricks.yml and app.yaml can be read, name only what is there, and agree with the program. The form is
//! that of the public documentation; the service's own check needs a workspace.

use clap::CommandFactory;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use store_app::config::{Cli, Environment, OAuth};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).expect(path)
}

/// What starts the store, as the platform reads it.
pub(crate) fn command() -> Vec<String> {
    let app = yaml("store-app/app.yaml");
    let words = app["command"].as_array().expect("a list of words");
    words
        .iter()
        .map(|word| word.as_str().expect("a word").to_owned())
        .collect()
}

/// The keys of a map, all of which must be known ones.
fn keys<'a>(map: &'a Value, known: &[&str]) -> BTreeSet<&'a str> {
    let keys: BTreeSet<_> = map
        .as_object()
        .expect("a map")
        .keys()
        .map(String::as_str)
        .collect();
    let unknown: Vec<_> = keys.iter().filter(|key| !known.contains(key)).collect();
    assert!(unknown.is_empty(), "{unknown:?} in {map}");
    keys
}

/// Every variable that the store looks at.
fn variables_of_the_store() -> BTreeSet<String> {
    let asked = RefCell::new(BTreeSet::new());
    let ask = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        (name == "STORE_DB_OAUTH_ENDPOINT").then(|| "some".to_owned())
    };
    OAuth::pick(ask).expect("an endpoint is named");
    Environment::pick(ask);
    let cli = <Cli as CommandFactory>::command();
    let commands = cli.get_subcommands().chain([&cli]);
    let arguments =
        commands.flat_map(|command| command.get_arguments().filter_map(|argument| argument.get_env()));
    let mut names: BTreeSet<_> = arguments
        .map(|name| name.to_str().expect("text").to_owned())
        .collect();
    names.append(&mut asked.borrow_mut());
    names
}

#[test]
fn the_app_gets_only_what_the_store_reads_and_the_bundle_gives() {
    let (app, bundle) = (yaml("store-app/app.yaml"), yaml("databricks.yml"));
    keys(&app, &["command", "env"]);
    let store = &bundle["resources"]["apps"]["store"];
    let resources: Vec<_> = store["resources"]
        .as_array()
        .expect("resources")
        .iter()
        .map(|it| &it["name"])
        .collect();
    let known = variables_of_the_store();
    let variables = app["env"].as_array().expect("variables");
    for variable in variables {
        let keys = keys(variable, &["name", "value", "valueFrom"]);
        assert_eq!(keys.len(), 2, "either a value or where it comes from: {variable}");
        let name = variable["name"].as_str().expect("a name");
        assert!(known.contains(name), "the store does not read {name}");
        if let Some(resource) = variable.get("valueFrom") {
            assert!(
                resources.contains(&resource),
                "the bundle has no resource {resource}"
            );
        }
    }
    assert!(
        variables
            .iter()
            .any(|it| it["name"] == "STORE_DB_OAUTH_ENDPOINT" && it["valueFrom"] == "postgres")
    );
    let command = command().join(" ");
    assert!(
        command.contains("store-app.gz") && command.ends_with("store-app serve"),
        "{command}"
    );
    assert!(
        !command.contains('$'),
        "the platform has its own idea of variables: {command}"
    );
}

#[test]
fn the_bundle_has_the_documented_form_and_names_only_what_is_there() {
    let (bundle, source) = (yaml("databricks.yml"), text("databricks.yml"));
    keys(&bundle, &["bundle", "sync", "variables", "resources", "targets"]);
    let app = &bundle["resources"]["apps"]["store"];
    keys(app, &["name", "description", "source_code_path", "resources"]);
    for resource in app["resources"].as_array().expect("resources") {
        keys(resource, &["name", "description", "postgres"]);
        keys(&resource["postgres"], &["branch", "database", "permission"]);
        assert_eq!(resource["postgres"]["permission"], "CAN_CONNECT_AND_CREATE");
    }
    let variables = keys(&bundle["variables"], &["project", "branch", "database"]);
    let references = source
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split('}').next());
    for reference in references {
        let known = match reference.strip_prefix("var.") {
            Some(variable) => variables.contains(variable),
            None => ["bundle.name", "bundle.target", "workspace.current_user.userName"].contains(&reference),
        };
        assert!(known, "nothing is called {reference}");
    }
    let targets = keys(&bundle["targets"], &["dev", "prod"]);
    let modes: Vec<_> = targets
        .iter()
        .map(|target| bundle["targets"][target]["mode"].as_str())
        .collect();
    assert_eq!(modes, [Some("development"), Some("production")]);
    assert_eq!(bundle["targets"]["dev"]["default"], true);
    // The names of apps have at most 30 characters.
    let name = app["name"].as_str().expect("a name");
    for target in targets {
        assert!(name.replace("${bundle.target}", target).len() <= 30, "{name}");
    }
}

#[test]
fn what_is_built_is_what_is_uploaded() {
    let (bundle, script) = (yaml("databricks.yml"), text("scripts/build-app"));
    let folder = bundle["resources"]["apps"]["store"]["source_code_path"]
        .as_str()
        .expect("a folder");
    assert!(
        script.contains(&format!("\napp={folder} ")),
        "scripts/build-app makes another folder than {folder}"
    );
    assert_eq!(bundle["sync"]["paths"], serde_json::json!([folder]));
    assert_eq!(
        bundle["sync"]["include"],
        serde_json::json!([format!("{folder}/**")])
    );
}
