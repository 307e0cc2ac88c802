//! The variables that README has a user export for the public tools, in the environment that starts the daemon.

use crate::lost_catalog::{run, said};
use crate::world::World;
use std::fs;
use std::path::Path;

const FILE: &str = "DATABRICKS_CONFIG_FILE";
const PROFILE: &str = "DATABRICKS_CONFIG_PROFILE";

/// A world whose daemon is started by `lakebase up`, with variables that are exported.
struct Shell {
    world: World,
}

impl Shell {
    fn exported(variables: &[(&'static str, &str)]) -> Self {
        let world = World::new();
        let dir = world.path("");
        let world = variables.iter().fold(world, |world, (name, value)| {
            world.with_env(name, &value.replace("<dir>/", &dir.to_string_lossy()))
        });
        Self { world }
    }

    fn succeed(&self, args: &[&str]) -> String {
        let (code, text) = said(&run(&self.world, "lakebase", args));
        assert_eq!(code, Some(0), "{args:?}: {text}");
        text
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        let output = run(&self.world, "lakebase", args);
        assert!(output.status.success(), "{args:?}: {}", said(&output).1);
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The first start, and another one after the port of the first was given to no other program.
    async fn check(&self) {
        assert!(!self.succeed(&["up"]).contains("databricks auth login"));
        self.succeed(&["init"]);
        let before = self.branch().await;
        self.succeed(&["down"]);
        let again = self.json(&["up", "--json"]);
        assert_eq!(again["local_state"], "serving", "{again}");
        assert_eq!(again["problems"], serde_json::json!([]), "{again}");
        assert_eq!(self.branch().await, before);
        let status = self.json(&["status", "--json"]);
        assert_eq!(status["repositories"][0]["service"], "local", "{status}");
    }

    /// The branch's name and uid, once it can be used.
    async fn branch(&self) -> (String, String) {
        let credential = self.world.credential(&self.world.main()).await;
        let branch = credential.expect("it is ready").branch.expect("it has one");
        (branch.branch_id, branch.uid)
    }

    /// The file, its profile and the port, as both commands name them.
    fn check_names(&self, file: &Path) {
        let status = self.json(&["status", "--json"]);
        let local = &status["daemon"]["local_lakebase"];
        let api = local["api_url"].as_str().expect("a URL");
        assert_eq!(local["databricks_config_file"], file.to_str().expect("text"));
        assert_eq!(local["databricks_config_profile"], "local");
        let text = self.succeed(&["status"]);
        let line = format!("{FILE}={} {PROFILE}=local", file.display());
        assert!(text.contains(&line) && text.contains(api), "{text}");
        let text = self.succeed(&["doctor"]);
        let line = format!("`{api}`, profile `local` in `{}`", file.display());
        assert!(text.contains(&line), "{text}");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(run(&self.world, "lakebase", &["down"]));
    }
}

#[tokio::test]
async fn pr_15_with_the_exported_file_and_profile_local_lakebase_starts_again() {
    let shell = Shell::exported(&[(FILE, "<dir>/local/databrickscfg"), (PROFILE, "local")]);
    shell.check().await;
    shell.check_names(&shell.world.path("local/databrickscfg"));
}

#[tokio::test]
async fn pr_15_with_only_the_exported_file_local_lakebase_starts_again() {
    let shell = Shell::exported(&[(FILE, "<dir>/local/databrickscfg")]);
    shell.check().await;
    let text = fs::read_to_string(shell.world.path("local/databrickscfg")).expect("written");
    assert!(text.starts_with("[DEFAULT]\nhost = http://127.0.0.1:"));
}

#[tokio::test]
async fn pr_15_with_only_the_profile_local_lakebase_starts_again() {
    // No file of the user's, and one whose profile `local` is an old one of Local Lakebase.
    for text in ["", "[local]\nhost = http://127.0.0.1:9\ntoken = old\n"] {
        let shell = Shell::exported(&[(FILE, "<dir>/mine"), (PROFILE, "local")]);
        if !text.is_empty() {
            fs::write(shell.world.path("mine"), text).expect("written");
        }
        shell.check().await;
    }
}

#[tokio::test]
async fn pr_15_a_profile_local_of_a_workspace_is_that_workspace() {
    let shell = Shell::exported(&[(FILE, "<dir>/mine"), (PROFILE, "local")]);
    let text = "[local]\nhost = https://lakebase.invalid\ntoken = theirs\n";
    fs::write(shell.world.path("mine"), text).expect("written");
    let up = shell.json(&["up", "--json"]);
    assert_eq!(up["local_lakebase"], serde_json::Value::Null, "{up}");
    run(&shell.world, "lakebase", &["init"]);
    let (code, text) = said(&run(&shell.world, "lakebase", &["doctor"]));
    let line = "service  `https://lakebase.invalid`, named by profile `local` in";
    assert!(code == Some(1) && text.contains(line), "{text}");
    assert!(!shell.world.path("local").exists(), "Local Lakebase was started");
}

#[tokio::test]
async fn pr_15_a_profile_that_is_not_in_its_file_is_named_and_nothing_is_started() {
    let shell = Shell::exported(&[(FILE, "<dir>/local/databrickscfg"), (PROFILE, "work")]);
    shell.succeed(&["up"]);
    let (code, text) = said(&run(&shell.world, "lakebase", &["doctor"]));
    assert!(
        code == Some(1) && text.contains("unset DATABRICKS_CONFIG_FILE"),
        "{text}"
    );
    assert!(!text.contains("databricks auth login"), "{text}");
}
