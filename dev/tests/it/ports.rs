//! Whose port is whose.

use crate::world::{WEB, World, get, stdout_of, text};
use std::collections::BTreeSet;
use std::net::TcpListener;

#[test]
fn five_worktrees_started_at_once_have_five_urls_for_good() {
    let world = World::new();
    let trees: Vec<_> = (0..5)
        .map(|number| world.tree(&format!("w{number}"), WEB))
        .collect();
    for tree in &trees {
        tree.write("answer", &tree.root.display().to_string());
    }
    let start_all = || {
        let starts: Vec<_> = trees.iter().map(|tree| tree.background(&["start"])).collect();
        let outs = starts.into_iter().map(stdout_of);
        outs.map(|out| text(&out.stdout).trim().to_owned())
            .collect::<Vec<_>>()
    };
    let urls = start_all();
    assert_eq!(urls.iter().collect::<BTreeSet<_>>().len(), 5, "{urls:?}");
    for (url, tree) in urls.iter().zip(&trees) {
        assert_eq!(get(url), Some(tree.root.display().to_string()));
    }
    for tree in &trees {
        tree.ok(&["stop"]);
    }
    assert_eq!(start_all(), urls, "they are kept");
}

#[test]
fn a_port_that_somebody_took_is_stepped_over_and_the_new_one_kept() {
    let world = World::new();
    let tree = world.tree("a", WEB);
    let first = tree.start();
    tree.ok(&["stop"]);
    let taken = TcpListener::bind(first.strip_prefix("http://").expect("http")).expect("it is free");
    let second = tree.start();
    assert_ne!(second, first);
    tree.ok(&["stop"]);
    drop(taken);
    assert_eq!(tree.start(), second);
}
