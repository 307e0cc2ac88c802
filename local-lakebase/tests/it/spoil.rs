//! Requests that fail on purpose, for those who want to see what bears it.

use std::collections::BTreeSet;

use local_lakebase::Limits;
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lake::Lake;

/// One request, as a word: the status of its answer, or `broken`.
async fn ask(lake: &Lake) -> String {
    let host = lake.local.api_url().strip_prefix("http://").unwrap();
    let token = lake.local.token().expose_secret();
    let request = format!(
        "GET /api/2.0/postgres/projects HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let ended = stream.read_to_string(&mut answer).await;
    let status = answer.split(' ').nth(1).unwrap_or("broken");
    // An answer in pieces ends with an empty one.
    let is_whole = ended.is_ok() && (!answer.contains("chunked") || answer.ends_with("0\r\n\r\n"));
    if is_whole { status } else { "broken" }.to_owned()
}

#[tokio::test]
async fn a_share_of_the_requests_fails_in_each_way_and_the_others_do_not() {
    let lake = Lake::start_with(Limits {
        failing_percent: 60,
        ..Limits::default()
    })
    .await;
    let wanted = ["200", "429", "502", "503", "broken"].map(str::to_owned);
    let mut seen = BTreeSet::new();
    // One in seven of each; that one is missed after this many is as good as impossible.
    for _ in 0..400 {
        seen.insert(ask(&lake).await);
    }
    assert_eq!(seen, BTreeSet::from(wanted));
    lake.stop().await;
}
