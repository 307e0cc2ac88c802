//! The table of `scripts/test --matrix`: a test that was skipped covers nothing.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const CASES: &str = "\
| FS-01 | a | b |
| FS-02 | a | b |
| FS-03 | a | b |

## Without a test

| FS-03 | it was not staged |
";

const TESTS: &str = "\
running 2 tests
test disk::fs_01_02_a_disk_fails ... ok
test disk::fs_02_another_one ... ok

successes:

---- disk::fs_01_02_a_disk_fails stdout ----
skipped: there is no strace

test result: ok. 2 passed

running 1 test
test disk::fs_01_02_a_disk_fails ... RESULT
test result: RESULT. 1 passed
";

fn table(tests: &str) -> Output {
    let dir = tempfile::tempdir().expect("a temp dir");
    let [cases, log] = ["cases", "log"].map(|name| dir.path().join(name));
    fs::write(&cases, CASES).expect("written");
    fs::write(&log, tests).expect("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lib/matrix.awk");
    let mut awk = Command::new("awk");
    awk.arg("-f").arg(script).args([cases, log]);
    awk.output().expect("awk is installed")
}

#[test]
fn a_case_whose_tests_were_skipped_is_not_covered() {
    let (one, _) = TESTS.split_once("running 1 test").expect("there are two");
    let output = table(one);
    let text = String::from_utf8_lossy(&output.stdout);
    for line in [
        "  FS-01    skipped disk::fs_01_02_a_disk_fails: there is no strace",
        "  FS-02    skipped disk::fs_01_02_a_disk_fails: there is no strace",
        "           ok      disk::fs_02_another_one",
        "  FS-03    it was not staged",
    ] {
        assert!(text.lines().any(|there| there == line), "{line}: {text}");
    }
    assert!(
        text.contains("1 of 3 cases have a test that ran, 1 only such as were skipped here"),
        "{text}"
    );
    assert!(output.status.success(), "{text}");
}

#[test]
fn a_test_of_the_same_name_in_another_program_speaks_for_itself() {
    let text = |result: &str| {
        let output = table(&TESTS.replace("RESULT", result));
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let (is_good, table) = text("ok");
    assert!(
        table.contains("2 of 3 cases have a test that ran, 0 only"),
        "{table}"
    );
    assert!(is_good, "{table}");
    let (is_good, table) = text("FAILED");
    assert!(
        table.contains("FAILED  disk::fs_01_02_a_disk_fails") && !is_good,
        "{table}"
    );
}
