//! What a request says besides what it asks for. The requests themselves are compared with those of the public SDK in
//! `local-lakebase/tests/it/golden`.

use crate::server::{BRANCH, TOKEN, ok, running, serve};

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
