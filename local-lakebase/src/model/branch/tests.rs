//! The rules of branches, each with the words in which it refuses.

use std::time::Duration;

use chrono::TimeDelta;
use lakebase_api::ProtoDuration;

use super::*;
use crate::model::project;

const HOUR: Duration = Duration::from_hours(1);

fn now() -> DateTime<Utc> {
    "2026-08-01T10:00:00Z".parse().unwrap()
}

fn name(id: &str) -> BranchName {
    format!("projects/shop/branches/{id}").parse().unwrap()
}

fn project() -> ProjectRecord {
    project::tests::record("shop", now())
}

fn root() -> BranchRecord {
    BranchRecord {
        phase: Phase::Ready,
        ..draft("production")
    }
}

fn child(id: &str) -> BranchRecord {
    let parent = root();
    BranchRecord {
        phase: Phase::Ready,
        source_uid: Some(parent.uid),
        source_name: Some(parent.name.to_string()),
        ..draft(id)
    }
}

fn leased(id: &str) -> BranchRecord {
    BranchRecord {
        expire_time: Some(now() + TimeDelta::hours(6)),
        ..child(id)
    }
}

fn draft(id: &str) -> BranchRecord {
    BranchRecord::new(name(id), format!("br-{id}"), now())
}

fn ttl(duration: Duration) -> BranchSpec {
    BranchSpec {
        ttl: Some(ProtoDuration(duration)),
        ..BranchSpec::default()
    }
}

fn expire(time: DateTime<Utc>) -> BranchSpec {
    BranchSpec {
        expire_time: Some(time),
        ..BranchSpec::default()
    }
}

fn no_expiry() -> BranchSpec {
    BranchSpec {
        no_expiry: Some(true),
        ..BranchSpec::default()
    }
}

fn created(branches: &[BranchRecord], spec: &BranchSpec) -> Result<BranchRecord, ApiError> {
    let project = project();
    let family = Family {
        project: &project,
        branches,
    };
    match create(&family, draft("new"), spec, false, &Limits::default())? {
        Creation::Fork { branch, .. } => Ok(*branch),
        Creation::Update(_) => panic!("nothing was to be replaced"),
    }
}

fn patched(
    branches: &[BranchRecord],
    id: &str,
    spec: &BranchSpec,
    mask: &[&str],
) -> Result<BranchRecord, ApiError> {
    let project = project();
    let family = Family {
        project: &project,
        branches,
    };
    update(
        &family,
        &name(id),
        spec,
        mask,
        now() + TimeDelta::hours(1),
        &Limits::default(),
    )
}

fn deleted(branches: &[BranchRecord], id: &str) -> Result<BranchRecord, ApiError> {
    let project = project();
    delete(
        &Family {
            project: &project,
            branches,
        },
        &name(id),
    )
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ApiError>, status: u16, code: &str, message: &str) {
    let error = result.unwrap_err();
    assert_eq!(
        (error.status, error.code, &*error.message),
        (status, code, message)
    );
}

#[test]
fn a_ttl_becomes_an_absolute_time() {
    let branch = created(&[root()], &ttl(6 * HOUR)).unwrap();
    assert_eq!(branch.expire_time, Some(now() + TimeDelta::hours(6)));
    assert_eq!(branch.source_uid.as_deref(), Some("br-production"));
    assert_eq!(
        branch.source_name.as_deref(),
        Some("projects/shop/branches/production")
    );
}

#[test]
fn no_expiry_lives_for_ever() {
    assert_eq!(created(&[root()], &no_expiry()).unwrap().expire_time, None);
}

#[test]
fn an_expiration_must_be_chosen_and_only_one() {
    let code = "INVALID_PARAMETER_VALUE";
    let text = "Expiration must be specified when creating a branch";
    refused(created(&[root()], &BranchSpec::default()), 400, code, text);
    let two = BranchSpec {
        no_expiry: Some(true),
        ..ttl(HOUR)
    };
    let text = "Only one of ttl, expire_time and no_expiry can be specified";
    refused(created(&[root()], &two), 400, code, text);
    let never = BranchSpec {
        no_expiry: Some(false),
        ..BranchSpec::default()
    };
    refused(
        created(&[root()], &never),
        400,
        code,
        "no_expiry must be true if it is set",
    );
}

#[test]
fn a_lease_lasts_thirty_days_at_most() {
    let code = "INVALID_PARAMETER_VALUE";
    let text = "requested expiration time exceeds the maximum expiration time";
    assert!(created(&[root()], &ttl(30 * 24 * HOUR)).is_ok());
    let second = Duration::from_secs(1);
    refused(created(&[root()], &ttl(30 * 24 * HOUR + second)), 400, code, text);
    refused(created(&[root()], &ttl(Duration::MAX)), 400, code, text);
    let text = "expiration time must be in the future";
    refused(created(&[root()], &expire(now())), 400, code, text);
}

#[test]
fn a_branch_that_expires_has_no_children() {
    let spec = BranchSpec {
        source_branch: Some(name("dev")),
        ..no_expiry()
    };
    let text = "Branches with an expiration date cannot have child branches";
    refused(created(&[root(), leased("dev")], &spec), 400, "BAD_REQUEST", text);
    assert!(created(&[root(), child("dev")], &spec).is_ok());
}

#[test]
fn the_source_must_exist_in_the_same_project() {
    let of = |source: &str| BranchSpec {
        source_branch: Some(source.parse().unwrap()),
        ..no_expiry()
    };
    let text = "branch id not found";
    refused(
        created(&[root()], &of("projects/shop/branches/br-production")),
        404,
        "NOT_FOUND",
        text,
    );
    let gone = tombstone(child("gone"), now(), &Limits::default());
    refused(
        created(&[root(), gone], &of("projects/shop/branches/gone")),
        404,
        "NOT_FOUND",
        text,
    );
    let text = "source_branch field must point to the branch from the same Project";
    let other = of("projects/other/branches/production");
    refused(created(&[root()], &other), 400, "INVALID_PARAMETER_VALUE", text);
}

#[test]
fn a_time_that_cannot_be_had_is_refused_and_another_is_left_to_the_data() {
    let at = |time: &str| BranchSpec {
        source_branch_time: Some(time.parse().unwrap()),
        ..no_expiry()
    };
    let text = "The request could not be processed. Please try again later.";
    refused(
        created(&[root()], &at("2026-08-01T09:00:00Z")),
        500,
        "INTERNAL_ERROR",
        text,
    );
    let error = created(&[root()], &at("1969-08-01T09:00:00.001Z")).unwrap_err();
    assert_eq!((error.status, error.code), (400, "BAD_REQUEST"));
    let error = created(&[root()], &at("2999-08-01T09:00:00.001Z")).unwrap_err();
    assert_eq!((error.status, error.code), (400, "INVALID_PARAMETER_VALUE"));
    let lsn = BranchSpec {
        source_branch_lsn: Some("0/16B3748".to_owned()),
        ..no_expiry()
    };
    assert_eq!(created(&[root()], &lsn).unwrap_err().status, 501);
    let old = BranchRecord {
        create_time: root().create_time - chrono::TimeDelta::hours(1),
        ..root()
    };
    let time = root().create_time - chrono::TimeDelta::milliseconds(1);
    assert!(created(&[old], &at(&time.to_rfc3339())).is_ok());
}

#[test]
fn a_name_is_taken_while_its_branch_lives_and_until_it_is_purged() {
    let text = "branch already exists; branch_name:\"new\"";
    refused(
        created(&[root(), child("new")], &no_expiry()),
        400,
        "BAD_REQUEST",
        text,
    );
    let gone = tombstone(child("new"), now(), &Limits::default());
    refused(created(&[root(), gone], &no_expiry()), 400, "BAD_REQUEST", text);
}

#[test]
fn replacing_changes_in_place() {
    let (project, branches) = (project(), [root(), child("new")]);
    let family = Family {
        project: &project,
        branches: &branches,
    };
    let replaced = create(&family, draft("new"), &ttl(HOUR), true, &Limits::default()).unwrap();
    let Creation::Update(branch) = replaced else {
        panic!("{replaced:?}")
    };
    assert_eq!(branch.expire_time, Some(now() + TimeDelta::hours(1)));
    assert_eq!(branch.uid, branches[1].uid);
}

#[test]
fn ten_branches_are_enough_and_tombstones_do_not_count() {
    let mut branches: Vec<_> = (1..10).map(|n| child(&format!("dev-{n}"))).collect();
    branches.push(root());
    let error = created(&branches, &no_expiry()).unwrap_err();
    assert!(
        error.message.starts_with("unarchived branches limit exceeded"),
        "{error:?}"
    );
    assert!(error.message.contains("10 unarchived branches"), "{error:?}");
    branches[0] = tombstone(branches[0].clone(), now(), &Limits::default());
    assert!(created(&branches, &no_expiry()).is_ok());
    let (project, limits) = (
        project(),
        Limits {
            branches: 3,
            ..Limits::default()
        },
    );
    let family = Family {
        project: &project,
        branches: &branches,
    };
    let full = create(&family, draft("new"), &no_expiry(), false, &limits);
    refused(full, 400, "BAD_REQUEST", "branches limit exceeded");
}

#[test]
fn renewing_moves_the_expiration_both_ways() {
    let branches = [root(), leased("dev")];
    for hours in [2, 48] {
        let time = now() + TimeDelta::hours(hours);
        for path in ["spec.expiration", "spec.expire_time"] {
            let branch = patched(&branches, "dev", &expire(time), &[path]).unwrap();
            assert_eq!(branch.expire_time, Some(time));
        }
    }
    let branch = patched(&branches, "dev", &no_expiry(), &["spec.expiration"]).unwrap();
    assert_eq!(branch.expire_time, None);
}

#[test]
fn a_ttl_in_an_update_counts_from_creation() {
    let branches = [root(), leased("dev")];
    let branch = patched(&branches, "dev", &ttl(2 * HOUR), &["spec.ttl"]).unwrap();
    assert_eq!(branch.expire_time, Some(now() + TimeDelta::hours(2)));
    let late = patched(&branches, "dev", &ttl(HOUR), &["spec.ttl"]);
    refused(
        late,
        400,
        "INVALID_PARAMETER_VALUE",
        "expiration time must be in the future",
    );
}

#[test]
fn only_masked_fields_change_and_they_must_be_in_the_body() {
    let branches = [root(), leased("dev")];
    let spec = BranchSpec {
        is_protected: Some(false),
        ..no_expiry()
    };
    let branch = patched(&branches, "dev", &spec, &["spec.is_protected"]).unwrap();
    assert_eq!(branch.expire_time, branches[1].expire_time);
    let text = "Field 'spec.is_protected' is named in update_mask but not set in the request body";
    let missing = patched(&branches, "dev", &no_expiry(), &["spec.is_protected"]);
    refused(missing, 400, "INVALID_PARAMETER_VALUE", text);
    let text = "Field 'spec.ttl' is named in update_mask but not set in the request body";
    let missing = patched(&branches, "dev", &no_expiry(), &["spec.ttl"]);
    refused(missing, 400, "INVALID_PARAMETER_VALUE", text);
}

#[test]
fn parents_defaults_and_protected_branches_do_not_expire() {
    let grandchild = BranchRecord {
        source_uid: Some("br-dev".into()),
        ..child("leaf")
    };
    let guarded = BranchRecord {
        is_protected: true,
        ..child("guarded")
    };
    let branches = [root(), child("dev"), grandchild, guarded];
    let cases = [
        (
            "dev",
            "cannot set an expiration date on a branch with child branches",
        ),
        (
            "production",
            "cannot set an expiration date on the default branch",
        ),
        ("guarded", "cannot set an expiration date on a protected branch"),
    ];
    for (id, text) in cases {
        let spec = expire(now() + TimeDelta::hours(9));
        refused(
            patched(&branches, id, &spec, &["spec.expiration"]),
            400,
            "BAD_REQUEST",
            text,
        );
    }
    let both = BranchSpec {
        is_protected: Some(false),
        ..expire(now() + TimeDelta::hours(9))
    };
    assert!(
        patched(
            &branches,
            "guarded",
            &both,
            &["spec.is_protected", "spec.expiration"]
        )
        .is_ok()
    );
}

#[test]
fn one_branch_may_be_protected() {
    let guarded = BranchRecord {
        is_protected: true,
        ..child("guarded")
    };
    let branches = [root(), guarded, child("dev")];
    let spec = BranchSpec {
        is_protected: Some(true),
        ..BranchSpec::default()
    };
    let second = patched(&branches, "dev", &spec, &["spec.is_protected"]);
    refused(second, 400, "BAD_REQUEST", "protected branches limit exceeded");
    assert!(patched(&branches, "guarded", &spec, &["spec.is_protected"]).is_ok());
}

#[test]
fn some_branches_cannot_be_deleted() {
    let guarded = BranchRecord {
        is_protected: true,
        ..child("guarded")
    };
    let grandchild = BranchRecord {
        source_uid: Some("br-dev".into()),
        ..child("leaf")
    };
    let branches = [root(), guarded, child("dev"), grandchild.clone()];
    refused(
        deleted(&branches, "guarded"),
        400,
        "BAD_REQUEST",
        "cannot delete protected branch",
    );
    refused(
        deleted(&branches, "dev"),
        400,
        "BAD_REQUEST",
        "cannot delete branch with child branches",
    );
    refused(
        deleted(&branches, "none"),
        404,
        "NOT_FOUND",
        "branch id not found",
    );
    assert!(deleted(&branches, "leaf").is_ok());
    let error = deleted(&branches, "production").unwrap_err();
    let text = "Cannot delete root branch 'projects/shop/branches/production'. \
                Root branches cannot be deleted independently.";
    assert_eq!(error.message, text);
    assert_eq!(error.details[0]["reason"], "RESOURCE_CONFLICT");
    assert_eq!(
        error.details[0]["metadata"]["declarative_context"],
        "MANAGED_BY_PARENT"
    );
    let tombstoned = tombstone(grandchild, now(), &Limits::default());
    assert!(deleted(&[root(), child("dev"), tombstoned], "dev").is_ok());
    let default = ProjectRecord {
        default_branch: name("dev"),
        ..project()
    };
    let family = Family {
        project: &default,
        branches: &[root(), child("dev")],
    };
    refused(
        delete(&family, &name("dev")),
        400,
        "BAD_REQUEST",
        "cannot delete default branch",
    );
}

#[test]
fn a_tombstone_comes_back_without_its_expiration_until_it_is_purged() {
    let project = project();
    let gone = tombstone(leased("dev"), now(), &Limits::default());
    assert_eq!(gone.purge_time, Some(now() + TimeDelta::days(7)));
    let branches = [root(), gone];
    let family = Family {
        project: &project,
        branches: &branches,
    };
    let limits = Limits::default();
    let back = undelete(&family, &name("dev"), now() + TimeDelta::days(6), &limits).unwrap();
    assert_eq!(
        (back.phase, back.expire_time, back.delete_time),
        (Phase::Ready, None, None)
    );
    let late = undelete(&family, &name("dev"), now() + TimeDelta::days(7), &limits);
    refused(late, 404, "NOT_FOUND", "branch id not found");
    let alive = undelete(&family, &name("production"), now(), &limits);
    refused(
        alive,
        400,
        "BAD_REQUEST",
        "branch is not deleted; branch_name:\"production\"",
    );
}

#[test]
fn the_sweeper_takes_what_expired_and_what_may_go() {
    let project = project();
    let stuck = BranchRecord {
        is_protected: true,
        ..leased("stuck")
    };
    let branches = [
        root(),
        leased("dev"),
        stuck,
        tombstone(child("gone"), now(), &Limits::default()),
    ];
    let family = Family {
        project: &project,
        branches: &branches,
    };
    let at = |time| branches.iter().map(|b| due(&family, b, time)).collect::<Vec<_>>();
    assert_eq!(
        at(now() + TimeDelta::hours(6) - TimeDelta::microseconds(1)),
        [None; 4]
    );
    assert_eq!(
        at(now() + TimeDelta::hours(6)),
        [None, Some(Due::Delete), None, None]
    );
    assert_eq!(
        at(now() + TimeDelta::days(7)),
        [None, Some(Due::Delete), None, Some(Due::Purge)]
    );
}

#[test]
fn ids_are_checked() {
    let project: ProjectName = "projects/shop".parse().unwrap();
    let text = "Field 'branch_id' is required, expected non-default value (not \"\")!";
    for id in [None, Some("")] {
        refused(new_name(&project, id), 400, "INVALID_PARAMETER_VALUE", text);
    }
    let text = "Field 'branch_id' is invalid: an id begins with a lower-case letter";
    refused(
        new_name(&project, Some("1dev")),
        400,
        "INVALID_PARAMETER_VALUE",
        text,
    );
    assert_eq!(new_name(&project, Some("dev")).unwrap(), name("dev"));
}
