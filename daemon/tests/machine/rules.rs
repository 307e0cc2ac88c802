//! Ignore rules that change without any file event of ours: no index is written, and no pass is due.

use crate::world::{World, until, until_within};
use std::fs;
use std::path::Path;
use std::time::Duration;

type Change<'a> = (&'static str, Box<dyn Fn() + 'a>);

fn has_block(env: &Path) -> bool {
    fs::read_to_string(env).is_ok_and(|text| text.contains("PGPASSWORD"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_37_rules_that_change_without_an_index_are_noticed() {
    let mut world = World::new();
    world.start().await;
    world.register().await;
    world.branch(&world.main()).await;
    let (env, rules) = (world.main().join(".env"), world.main().join(".gitignore"));
    let users = world.path(".config/git/ignore");
    fs::create_dir_all(users.parent().expect("it has one")).expect("made");
    fs::write(&rules, ".env\n").expect("written");
    let expose: [Change<'_>; 3] = [
        (
            "overwritten",
            Box::new(|| fs::write(&rules, "").expect("written")),
        ),
        (
            "moved away",
            Box::new(|| fs::rename(&rules, world.path("rules")).expect("moved")),
        ),
        (
            "the user's own are emptied",
            Box::new(|| fs::write(&users, "").expect("written")),
        ),
    ];
    for (what, expose) in expose {
        // A new file may come back a while after the old one went.
        until("the block is there", async || {
            world.reconcile().await;
            has_block(&env)
        })
        .await;
        expose();
        // The next pass is due half a minute after the last one.
        until_within(Duration::from_secs(20), what, async || !has_block(&env)).await;
        // For the next one: the repository's rule again, or the user's in its place.
        let (of_repository, of_user) = match what {
            "overwritten" => (".env\n", ""),
            _ => ("", ".env\n"),
        };
        fs::write(&rules, of_repository).expect("written");
        fs::write(&users, of_user).expect("written");
    }
}
