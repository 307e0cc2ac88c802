//! Many clients at once. The figures are printed; what is asserted leaves room for a machine that is busy with other tests.

use crate::numbers::{memory, metric};
use crate::world::{World, bytes, until};
use lakebase_proto::{connect, v1};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;

/// Rounds of a thousand hooks; `LAKEBASE_TEST_ROUNDS=20` for the whole of it.
fn rounds() -> u32 {
    let named = std::env::var("LAKEBASE_TEST_ROUNDS").ok();
    named.and_then(|text| text.parse().ok()).unwrap_or(1)
}

async fn ready() -> World {
    let mut world = World::new().with_args(&["--metrics-period", "100"]);
    world.start().await;
    world.register().await;
    world.branch(&world.main()).await;
    world
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

#[tokio::test(flavor = "multi_thread")]
async fn ld_01_a_thousand_hooks_at_once_are_all_answered() {
    let world = ready().await;
    let passes = || metric(&world, "lakebased_passes_total");
    until("it is counted", async || passes() > 0).await;
    let before = passes();
    for round in 0..rounds() {
        let mut hooks = JoinSet::new();
        for _ in 0..1000 {
            let (socket, cwd) = (world.socket(), bytes(&world.main()));
            hooks.spawn(async move {
                let begun = Instant::now();
                let mut client = connect(&socket, Duration::from_secs(20))
                    .await
                    .expect("connected");
                let request = v1::CheckoutRequest {
                    cwd,
                    branch_checkout: true,
                    ..v1::CheckoutRequest::default()
                };
                let mut stream = client.checkout(request).await.expect("answered").into_inner();
                // While git is asked about the `.env` it is not ready yet.
                loop {
                    let progress = stream.next().await.expect("a word").expect("a good one");
                    match progress.state() {
                        v1::WorktreeState::Ready => return begun.elapsed(),
                        state => assert_eq!(state, v1::WorktreeState::Pending),
                    }
                }
            });
        }
        let mut times = hooks.join_all().await;
        let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
        eprintln!("round {round}: 1,000 hooks at once, p50 {p50:?}, p99 {p99:?}");
        assert!(p99 < Duration::from_secs(10), "{p99:?}");
    }
    // They only say "look again", and many of that are one look.
    let after = passes();
    assert!(
        after - before <= 20 * u64::from(rounds()),
        "{} passes",
        after - before
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ld_02_credential_calls_in_a_flood_are_fast_and_keep_nothing() {
    let world = ready().await;
    let mints = || metric(&world, "lakebased_mints_total");
    let flood = async |calls: usize| {
        let mut clients = JoinSet::new();
        for _ in 0..8 {
            let (mut client, path) = (world.client().await, bytes(&world.main()));
            clients.spawn(async move {
                let mut times = Vec::with_capacity(calls);
                for _ in 0..calls {
                    let begun = Instant::now();
                    let request = v1::GetCredentialRequest {
                        path: path.clone(),
                        rotate: false,
                    };
                    client.get_credential(request).await.expect("ready");
                    times.push(begun.elapsed());
                }
                times
            });
        }
        clients.join_all().await.concat()
    };
    flood(500).await;
    until("it is counted", async || mints() > 0).await;
    let (minted, before, begun) = (mints(), memory(world.pid()), Instant::now());
    let mut times = flood(1000 * usize::try_from(rounds()).expect("few")).await;
    let rate = f64::from(u32::try_from(times.len()).expect("few")) / begun.elapsed().as_secs_f64();
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    let after = memory(world.pid());
    eprintln!("{rate:.0} credential calls a second, p50 {p50:?}, p99 {p99:?}; {before} kB, then {after} kB");
    assert!(p99 < Duration::from_millis(250), "{p99:?}");
    assert!(after < before + before / 10, "{before} kB became {after} kB");
    assert_eq!(mints(), minted, "one password serves them all");
}
