//! The owner of a cluster: no client gets in as it, whatever the listener passes on and however old the branch is.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The login rules of branches from before the owner had a password, as `initdb --auth=trust` writes them.
const OLD_RULES: &str = "\
local all all trust
host all all 127.0.0.1/32 trust
local replication all trust
";

/// Answer of a compute to a start-up packet.
#[derive(Debug, PartialEq, Eq)]
enum Greeting {
    LetIn,
    AsksForPassword,
    Refused(String),
}

/// Sends a start-up packet to a compute's socket, as a listener that checks nothing would.
async fn knock(session: &Session, parameters: &[(&str, &str)]) -> (Greeting, UnixStream) {
    let mut stream = UnixStream::connect(&session.socket).await.expect("it listens");
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for text in parameters.iter().flat_map(|(key, value)| [key, value]) {
        body.extend(text.bytes().chain([0]));
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).expect("short");
    let packet = [&length.to_be_bytes()[..], &body].concat();
    stream.write_all(&packet).await.expect("sent");
    let mut header = [0; 5];
    stream.read_exact(&mut header).await.expect("it answers");
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await.expect("it answers");
    let greeting = match header[0] {
        b'R' if body == [0; 4] => Greeting::LetIn,
        b'R' => Greeting::AsksForPassword,
        _ => Greeting::Refused(String::from_utf8_lossy(&body).replace('\0', " ")),
    };
    (greeting, stream)
}

async fn greeting(session: &Session, parameters: &[(&str, &str)]) -> Greeting {
    knock(session, parameters).await.0
}

const AS_OWNER: [(&str, &str); 2] = [("user", "cloud_admin"), ("database", "postgres")];

/// Makes a running branch what one of an older release is: the owner has no password, and every client is let in.
async fn make_old(scratch: &Scratch, engine: &Engine, key: &BranchKey) {
    execute(engine, key, "ALTER ROLE cloud_admin PASSWORD NULL").await;
    apply_rules(scratch, engine, key, OLD_RULES).await;
}

async fn apply_rules(scratch: &Scratch, engine: &Engine, key: &BranchKey, rules: &str) {
    let session = engine.connect(key).await.expect("it runs");
    let before = greeting(&session, &AS_OWNER).await;
    fs::write(pgdata(scratch, key).join("pg_hba.conf"), rules).expect("written");
    let pid = pid_of(scratch, key).expect("it runs").parse().expect("a number");
    let pid = rustix::process::Pid::from_raw(pid).expect("not zero");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it was there");
    let deadline = Instant::now() + Duration::from_secs(20);
    while greeting(&session, &AS_OWNER).await == before {
        assert!(Instant::now() < deadline, "the rules are not applied");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn pgdata(scratch: &Scratch, key: &BranchKey) -> PathBuf {
    let data = scratch.dir.path().join("data/projects");
    data.join(&key.project).join(&key.uid).join("pgdata")
}

fn password_file(scratch: &Scratch) -> PathBuf {
    scratch.dir.path().join("data/postgres.password")
}

/// Checks that a branch works, and that its owner needs the password.
async fn check_closed(engine: &Engine, key: &BranchKey) {
    assert_eq!(number(engine, key, "SELECT n FROM t").await, 5);
    let session = engine.connect(key).await.expect("it runs");
    assert_eq!(greeting(&session, &AS_OWNER).await, Greeting::AsksForPassword);
    let creator = [("user", CREATOR), ("database", DATABASE)];
    assert_eq!(greeting(&session, &creator).await, Greeting::LetIn, "as before");
}

#[tokio::test]
async fn pg_20_the_owner_of_a_cluster_needs_a_password_that_is_secret() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    execute(&engine, &root, "CREATE TABLE t AS SELECT 5::bigint AS n").await;
    check_closed(&engine, &root).await;
    let child = key("br-child");
    let forked = engine.fork(&root, &child, Durability::Ephemeral, None).await;
    forked.expect("forked");
    check_closed(&engine, &child).await;

    let password = fs::read_to_string(password_file(&scratch)).expect("there is one");
    let mode = fs::metadata(password_file(&scratch))
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let verifier = "SELECT count(*) FROM pg_authid WHERE rolpassword LIKE 'SCRAM-SHA-256$1:%'";
    assert_eq!(number(&engine, &root, verifier).await, 1);
    assert_not_in_files(scratch.dir.path(), &password, &password_file(&scratch));

    // Control: with the rules of before, a packet of the owner is all it takes.
    apply_rules(&scratch, &engine, &root, OLD_RULES).await;
    let session = engine.connect(&root).await.expect("it runs");
    assert_eq!(greeting(&session, &AS_OWNER).await, Greeting::LetIn);
    engine.shutdown().await;
}

/// Fails if any file below a directory but one holds a text: data, log, settings.
fn assert_not_in_files(dir: &std::path::Path, text: &str, but: &std::path::Path) {
    for entry in fs::read_dir(dir).expect("listed").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            assert_not_in_files(&path, text, but);
        } else if kind.is_file() && path != but {
            let content = fs::read(&path).expect("readable");
            let holds = content
                .windows(text.len())
                .any(|window| window == text.as_bytes());
            assert!(!holds, "{}", path.display());
        }
    }
}

#[tokio::test]
async fn pg_21_replication_is_refused() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    execute(&engine, &root, "CREATE ROLE replica LOGIN REPLICATION").await;
    let session = engine.connect(&root).await.expect("it runs");
    let replica = [("user", "replica"), ("replication", "true")];
    let creator = [("user", CREATOR), ("replication", "true")];
    let owner = [("user", "cloud_admin"), ("replication", "true")];
    for parameters in [&replica, &creator, &owner] {
        let refused = greeting(&session, parameters).await;
        let text = "pg_hba.conf rejects replication connection";
        assert!(
            matches!(&refused, Greeting::Refused(said) if said.contains(text)),
            "{refused:?}"
        );
    }
    // It is no physical replication, so the rules do not tell it from a session; PostgreSQL does.
    let logical = [
        ("user", CREATOR),
        ("database", DATABASE),
        ("replication", "database"),
    ];
    let (_, mut stream) = knock(&session, &logical).await;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.expect("it hangs up");
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("replication role") || said.contains("start WAL sender"),
        "{said}"
    );

    apply_rules(&scratch, &engine, &root, OLD_RULES).await;
    assert_eq!(greeting(&session, &replica).await, Greeting::LetIn, "the control");
    engine.shutdown().await;
}

#[tokio::test]
async fn pg_22_an_old_branch_works_and_is_closed_when_it_starts() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    execute(&engine, &root, "CREATE TABLE t AS SELECT 5::bigint AS n").await;
    make_old(&scratch, &engine, &root).await;
    engine.shutdown().await;
    drop(engine);
    fs::remove_file(password_file(&scratch)).expect("removed");
    let engine = scratch.open().await;
    check_closed(&engine, &root).await;
    let rules = fs::read_to_string(pgdata(&scratch, &root).join("pg_hba.conf")).expect("readable");
    assert_eq!(rules, crate::storage::LOGIN_RULES);
    engine.shutdown().await;

    // So is one that was forked from it while it slept, and after a crash.
    let child = key("br-child");
    let forked = engine.fork(&root, &child, Durability::Ephemeral, None).await;
    forked.expect("forked");
    check_closed(&engine, &child).await;
    make_old(&scratch, &engine, &child).await;
    let pid = pid_of(&scratch, &child).expect("it runs");
    let killed = std::process::Command::new("kill").args(["-9", &pid]).status();
    assert!(killed.expect("kill is installed").success());
    check_closed(&engine, &child).await;
    engine.shutdown().await;
}

#[tokio::test]
async fn pg_22_a_password_that_is_lost_or_replaced_is_set_again() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    execute(&engine, &root, "CREATE TABLE t AS SELECT 5::bigint AS n").await;
    let first = fs::read_to_string(password_file(&scratch)).expect("there is one");
    engine.shutdown().await;
    drop(engine);
    let another = "0123456789abcdef".repeat(4);
    for (turn, content) in [None, Some(""), Some(&*another)].into_iter().enumerate() {
        match content {
            None => fs::remove_file(password_file(&scratch)).expect("removed"),
            Some(content) => fs::write(password_file(&scratch), content).expect("written"),
        }
        let engine = scratch.open().await;
        check_closed(&engine, &root).await;
        assert_ne!(
            fs::read_to_string(password_file(&scratch)).expect("there is one"),
            first
        );
        // The template has the password of before.
        let other = key(&format!("br-other-{turn}"));
        engine.create_root(&other, CREATOR).await.expect("made");
        engine.shutdown().await;
    }
}

#[tokio::test]
async fn pg_22_a_running_branch_is_closed_when_it_is_adopted() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    execute(&engine, &root, "CREATE TABLE t AS SELECT 5::bigint AS n").await;
    make_old(&scratch, &engine, &root).await;
    let session = engine.connect(&root).await.expect("it runs");
    let (greeting, mut intruder) = knock(&session, &AS_OWNER).await;
    assert_eq!(greeting, Greeting::LetIn);
    drop(session);
    let pid = pid_of(&scratch, &root);
    drop(engine);

    let engine = scratch.open().await;
    let recovered = engine
        .recover(known(std::slice::from_ref(&root)), DateTime::UNIX_EPOCH)
        .await
        .expect("recovered");
    assert_eq!((recovered.adopted, pid_of(&scratch, &root)), (1, pid));
    check_closed(&engine, &root).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), intruder.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "a session of the owner from before goes on");
    engine.shutdown().await;
}

#[tokio::test]
async fn pg_22_a_running_branch_that_has_another_password_is_started_again() {
    let scratch = Scratch::new();
    let (engine, root) = with_root(&scratch).await;
    execute(&engine, &root, "CREATE TABLE t AS SELECT 5::bigint AS n").await;
    drop(engine);
    fs::remove_file(password_file(&scratch)).expect("removed");
    let engine = scratch.open().await;
    let recovered = engine
        .recover(known(std::slice::from_ref(&root)), DateTime::UNIX_EPOCH)
        .await
        .expect("recovered");
    assert_eq!((recovered.adopted, pid_of(&scratch, &root)), (0, None));
    check_closed(&engine, &root).await;
    engine.shutdown().await;
}
