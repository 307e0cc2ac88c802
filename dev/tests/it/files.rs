//! What a change of a file does.

use crate::world::{WEB, World, get, until};

/// Two servers' worth of sleep, each with files of its own.
const TWO: &str = r#"
[process.one]
run = "exec sleep 1000"
watch = ["one"]
[process.two]
run = "exec sleep 1000"
watch = ["two", "single.txt"]
"#;

#[test]
fn a_change_restarts_that_process_and_an_ignored_file_none() {
    let world = World::new();
    let tree = world.tree("a", TWO);
    tree.write(".gitignore", "*.log\n/one/gen/\n");
    tree.write("one/x", "");
    tree.write("two/x", "");
    tree.write("single.txt", "");
    tree.start();
    let (one, two) = (tree.pid("one"), tree.pid("two"));
    let moved = |name: &str, from: u64| {
        let process = tree.process(name);
        process["state"] == "ready" && process["pid"] != from
    };
    tree.write("one/x.log", "ignored");
    tree.write("one/gen/x", "ignored");
    tree.write("one/.x.swp", "an editor's");
    tree.write("two/deep/er/x", "new");
    until("two was restarted", || moved("two", two));
    assert_eq!(tree.pid("one"), one, "{}", tree.ok(&["logs"]));
    // A directory that came later is watched as well, and so is a single file.
    let two = tree.pid("two");
    tree.write("two/deep/er/x", "changed");
    until("two was restarted", || moved("two", two));
    let two = tree.pid("two");
    tree.write("single.txt", "changed");
    until("two was restarted", || moved("two", two));
    assert_eq!(tree.pid("one"), one);
    let two = tree.pid("two");
    tree.write("one/x", "changed");
    until("one was restarted", || moved("one", one));
    assert_eq!(tree.pid("two"), two);
    assert!(tree.ok(&["logs", "one"]).contains("one * changed: one/x"));
}

#[test]
fn while_a_build_fails_the_last_good_one_goes_on() {
    let world = World::new();
    let build = "build = \"grep -q good source && cp source answer\"\nwatch = [\"source\"]";
    let tree = world.tree("a", &format!("{WEB}{build}"));
    tree.write("source", "good 1");
    let url = tree.start();
    assert_eq!(get(&url).as_deref(), Some("good 1"));
    let pid = tree.pid("web");
    tree.write("source", "broken");
    until("the build has failed", || {
        !tree.process("web")["problem"].is_null()
    });
    assert_eq!(tree.process("web")["state"], "ready");
    assert_eq!(tree.pid("web"), pid);
    assert_eq!(get(&url).as_deref(), Some("good 1"));
    tree.write("source", "good 2");
    until("the new one serves", || get(&url).as_deref() == Some("good 2"));
    until("all is well", || tree.process("web")["problem"].is_null());
}

#[test]
fn a_first_build_that_fails_is_mended_by_a_change() {
    let world = World::new();
    let build = "build = \"grep good source\"\nwatch = [\"source\"]";
    let tree = world.tree("a", &format!("{WEB}{build}"));
    tree.write("source", "broken");
    let (code, said) = tree.fails(&["start"]);
    assert_eq!(code, 1);
    assert!(said.contains("its build failed: exit status: 1"), "{said}");
    assert_eq!(tree.process("web")["state"], "failed");
    tree.write("source", "good");
    until("it is ready", || tree.process("web")["state"] == "ready");
}

#[test]
fn once_runs_again_when_what_it_comes_after_is_new() {
    let world = World::new();
    let more =
        "watch = [\"source\"]\n[process.gen]\nrun = \"echo run >> runs\"\nonce = true\nafter = [\"web\"]";
    let tree = world.tree("a", &format!("{WEB}{more}"));
    tree.write("source", "");
    tree.start();
    let runs = || {
        std::fs::read_to_string(tree.root.join("runs"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    assert_eq!(tree.process("gen")["state"], "done");
    assert_eq!(runs(), 1);
    tree.write("source", "changed");
    until("it ran again", || {
        runs() == 2 && tree.process("gen")["state"] == "done"
    });
}
