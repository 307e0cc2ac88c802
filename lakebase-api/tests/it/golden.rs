//! Every method sends exactly what the public Python client sends: method, path, query and body, byte for byte. The
//! lines below are recordings of that client, with the blanks taken out of the JSON.

use std::time::Duration;

use lakebase_api::{BranchSpec, Client, ProjectSpec};
use serde_json::{Value, json};

use crate::server::{BRANCH, ENDPOINT, OPERATION, TOKEN, branch, done, ok, running, sent, serve};

/// Makes one call against a server with one answer, and returns the one request it led to.
async fn recorded<F: Future>(answer: Value, call: impl FnOnce(Client) -> F) -> String {
    let (server, client) = serve(vec![ok(&answer)]).await;
    call(client).await;
    let mut requests = sent(&server).await;
    assert_eq!(requests.len(), 1, "{requests:?}");
    requests.remove(0)
}

fn project() -> Value {
    json!({ "name": "projects/shop", "status": { "pg_version": 17 } })
}

fn endpoint() -> Value {
    json!({ "name": ENDPOINT, "status": { "endpoint_type": "ENDPOINT_TYPE_READ_WRITE", "current_state": "ACTIVE" } })
}

#[tokio::test]
async fn the_current_user() {
    let answer =
        json!({ "id": "7", "userName": "jane.doe@example.com", "displayName": "Jane", "active": true });
    let line = recorded(answer, async |client| {
        assert_eq!(client.me().await.unwrap().user_name, "jane.doe@example.com");
    });
    assert_eq!(line.await, "GET /api/2.0/preview/scim/v2/Me");
}

#[tokio::test]
async fn projects() {
    let line = recorded(project(), async |client| {
        let project = client.project(&"projects/shop".parse().unwrap()).await.unwrap();
        assert_eq!(project.status.pg_version, Some(17));
    });
    assert_eq!(line.await, "GET /api/2.0/postgres/projects/shop");

    let spec = ProjectSpec {
        display_name: Some("Shop".to_owned()),
        pg_version: Some(17),
        ..ProjectSpec::default()
    };
    let line = recorded(done(&project()), async |client| {
        assert!(client.create_project("shop", &spec).await.unwrap().done);
    });
    assert_eq!(
        line.await,
        r#"POST /api/2.0/postgres/projects?project_id=shop {"spec":{"display_name":"Shop","pg_version":17}}"#
    );
}

#[tokio::test]
async fn creating_branches() {
    let shop = "projects/shop".parse().unwrap();
    let production = Some("projects/shop/branches/production".parse().unwrap());
    let cases = [
        (
            BranchSpec {
                source_branch: production.clone(),
                ttl: Some(Duration::from_hours(6).into()),
                ..BranchSpec::default()
            },
            r#"{"spec":{"source_branch":"projects/shop/branches/production","ttl":"21600s"}}"#,
        ),
        (
            BranchSpec {
                source_branch: production,
                expire_time: Some("2026-08-01T16:00:00Z".parse().unwrap()),
                ..BranchSpec::default()
            },
            r#"{"spec":{"expire_time":"2026-08-01T16:00:00Z","source_branch":"projects/shop/branches/production"}}"#,
        ),
        (
            BranchSpec {
                no_expiry: Some(true),
                ..BranchSpec::default()
            },
            r#"{"spec":{"no_expiry":true}}"#,
        ),
    ];
    for (spec, body) in cases {
        let line = recorded(running(), async |client| {
            assert!(!client.create_branch(&shop, "dev", &spec).await.unwrap().done);
        });
        assert_eq!(
            line.await,
            format!("POST /api/2.0/postgres/projects/shop/branches?branch_id=dev {body}")
        );
    }
}

#[tokio::test]
async fn reading_branches() {
    let line = recorded(branch(BRANCH), async |client| {
        let branch = client.branch(&BRANCH.parse().unwrap()).await.unwrap();
        assert_eq!(branch.uid.as_deref(), Some("br-quiet-moon-d2x8y1zz"));
    });
    assert_eq!(line.await, "GET /api/2.0/postgres/projects/shop/branches/dev");

    let line = recorded(json!({ "branches": [branch(BRANCH)] }), async |client| {
        assert_eq!(
            client
                .list_branches(&"projects/shop".parse().unwrap())
                .await
                .unwrap()
                .len(),
            1
        );
    });
    assert_eq!(line.await, "GET /api/2.0/postgres/projects/shop/branches");

    let line = recorded(json!({}), async |client| {
        assert!(
            client
                .list_branches_with_deleted(&"projects/shop".parse().unwrap())
                .await
                .unwrap()
                .is_empty()
        );
    });
    assert_eq!(
        line.await,
        "GET /api/2.0/postgres/projects/shop/branches?show_deleted=true"
    );
}

#[tokio::test]
async fn changing_branches() {
    let line = recorded(running(), async |client| {
        let until = "2026-08-01T22:00:00Z".parse().unwrap();
        client
            .renew_branch(&BRANCH.parse().unwrap(), until)
            .await
            .unwrap();
    });
    assert_eq!(
        line.await,
        "PATCH /api/2.0/postgres/projects/shop/branches/dev?update_mask=spec.expiration \
         {\"spec\":{\"expire_time\":\"2026-08-01T22:00:00Z\"}}"
    );

    let line = recorded(running(), async |client| {
        client.set_no_expiry(&BRANCH.parse().unwrap()).await.unwrap();
    });
    assert_eq!(
        line.await,
        "PATCH /api/2.0/postgres/projects/shop/branches/dev?update_mask=spec.expiration \
         {\"spec\":{\"no_expiry\":true}}"
    );
}

#[tokio::test]
async fn deleting_branches_never_purges() {
    let gone = json!({ "name": OPERATION, "done": true,
        "response": { "@type": "type.googleapis.com/google.protobuf.Empty" } });
    let line = recorded(gone.clone(), async |client| {
        assert!(client.delete_branch(&BRANCH.parse().unwrap()).await.unwrap().done);
    });
    assert_eq!(line.await, "DELETE /api/2.0/postgres/projects/shop/branches/dev");

    let line = recorded(gone, async |client| {
        assert!(
            client
                .undelete_branch(&BRANCH.parse().unwrap())
                .await
                .unwrap()
                .done
        );
    });
    assert_eq!(
        line.await,
        "POST /api/2.0/postgres/projects/shop/branches/dev/undelete {}"
    );
}

#[tokio::test]
async fn endpoints_and_databases() {
    let line = recorded(endpoint(), async |client| {
        client.endpoint(&ENDPOINT.parse().unwrap()).await.unwrap();
    });
    assert_eq!(
        line.await,
        "GET /api/2.0/postgres/projects/shop/branches/dev/endpoints/primary"
    );

    let line = recorded(json!({ "endpoints": [endpoint()] }), async |client| {
        assert_eq!(
            client
                .list_endpoints(&BRANCH.parse().unwrap())
                .await
                .unwrap()
                .len(),
            1
        );
    });
    assert_eq!(
        line.await,
        "GET /api/2.0/postgres/projects/shop/branches/dev/endpoints"
    );

    let line = recorded(running(), async |client| {
        client
            .update_endpoint_suspend(&ENDPOINT.parse().unwrap(), Duration::from_mins(1))
            .await
            .unwrap();
    });
    assert_eq!(
        line.await,
        "PATCH /api/2.0/postgres/projects/shop/branches/dev/endpoints/primary?update_mask=spec.suspension \
         {\"spec\":{\"endpoint_type\":\"ENDPOINT_TYPE_READ_WRITE\",\"suspend_timeout_duration\":\"60s\"}}"
    );

    let database = json!({ "name": format!("{BRANCH}/databases/databricks-postgres"),
        "status": { "postgres_database": "databricks_postgres" } });
    let line = recorded(json!({ "databases": [database] }), async |client| {
        let databases = client.list_databases(&BRANCH.parse().unwrap()).await.unwrap();
        assert_eq!(
            databases[0].status.postgres_database.as_deref(),
            Some("databricks_postgres")
        );
    });
    assert_eq!(
        line.await,
        "GET /api/2.0/postgres/projects/shop/branches/dev/databases"
    );
}

#[tokio::test]
async fn credentials() {
    let answer = json!({ "token": "eyJ-secret", "expire_time": "2026-08-01T11:00:00Z" });
    let cases = [(None, ""), (Some(Duration::from_mins(15)), r#","ttl":"900s""#)];
    for (ttl, extra) in cases {
        let line = recorded(answer.clone(), async |client| {
            let credential = client
                .generate_credential(&ENDPOINT.parse().unwrap(), ttl)
                .await
                .unwrap();
            assert!(
                !format!("{credential:?}").contains("eyJ-secret"),
                "a token is never shown"
            );
        });
        assert_eq!(
            line.await,
            format!(r#"POST /api/2.0/postgres/credentials {{"endpoint":"{ENDPOINT}"{extra}}}"#)
        );
    }
}

#[tokio::test]
async fn operations() {
    let line = recorded(running(), async |client| {
        assert!(
            !client
                .operation::<Value>(&OPERATION.parse().unwrap())
                .await
                .unwrap()
                .done
        );
    });
    assert_eq!(
        line.await,
        "GET /api/2.0/postgres/projects/shop/branches/dev/operations/op-9"
    );
}

#[tokio::test]
async fn headers_are_those_of_a_public_client() {
    let (server, client) = serve(vec![ok(&running())]).await;
    client.delete_branch(&BRANCH.parse().unwrap()).await.unwrap();
    client.set_no_expiry(&BRANCH.parse().unwrap()).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let header = |turn: usize, name: &str| {
        requests[turn]
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    for turn in [0, 1] {
        assert_eq!(header(turn, "authorization"), Some(format!("Bearer {TOKEN}")));
        assert_eq!(header(turn, "accept").as_deref(), Some("application/json"));
        let agent = header(turn, "user-agent").unwrap();
        assert!(agent.starts_with("lakebased/0.1.0 rust/1."), "{agent}");
        assert!(
            agent.ends_with(&format!("os/{} auth/pat", std::env::consts::OS)),
            "{agent}"
        );
    }
    assert_eq!(header(0, "content-type"), None);
    assert_eq!(header(1, "content-type").as_deref(), Some("application/json"));
}
