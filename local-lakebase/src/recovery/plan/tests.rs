//! Plans from evidence that no disk has to hold.

use super::*;
use crate::catalog::{Described, Row, descriptor};
use crate::storage::lost::Reason;

fn now() -> DateTime<Utc> {
    "2026-09-01T12:00:00Z".parse().unwrap()
}

fn key(id: &str) -> BranchKey {
    BranchKey {
        project: "shop".into(),
        uid: format!("br-{id}"),
    }
}

fn seen(id: &str, described: Described) -> Seen {
    Seen {
        key: key(id),
        path: PathBuf::from(format!("/lost/{id}")),
        has_data: true,
        described,
    }
}

fn at(id: &str, catalog: &str, generation: i64) -> Seen {
    seen(id, Described::Here(Box::new(descriptor(id, catalog, generation))))
}

/// What there is when the catalog is gone.
fn without_catalog(dirs: Vec<Seen>) -> Evidence {
    Evidence {
        catalog: Found::Missing,
        remembered: Remembered::default(),
        dirs,
        lost: vec![],
        key_id: Some(String::new()),
        new_id: "new".into(),
        now: now(),
    }
}

/// What there is when a catalog has these branches.
fn with_catalog(id: &str, branches: &[(&str, i64)], dirs: Vec<Seen>) -> Evidence {
    let row = |(id, generation): &(&str, i64)| Row {
        key: key(id),
        name: format!("projects/shop/branches/{id}"),
        phase: Phase::Ready,
        generation: *generation,
    };
    let rows = Rows {
        id: Some(id.to_owned()),
        generation: branches
            .iter()
            .map(|(_, generation)| *generation)
            .max()
            .unwrap_or_default(),
        branches: branches.iter().map(row).collect(),
        removals: vec![],
    };
    let contents =
        |(branch, generation): &(&str, i64)| (*generation, descriptor(branch, id, *generation).contents);
    Evidence {
        catalog: Found::Readable(rows),
        remembered: Remembered {
            branches: branches.iter().map(contents).collect(),
            ..Remembered::default()
        },
        ..without_catalog(dirs)
    }
}

/// The ids of what is restored, each with what it is restored from.
fn restored(plan: &Plan) -> Vec<(&str, Origin)> {
    let branches = plan.branches.iter();
    branches
        .map(|branch| (branch.contents.branch.name.id(), branch.origin.clone()))
        .collect()
}

#[test]
fn ll_02_a_lost_catalog_is_rebuilt_from_descriptors() {
    let dirs = vec![
        at("production", "ours", 3),
        at("dev", "ours", 7),
        seen("odd", Described::Missing),
    ];
    let plan = plan(&without_catalog(dirs));
    assert_eq!(
        restored(&plan),
        [("dev", Origin::Descriptor), ("production", Origin::Descriptor)]
    );
    assert_eq!(
        (plan.id.as_str(), plan.generation),
        ("ours", 8),
        "the id that the disk knows"
    );
    assert_eq!(plan.set_aside, [(key("odd"), Reason::NoDescriptor)]);
    assert!(!plan.keeps_operations && plan.missing.is_empty() && plan.without_default.is_empty());
    assert!(!plan.is_empty(true));
    let nothing = super::plan(&without_catalog(vec![]));
    assert_eq!((nothing.id.as_str(), nothing.branches.len()), ("new", 0));
}

#[test]
fn ll_03_of_an_older_catalog_and_a_descriptor_the_later_counts() {
    let mut evidence = with_catalog(
        "ours",
        &[("production", 5), ("dev", 5), ("gone", 2)],
        vec![
            at("production", "ours", 4),
            at("dev", "ours", 9),
            at("new", "ours", 8),
        ],
    );
    let Described::Here(later) = &mut evidence.dirs[1].described else {
        unreachable!()
    };
    later.contents.branch.is_protected = true;
    let plan = plan(&evidence);
    let expected = [
        ("dev", Origin::Descriptor),
        ("new", Origin::Descriptor),
        ("production", Origin::Catalog),
    ];
    assert_eq!(restored(&plan), expected);
    assert!(plan.branches[0].contents.branch.is_protected);
    assert_eq!(
        (plan.generation, &plan.missing[..]),
        (10, &["projects/shop/branches/gone".to_owned()][..])
    );
    assert!(plan.keeps_operations);
}

#[test]
fn ll_04_the_catalog_of_another_installation_gives_nothing() {
    let dirs = vec![at("production", "ours", 3)];
    let plan = plan(&with_catalog("theirs", &[("theirs", 20)], dirs));
    assert_eq!(restored(&plan), [("production", Origin::Descriptor)]);
    assert_eq!(
        (plan.id.as_str(), plan.foreign, plan.missing.len()),
        ("ours", 1, 0)
    );
    assert!(!plan.keeps_operations);
}

#[test]
fn ll_04_data_of_another_installation_are_taken_in_where_no_name_is_taken() {
    let foreign = |id: &str, name: &str| {
        let mut seen = at(id, "theirs", 50);
        seen.key.project = name.to_owned();
        let Described::Here(descriptor) = &mut seen.described else {
            unreachable!()
        };
        let contents = &mut descriptor.contents;
        contents.project.name = format!("projects/{name}").parse().unwrap();
        contents.project.uid = format!("uid-{name}");
        contents.branch.name = format!("projects/{name}/branches/{id}").parse().unwrap();
        seen
    };
    let dirs = vec![
        at("production", "ours", 3),
        foreign("a", "theirs"),
        foreign("b", "shop"),
    ];
    let plan = plan(&with_catalog("ours", &[("production", 3)], dirs));
    assert_eq!(
        restored(&plan),
        [("production", Origin::Catalog), ("a", Origin::Descriptor)]
    );
    assert_eq!(
        plan.set_aside,
        [(key("b"), Reason::NameTaken)],
        "another project of the name"
    );
    assert_eq!((plan.id.as_str(), plan.generation), ("ours", 51));
}

#[test]
fn ll_07_what_has_lapsed_meanwhile_lives_for_another_day() {
    let mut dirs = vec![
        at("a", "ours", 1),
        at("b", "ours", 1),
        at("c", "ours", 1),
        at("production", "ours", 1),
    ];
    let far = now() + TimeDelta::hours(2);
    let ends = [
        Some(now() - TimeDelta::days(9)),
        Some(now() + TimeDelta::minutes(59)),
        Some(far),
        None,
    ];
    for (dir, end) in dirs.iter_mut().zip(ends) {
        let Described::Here(descriptor) = &mut dir.described else {
            unreachable!()
        };
        descriptor.contents.branch.expire_time = end;
        if end == Some(far) {
            descriptor.contents.branch.phase = Phase::Deleted;
            descriptor.contents.branch.purge_time = Some(now());
        }
    }
    let plan = plan(&without_catalog(dirs));
    let shown = |branch: &Branch| {
        let record = &branch.contents.branch;
        (record.expire_time, record.purge_time, branch.extended_from)
    };
    let tomorrow = now() + TimeDelta::days(1);
    let all: Vec<_> = plan.branches.iter().map(shown).collect();
    assert_eq!(
        all,
        [
            (Some(tomorrow), None, ends[0]),
            (Some(tomorrow), None, ends[1]),
            (Some(far), Some(tomorrow), Some(now())),
            (None, None, None),
        ]
    );
}

#[test]
fn ll_08_lost_directories_come_back_unless_their_name_is_taken() {
    let mut evidence = with_catalog("ours", &[("production", 5)], vec![at("production", "ours", 5)]);
    let mut twin = at("twin", "theirs", 50);
    let Described::Here(descriptor) = &mut twin.described else {
        unreachable!()
    };
    descriptor.contents.branch.name = "projects/shop/branches/production".parse().unwrap();
    evidence.lost = vec![
        at("dev", "ours", 2),
        twin,
        seen("copy", Described::Elsewhere),
        seen("odd", Described::Missing),
    ];
    evidence.lost.push(Seen {
        has_data: false,
        ..at("empty", "ours", 2)
    });
    let plan = plan(&evidence);
    assert_eq!(
        restored(&plan),
        [("dev", Origin::Descriptor), ("production", Origin::Catalog)]
    );
    assert_eq!(
        plan.branches[0].taken_back.as_deref(),
        Some(std::path::Path::new("/lost/dev"))
    );
    let mut stay: Vec<_> = plan
        .still_lost
        .iter()
        .map(|(path, reason)| (path.to_str().unwrap(), *reason))
        .collect();
    stay.sort_by_key(|(path, _)| *path);
    assert_eq!(
        stay,
        [
            ("/lost/copy", Reason::Copy),
            ("/lost/empty", Reason::Incomplete),
            ("/lost/odd", Reason::NoDescriptor),
            ("/lost/twin", Reason::NameTaken),
        ]
    );
    assert!(plan.set_aside.is_empty() && !plan.is_empty(true));
    evidence.lost.retain(|lost| lost.key != key("dev"));
    assert!(
        super::plan(&evidence).is_empty(true),
        "the others are no reason to do anything"
    );
}

#[test]
fn ll_08_a_branch_of_the_catalog_whose_directory_is_in_lost_comes_back_without_a_descriptor() {
    let mut evidence = with_catalog(
        "ours",
        &[("production", 5), ("dev", 5)],
        vec![at("production", "ours", 5)],
    );
    evidence.lost = vec![seen("dev", Described::Missing)];
    let plan = plan(&evidence);
    assert_eq!(
        restored(&plan),
        [("dev", Origin::Catalog), ("production", Origin::Catalog)]
    );
    assert!(plan.missing.is_empty());
}

#[test]
fn ll_09_passwords_of_another_key_are_lost() {
    let mut evidence = without_catalog(vec![at("production", "ours", 3)]);
    assert!(!plan(&evidence).branches[0].has_other_key);
    for other in [None, Some("another".to_owned())] {
        evidence.key_id = other;
        assert!(plan(&evidence).branches[0].has_other_key);
    }
}

#[test]
fn branches_of_two_projects_of_one_name_do_not_mix() {
    let mut dirs = vec![at("production", "ours", 3), at("dev", "ours", 9)];
    let Described::Here(descriptor) = &mut dirs[1].described else {
        unreachable!()
    };
    descriptor.contents.project.uid = "of-an-earlier-project".into();
    let plan = plan(&without_catalog(dirs));
    assert_eq!(restored(&plan), [("dev", Origin::Descriptor)]);
    assert_eq!(plan.set_aside, [(key("production"), Reason::NameTaken)]);
    assert_eq!(
        plan.without_default,
        ["projects/shop".parse().unwrap()],
        "and it is said so"
    );
}

#[test]
fn every_branch_of_a_project_has_the_latest_record_of_it() {
    let mut dirs = vec![at("production", "ours", 3), at("dev", "ours", 9)];
    let Described::Here(descriptor) = &mut dirs[1].described else {
        unreachable!()
    };
    descriptor.contents.project.display_name = "Renamed".into();
    let plan = plan(&without_catalog(dirs));
    let names: Vec<_> = plan
        .branches
        .iter()
        .map(|branch| branch.contents.project.display_name.as_str())
        .collect();
    assert_eq!(names, ["Renamed", "Renamed"]);
}

#[test]
fn what_was_never_finished_is_no_branch() {
    let mut dirs = vec![at("production", "ours", 3), at("half", "ours", 9)];
    let Described::Here(descriptor) = &mut dirs[1].described else {
        unreachable!()
    };
    descriptor.contents.branch.phase = Phase::Creating;
    let plan = plan(&without_catalog(dirs));
    assert_eq!(plan.set_aside, [(key("half"), Reason::Unfinished)]);
    assert_eq!(restored(&plan).len(), 1);
}
