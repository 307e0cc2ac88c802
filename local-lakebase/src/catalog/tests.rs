//! The catalog over a real SQLite file: what is written is there again.

use lakebase_api::IdentityType;

use super::*;
use crate::model::record::Phase;
use crate::model::{database, endpoint, project, role};

pub(crate) fn now() -> DateTime<Utc> {
    "2026-08-01T10:00:00.123456Z".parse().unwrap()
}

pub(crate) fn branch(id: &str, phase: Phase) -> BranchRecord {
    let name = format!("projects/shop/branches/{id}").parse().unwrap();
    BranchRecord {
        phase,
        ..BranchRecord::new(name, format!("br-{id}"), now())
    }
}

pub(crate) fn primary(id: &str) -> EndpointRecord {
    let name = format!("projects/shop/branches/{id}/endpoints/primary");
    EndpointRecord {
        address: Some("127.70.1.2".into()),
        ..endpoint::tests::record(&name, now())
    }
}

async fn open(dir: &tempfile::TempDir) -> Catalog {
    Catalog::open(&dir.path().join(CATALOG), "key").await.unwrap()
}

async fn with(writes: &[Write]) -> (tempfile::TempDir, Catalog) {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(&dir).await;
    catalog.commit(writes).await.unwrap();
    (dir, catalog)
}

fn shop() -> Vec<Write> {
    vec![
        Write::Project(project::tests::record("shop", now())),
        Write::Branch(branch("production", Phase::Ready)),
        Write::Endpoint(primary("production")),
    ]
}

#[tokio::test]
async fn what_is_written_is_read_back_after_a_restart() {
    let (dir, catalog) = with(&shop()).await;
    catalog.close().await;
    let catalog = open(&dir).await;
    let project = project::tests::record("shop", now());
    assert_eq!(
        catalog.project(&project.name).await.unwrap(),
        Some(project.clone())
    );
    assert_eq!(catalog.projects().await.unwrap(), std::slice::from_ref(&project));
    let production = branch("production", Phase::Ready);
    assert_eq!(
        catalog.branches(&project.name).await.unwrap(),
        std::slice::from_ref(&production)
    );
    assert_eq!(catalog.branch(&production.name).await.unwrap(), Some(production));
    let endpoint = primary("production");
    assert_eq!(
        catalog.endpoint(&endpoint.name).await.unwrap(),
        Some(endpoint.clone())
    );
    assert_eq!(catalog.endpoints(&endpoint.branch_uid).await.unwrap(), [endpoint]);
}

#[tokio::test]
async fn a_second_write_changes_the_row() {
    let (_dir, catalog) = with(&shop()).await;
    let mut changed = branch("production", Phase::Deleted);
    changed.delete_time = Some(now());
    changed.purge_time = Some(now());
    changed.source_lsn = Some("0/1".into());
    let endpoint = EndpointRecord {
        suspend_seconds: None,
        disabled: true,
        address: None,
        ..primary("production")
    };
    let writes = [Write::Branch(changed.clone()), Write::Endpoint(endpoint.clone())];
    catalog.commit(&writes).await.unwrap();
    assert_eq!(catalog.branch(&changed.name).await.unwrap(), Some(changed));
    assert_eq!(catalog.endpoint(&endpoint.name).await.unwrap(), Some(endpoint));
}

#[tokio::test]
async fn writes_happen_together_or_not_at_all() {
    let (_dir, catalog) = with(&shop()).await;
    // A uid is one project's alone, so the second write is refused.
    let mut twin = project::tests::record("twin", now());
    twin.uid = project::tests::record("shop", now()).uid;
    let writes = [Write::RemoveBranch("br-production".into()), Write::Project(twin)];
    assert!(catalog.commit(&writes).await.is_err());
    let name = branch("production", Phase::Ready).name;
    assert!(catalog.branch(&name).await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_half_made_is_forgotten_with_its_endpoint() {
    let (_dir, catalog) = with(&shop()).await;
    let half = [
        Write::Branch(branch("half", Phase::Creating)),
        Write::Endpoint(primary("half")),
    ];
    catalog.commit(&half).await.unwrap();
    let mut other = project::tests::record("other", now());
    other.uid = "uid-of-another".into();
    catalog.commit(&[Write::Project(other.clone())]).await.unwrap();
    catalog.forget_unfinished().await.unwrap();
    assert_eq!(
        catalog
            .branch(&branch("half", Phase::Creating).name)
            .await
            .unwrap(),
        None
    );
    assert_eq!(catalog.endpoint(&primary("half").name).await.unwrap(), None);
    assert_eq!(catalog.project(&other.name).await.unwrap(), None);
    assert_eq!(catalog.projects().await.unwrap().len(), 1);
}

#[tokio::test]
async fn operations_outlive_their_branch_but_not_for_ever() {
    let (_dir, catalog) = with(&shop()).await;
    let row = OperationRow {
        name: "projects/shop/operations/1".into(),
        create_time: now(),
        body: "{}".into(),
    };
    let writes = [
        Write::Operation(row),
        Write::RemoveProject("projects/shop".parse().unwrap()),
    ];
    catalog.commit(&writes).await.unwrap();
    assert_eq!(
        catalog.branches(&"projects/shop".parse().unwrap()).await.unwrap(),
        []
    );
    let found = catalog.operation("projects/shop/operations/1").await.unwrap();
    assert_eq!(found.as_deref(), Some("{}"));
    catalog.forget_operations(now()).await.unwrap();
    assert!(
        catalog
            .operation("projects/shop/operations/1")
            .await
            .unwrap()
            .is_some()
    );
    catalog
        .forget_operations(now() + Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(
        catalog.operation("projects/shop/operations/1").await.unwrap(),
        None
    );
}

#[tokio::test]
async fn ll_05_a_descriptor_that_cannot_be_written_is_written_later_and_costs_no_commit() {
    let (dir, catalog) = with(&shop()).await;
    let place = dir.path().join("projects/shop/br-production");
    catalog.retry_descriptors().await.unwrap();
    std::fs::create_dir_all(&place).unwrap();
    assert!(
        catalog
            .branch(&branch("production", Phase::Ready).name)
            .await
            .unwrap()
            .is_some()
    );
    catalog.retry_descriptors().await.unwrap();
    let described = || {
        let key = crate::engine::BranchKey {
            project: "shop".into(),
            uid: "br-production".into(),
        };
        Described::parse(&crate::storage::descriptor_file::read(&place), &key)
    };
    let first = described().here().unwrap().clone();
    assert_eq!(
        (first.generation, first.contents.endpoints),
        (1, vec![primary("production")])
    );
    // Operations change no descriptor; a project changes those of all its branches.
    let operation = Write::Operation(OperationRow {
        name: "projects/shop/operations/1".into(),
        create_time: now(),
        body: "{}".into(),
    });
    catalog.commit(&[operation]).await.unwrap();
    assert_eq!(described().here().unwrap().generation, 1);
    let renamed = ProjectRecord {
        display_name: "Renamed".into(),
        ..project::tests::record("shop", now())
    };
    catalog.commit(&[Write::Project(renamed.clone())]).await.unwrap();
    let second = described().here().unwrap().clone();
    assert_eq!((second.generation, second.contents.project), (2, renamed));
    assert_eq!(second.catalog_id, first.catalog_id);
}

#[tokio::test]
async fn ll_06_a_removal_is_noted_with_the_row_until_its_data_are_gone() {
    let (_dir, catalog) = with(&shop()).await;
    let more = [
        Write::Branch(branch("dev", Phase::Deleted)),
        Write::Branch(branch("half", Phase::Creating)),
    ];
    catalog.commit(&more).await.unwrap();
    let uids = async || {
        let removals = catalog.removals().await.unwrap();
        let mut uids: Vec<_> = removals.into_iter().map(|key| key.uid).collect();
        uids.sort();
        uids
    };
    assert_eq!(uids().await, Vec::<String>::new());
    let unfinished = catalog.unfinished().await.unwrap();
    assert_eq!(
        unfinished.iter().map(|key| key.uid.as_str()).collect::<Vec<_>>(),
        ["br-half"]
    );
    catalog
        .commit(&[Write::RemoveBranch("br-dev".into())])
        .await
        .unwrap();
    assert_eq!(uids().await, ["br-dev"]);
    catalog.forget_removal("br-dev").await.unwrap();
    let project = "projects/shop".parse().unwrap();
    catalog.commit(&[Write::RemoveProject(project)]).await.unwrap();
    assert_eq!(uids().await, ["br-half", "br-production"]);
}

#[tokio::test]
async fn settings_are_kept() {
    let (_dir, catalog) = with(&[]).await;
    assert_eq!(catalog.setting("api_port").await.unwrap(), None);
    for port in ["1", "2"] {
        catalog.set("api_port", port).await.unwrap();
        assert_eq!(catalog.setting("api_port").await.unwrap().as_deref(), Some(port));
    }
}

#[tokio::test]
async fn a_child_inherits_roles_and_databases_and_takes_them_with_it() {
    let (_dir, catalog) = with(&shop()).await;
    let jane = role::born("br-production", "jane@localhost", IdentityType::User, now())[1].clone();
    let app = RoleRecord {
        id: "app".into(),
        postgres_role: "app".into(),
        password_nonce: Some("nonce".into()),
        ..jane.clone()
    };
    let database = database::born("br-production", now());
    let mut writes = vec![
        Write::Role(app.clone()),
        Write::Role(jane),
        Write::Database(database),
    ];
    for (id, new_passwords) in [("dev", false), ("guarded", true)] {
        let (source_uid, child_uid) = ("br-production".to_owned(), format!("br-{id}"));
        writes.push(Write::Branch(branch(id, Phase::Ready)));
        writes.push(Write::Inherit {
            source_uid,
            child_uid,
            new_passwords,
        });
    }
    catalog.commit(&writes).await.unwrap();
    let nonces = async |uid: &str| {
        let roles = catalog.roles(uid).await.unwrap();
        assert!(roles.iter().all(|role| role.branch_uid == uid));
        roles
            .into_iter()
            .map(|role| role.password_nonce)
            .collect::<Vec<_>>()
    };
    assert_eq!(nonces("br-dev").await, [Some("nonce".to_owned()), None]);
    let renewed = nonces("br-guarded").await;
    assert!(renewed[0].as_ref().is_some_and(|nonce| nonce != "nonce") && renewed[1].is_none());
    assert_eq!(catalog.databases("br-dev").await.unwrap().len(), 1);
    let gone = [Write::RemoveBranch("br-dev".into()), Write::RemoveRole(app)];
    catalog.commit(&gone).await.unwrap();
    assert_eq!(nonces("br-dev").await, []);
    assert_eq!(catalog.databases("br-dev").await.unwrap(), []);
    assert_eq!(
        (
            nonces("br-production").await.len(),
            nonces("br-guarded").await.len()
        ),
        (1, 2)
    );
}
