//! From `start` to the URL: readiness, order, ports, and what is said when it does not come that far.

use crate::scene::{Scene, err, get, out};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Stdio;

/// Serves the project's own directory.
pub(crate) const WEB: &str = r#"
[process.web]
run = "exec python3 -m http.server --bind 127.0.0.1 {port}"
port = "PORT"
ready = "http://127.0.0.1:{port}/"
"#;

#[test]
fn start_waits_until_it_answers_and_prints_the_url() {
    let scene = Scene::new();
    let project = scene.project(
        "shop",
        r#"
[process.web]
run = "while [ ! -e go ]; do sleep 0.02; done; exec python3 -m http.server --bind 127.0.0.1 $PORT"
port = "PORT"
ready = "http://127.0.0.1:{port}/who"
"#,
    );
    project.write("who", "shop");
    let (code, said) = project.bad(&["start", "--timeout", "1s"]);
    assert_eq!(code, 5);
    assert!(said.contains("not ready after 1 s: web"), "{said}");
    assert_eq!(project.process("web")["state"], "starting");
    assert_eq!(project.bad(&["status"]).0, 5);
    let promised = project.good(&["start", "--no-wait"]);
    project.write("go", "");
    let url = project.good(&["start"]);
    assert_eq!(promised, url);
    assert_eq!(get(&url, "/who"), "shop");
    let pid = project.process("web")["pid"].clone();
    assert_eq!(project.good(&["start"]), url);
    assert_eq!(project.process("web")["pid"], pid, "it was started a second time");
    let status = project.good(&["status"]);
    assert!(status.contains(&url) && status.contains("ready"), "{status}");
    let json: serde_json::Value = serde_json::from_str(&project.good(&["--json", "start"])).expect("JSON");
    assert_eq!(json, project.status());
    assert_eq!(
        (&json["url"], &json["ready"]),
        (&url.clone().into(), &true.into())
    );
}

#[test]
fn a_server_that_listens_on_ipv6_alone_is_ready_and_its_url_is_the_one_that_answers() {
    if let Err(error) = TcpListener::bind("[::1]:0") {
        eprintln!("skipped: this machine has no address ::1: {error}");
        return;
    }
    let scene = Scene::new();
    let file = WEB.replace("--bind 127.0.0.1", "--bind ::1");
    let by_port = file
        .lines()
        .filter(|line| !line.starts_with("ready"))
        .collect::<Vec<_>>();
    for (name, file) in [
        ("named", file.clone()),
        ("localhost", file.replace("//127.0.0.1", "//localhost")),
        ("port", by_port.join("\n")),
    ] {
        let project = scene.project(name, &file);
        project.write("who", name);
        let url = project.good(&["start", "--timeout", "20s"]);
        assert!(url.starts_with("http://[::1]:"), "{url}");
        assert_eq!(get(&url, "/who"), name);
        assert_eq!(project.process("web")["url"], url);
        project.good(&["status"]);
    }
}

#[test]
fn one_that_does_not_answer_any_more_is_not_said_to_be_ready() {
    let scene = Scene::new();
    let more = "[process.seen]\nrun = 'echo run >> seen'\nonce = true\nafter = ['web']\n";
    let project = scene.project("shop", &(WEB.to_owned() + more));
    project.good(&["start"]);
    let pid = project.process("web")["pid"].to_string();
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args([name, &pid]).status();
        assert!(sent.expect("kill runs").success());
    };
    signal("-STOP");
    let (code, said) = project.bad(&["status"]);
    assert_eq!(code, 5);
    assert!(
        said.contains("process `web`: it runs but does not answer, for "),
        "{said}"
    );
    let status = project.status();
    assert_eq!(status["ready"], false, "{status}");
    assert_eq!(project.process("web")["state"], "silent");
    let (code, said) = project.bad(&["start", "--timeout", "1s"]);
    assert_eq!(
        (code, said.contains("not ready after 1 s: web")),
        (5, true),
        "{said}"
    );
    signal("-CONT");
    project.good(&["start"]);
    assert_eq!(project.process("web")["state"], "ready");
    assert_eq!(project.process("web")["pid"].to_string(), pid);
    assert_eq!(project.lines("seen"), 1, "it is no new one");
}

#[test]
fn worktrees_started_at_the_same_instant_have_ports_of_their_own_for_good() {
    let scene = Scene::new();
    let names = ["one", "two", "three", "four"];
    let projects = names.map(|name| scene.project(name, WEB));
    let start = |project: &crate::scene::Project<'_>| {
        project.write("who", &project.root.display().to_string());
        let mut command = project.command(&["start"]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs")
    };
    let started = projects.each_ref().map(start);
    let urls = started.map(|child| {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", err(&output));
        out(&output).trim_end().to_owned()
    });
    assert_eq!(
        urls.iter().collect::<BTreeSet<_>>().len(),
        names.len(),
        "{urls:?}"
    );
    for (project, url) in projects.iter().zip(&urls) {
        assert_eq!(get(url, "/who"), project.root.display().to_string());
        assert_eq!(project.good(&["stop"]), "stopped");
        assert_eq!(project.good(&["start"]), *url, "the port has changed");
    }
}

#[test]
fn a_port_that_somebody_took_is_stepped_over() {
    let scene = Scene::new();
    let project = scene.project("shop", WEB);
    let url = project.good(&["start"]);
    project.good(&["stop"]);
    let stranger = TcpListener::bind(url.strip_prefix("http://").expect("a URL")).expect("it is free");
    let other = project.good(&["start"]);
    assert_ne!(other, url);
    get(&other, "/lakebase.dev.toml");
    drop(stranger);
    project.good(&["restart"]);
    assert_eq!(project.status()["url"], other, "the new port is kept");
}

#[test]
fn one_that_comes_after_another_starts_when_that_is_ready_and_knows_its_port() {
    let scene = Scene::new();
    let more = r#"
[process.client]
run = "python3 -c 'import urllib.request as u, os; print(u.urlopen(os.environ[\"API\"]).read().decode())' >> made"
once = true
after = ["web"]
env = { API = "http://127.0.0.1:{web.port}/who" }
"#;
    let project = scene.project("shop", &(WEB.to_owned() + more));
    project.write("who", "first");
    project.good(&["start"]);
    assert_eq!(project.read("made"), "first\n");
    project.write("who", "second");
    project.good(&["restart", "web"]);
    crate::scene::until("it ran again", || project.read("made") == "first\nsecond\n");
    crate::scene::until("it has ended", || project.process("client")["state"] == "done");
}

#[test]
fn a_crash_is_told_and_tried_again_after_longer_and_longer_pauses() {
    let scene = Scene::new();
    let project = scene.project(
        "shop",
        "[process.web]\nport = 'PORT'\nrun = 'echo no such table >&2; exit 3'",
    );
    let (code, said) = project.bad(&["start"]);
    assert_eq!(code, 1);
    assert!(said.contains("| no such table"), "{said}");
    assert!(
        said.contains("process `web`: it ended by itself: exit status: 3"),
        "{said}"
    );
    assert!(
        said.contains("hint: see `lakebase dev logs web`; it is tried again by itself"),
        "{said}"
    );
    crate::scene::until("two restarts", || {
        project.process("web")["restarts"]
            .as_u64()
            .is_some_and(|count| count >= 2)
    });
    crate::scene::until("its pause", || project.process("web")["state"] == "crashed");
    let (code, said) = project.bad(&["status"]);
    assert_eq!(code, 5);
    assert!(said.contains("it ended by itself"), "{said}");
    let log = project.good(&["logs"]);
    for pause in ["0.5 s later", "1 s later", "2 s later"] {
        assert!(log.contains(pause), "{log}");
    }
}

#[test]
fn a_process_with_a_database_gets_the_variables_of_its_branch() {
    let scene = Scene::with_lakebase(
        "#!/bin/sh\n[ \"$1 $2\" = 'run --' ] || exit 2\nshift 2\nDATABASE_URL=postgresql://branch exec \"$@\"\n",
    );
    let file = "[process.a]\nrun = 'echo url=$DATABASE_URL > a'\nonce = true\ndatabase = true\n\
                [process.b]\nrun = 'echo url=$DATABASE_URL > b'\nonce = true";
    let project = scene.project("shop", file);
    project.good(&["start"]);
    assert_eq!(project.read("a"), "url=postgresql://branch\n");
    assert_eq!(project.read("b"), "url=\n");
}

#[test]
fn what_lakebase_says_of_a_branch_that_is_not_there_is_shown() {
    let scene = Scene::with_lakebase("#!/bin/sh\necho 'hint: start it with `lakebase up`' >&2\nexit 3\n");
    let project = scene.project("shop", "[process.a]\nrun = 'sleep 100'\ndatabase = true");
    let (code, said) = project.bad(&["start"]);
    assert_eq!(code, 1);
    assert!(said.contains("| hint: start it with `lakebase up`"), "{said}");
}

#[test]
fn of_many_starts_at_once_one_starts_it() {
    let scene = Scene::new();
    let project = scene.project("shop", WEB);
    let start = || {
        let mut command = project.command(&["start"]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs")
    };
    let started: Vec<_> = (0..4).map(|_| start()).collect();
    let urls: BTreeSet<String> = started
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().expect("it ends");
            assert!(output.status.success(), "{}", err(&output));
            out(&output)
        })
        .collect();
    assert_eq!(urls.len(), 1, "{urls:?}");
    let all = scene.processes();
    assert_eq!(all.len(), 2, "a supervisor and its process: {all:?}");
}
