//! The typed client of this project against the server of this project.

use std::time::Duration;

use lakebase_api::{
    BranchName, BranchSpec, Client, Error, ProjectName, ProjectSpec, ProtoDuration, TokenSource, Workspace,
};

use crate::lake::{Lake, USER};

const PATIENCE: Duration = Duration::from_mins(1);

fn client(lake: &Lake) -> Client {
    let workspace = Workspace::with_token(
        lake.local.api_url().parse().unwrap(),
        lake.local.token().clone(),
        TokenSource::Given("Local Lakebase".into()),
    );
    Client::new(workspace).unwrap()
}

#[tokio::test]
async fn a_branch_lives_from_create_to_delete() {
    let lake = Lake::start().await;
    let client = client(&lake);
    assert_eq!(client.me().await.unwrap().user_name, USER);
    let project = ProjectName::new("shop").unwrap();
    assert!(matches!(
        client.project(&project).await,
        Err(Error::NotFound { .. })
    ));
    let made = client
        .create_project("shop", &ProjectSpec::default())
        .await
        .unwrap();
    let made = client.wait(made, PATIENCE).await.unwrap();
    assert_eq!(made.name, project);

    let spec = BranchSpec {
        ttl: Some(ProtoDuration(6 * Duration::from_hours(1))),
        ..BranchSpec::default()
    };
    let operation = client.create_branch(&project, "dev", &spec).await.unwrap();
    let branch = client.wait(operation, PATIENCE).await.unwrap();
    assert!(branch.uid.as_ref().unwrap().starts_with("br-"));
    let again = client.create_branch(&project, "dev", &spec).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    let names: Vec<_> = client
        .list_branches(&project)
        .await
        .unwrap()
        .into_iter()
        .map(|b| b.name)
        .collect();
    let name = BranchName::new(&project, "dev").unwrap();
    assert_eq!(
        names,
        [name.clone(), BranchName::new(&project, "production").unwrap()]
    );

    let renewed = client
        .renew_branch(&name, lake.clock.now() + Duration::from_hours(2))
        .await
        .unwrap();
    let renewed = client.wait(renewed, PATIENCE).await.unwrap();
    assert!(renewed.status.expire_time < branch.status.expire_time);
    let endpoint = client.list_endpoints(&name).await.unwrap().remove(0);
    client
        .update_endpoint_suspend(&endpoint.name, Duration::from_mins(5))
        .await
        .unwrap();
    let credential = client.generate_credential(&endpoint.name, None).await.unwrap();
    assert!(credential.expire_time > lake.clock.now() + Duration::from_secs(3500));

    let deleted = client.delete_branch(&name).await.unwrap();
    client.wait(deleted, PATIENCE).await.unwrap();
    assert!(client.branch(&name).await.unwrap().is_deleted());
    lake.stop().await;
}
