//! What people and agents are told to type is there to be typed.

use crate::scene::LAKEBASE;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The texts, and a command that each must name, so that a change of form does not hide them all from us.
const TEXTS: [(&str, &str); 4] = [
    ("docs/agents.md", "branch reset"),
    ("README.md", "branch keep"),
    ("CONTRIBUTING.md", ""),
    ("ARCHITECTURE.md", ""),
];

#[test]
fn every_command_that_a_text_names_is_there() {
    for (file, known) in TEXTS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let text = fs::read_to_string(&path).expect("readable");
        let commands: BTreeSet<_> = code(&text).into_iter().flat_map(commands).collect();
        assert!(
            known.is_empty() || commands.contains(known),
            "{file}: {commands:?}"
        );
        for command in commands {
            assert!(
                is_there(&command),
                "{file} names `lakebase {command}`, which is not there"
            );
        }
    }
}

/// Asks the program's own help. What another program does is named in the help of the command that starts it.
fn is_there(command: &str) -> bool {
    let help = |words: &[&str]| {
        Command::new(LAKEBASE)
            .arg("help")
            .args(words)
            .output()
            .expect("runs")
    };
    let words: Vec<_> = command.split(' ').collect();
    if help(&words).status.success() {
        return true;
    }
    let [starts_it, does] = words[..] else {
        return false;
    };
    let said = help(&[starts_it]);
    let text = String::from_utf8_lossy(&said.stdout);
    said.status.success()
        && text
            .split(|c: char| !c.is_ascii_lowercase())
            .any(|word| word == does)
}

/// Returns what is set as code: the lines between fences, and what is between backticks in the others.
fn code(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = vec![];
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            found.push(line);
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// Returns the commands after each `lakebase`, without options and what follows them.
fn commands(code: &str) -> Vec<String> {
    let calls = code.split("lakebase ").skip(1);
    calls
        .filter_map(|rest| {
            let rest = rest.split('#').next()?;
            let words = rest.split_whitespace().skip_while(|word| word.starts_with("--"));
            let mut command = vec![];
            for word in words.take(2) {
                let name = word.trim_end_matches(|c: char| !c.is_ascii_lowercase());
                if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase()) {
                    break;
                }
                command.push(name);
                if name != word {
                    break;
                }
            }
            (!command.is_empty()).then(|| command.join(" "))
        })
        .collect()
}
