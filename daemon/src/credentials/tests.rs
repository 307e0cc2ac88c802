//! Beliefs about credentials: a service that answers or does not, and clocks that are moved.

use super::*;
use crate::begun::Begun;
use crate::clock::tests::Hands;
use chrono::TimeDelta;
use lakebase_api::{Client, Limits, ProjectName, TokenSource, Workspace};
use secrecy::ExposeSecret;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

/// A service that mints passwords good for an hour by its own clock, while it is up.
#[derive(Clone)]
struct Mint {
    hands: Hands,
    mints: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    /// How it refuses; 200 while it does not.
    status: Arc<AtomicUsize>,
    /// How many seconds its clock is ahead of ours.
    ahead: Arc<AtomicI64>,
}

impl Respond for Mint {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        self.asked.fetch_add(1, Relaxed);
        let status = self.status.load(Relaxed);
        if status != 200 {
            return ResponseTemplate::new(u16::try_from(status).expect("a status"));
        }
        let number = self.mints.fetch_add(1, Relaxed) + 1;
        #[expect(clippy::disallowed_methods, reason = "the client compares dates with it")]
        let real = chrono::Utc::now() + TimeDelta::seconds(self.ahead.load(Relaxed));
        let now = self.hands.moment().wall + TimeDelta::seconds(self.ahead.load(Relaxed));
        let body = serde_json::json!({ "token": format!("password {number}"), "expire_time": now + TimeDelta::hours(1) });
        ResponseTemplate::new(200)
            .insert_header("date", real.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
            .set_body_json(body)
    }
}

struct Bench {
    mint: Mint,
    credentials: Arc<Credentials>,
    target: Target,
    server: MockServer,
}

impl Bench {
    async fn new() -> Self {
        let mint = Mint {
            hands: Hands::new(),
            mints: Arc::default(),
            asked: Arc::default(),
            status: Arc::new(AtomicUsize::new(200)),
            ahead: Arc::default(),
        };
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(mint.clone()).mount(&server).await;
        let target = target(provider(&server));
        Self {
            credentials: Arc::new(Credentials {
                cells: Mutex::default(),
                clock: mint.hands.clock(),
            }),
            mint,
            target,
            server,
        }
    }

    async fn fetch(&self, freshness: Freshness) -> Option<String> {
        let minted = self.credentials.fetch(&self.target, freshness).await.ok()?;
        Some(minted.password.expose_secret().to_owned())
    }

    /// What a caller gets, and what a pass gets right after.
    async fn both(&self) -> (Option<String>, Option<String>) {
        (
            self.fetch(Freshness::Usable).await,
            self.fetch(Freshness::Fresh).await,
        )
    }

    fn pass(&self, time: TimeDelta) {
        self.mint.hands.pass(time);
    }

    fn asked(&self) -> usize {
        self.mint.asked.load(Relaxed)
    }

    fn answers(&self, status: usize) {
        self.mint.status.store(status, Relaxed);
    }
}

fn provider(server: &MockServer) -> Arc<Provider> {
    let workspace = Workspace::with_token(
        server.uri().parse().expect("an origin"),
        "dapi".to_owned().into(),
        TokenSource::Environment,
    );
    let limits = Limits {
        retries: 0,
        ..Limits::default()
    };
    Arc::new(Provider {
        client: Client::with_limits(workspace, limits).expect("a client"),
        project: ProjectName::new("shop").expect("a name"),
        origin: server.uri(),
        user_name: "jane@example.com".into(),
        ca_file: None,
        begun: Begun::default(),
    })
}

fn target(provider: Arc<Provider>) -> Target {
    let endpoint = "projects/shop/branches/dev/endpoints/primary";
    Target {
        provider,
        uid: BranchUid::new("br-1"),
        endpoint: endpoint.parse().expect("a name"),
        host: "127.0.0.2".into(),
        port: 5432,
        database: "databricks_postgres".into(),
        user: "jane@example.com".into(),
        sslmode: "require",
        ssl_root_cert: None,
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is compared with what may not be there"
)]
fn password(number: usize) -> Option<String> {
    Some(format!("password {number}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ld_03_ten_thousand_callers_at_the_instant_of_expiry_cost_one_mint() {
    let bench = Bench::new().await;
    assert_eq!(bench.fetch(Freshness::Usable).await, password(1));
    for (round, freshness) in [Freshness::Usable, Freshness::Fresh].into_iter().enumerate() {
        bench.pass(TimeDelta::hours(1));
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..10_000 {
            let (credentials, target) = (bench.credentials.clone(), bench.target.clone());
            calls.spawn(async move {
                let minted = credentials.fetch(&target, freshness).await.expect("minted");
                minted.password.expose_secret().to_owned()
            });
        }
        let got: BTreeSet<String> = calls.join_all().await.into_iter().collect();
        assert_eq!(got, BTreeSet::from([format!("password {}", round + 2)]));
        assert_eq!(bench.asked(), round + 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ld_03_ten_thousand_callers_of_a_service_that_is_down_cost_one_request() {
    let bench = Bench::new().await;
    bench.answers(503);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..10_000 {
        let (credentials, target) = (bench.credentials.clone(), bench.target.clone());
        calls.spawn(async move { credentials.fetch(&target, Freshness::Usable).await.is_err() });
    }
    assert!(calls.join_all().await.into_iter().all(|failed| failed));
    assert_eq!(bench.asked(), 1);
    bench.pass(TimeDelta::seconds(3));
    bench.answers(200);
    assert_eq!(
        bench.fetch(Freshness::Usable).await,
        password(1),
        "and then again"
    );
}

#[tokio::test]
async fn cp_04_through_55_minutes_of_503_callers_are_served_and_the_service_is_asked_once_a_minute() {
    let bench = Bench::new().await;
    assert_eq!(bench.fetch(Freshness::Usable).await, password(1));
    bench.answers(503);
    for _ in 0..55 * 12 {
        bench.pass(TimeDelta::seconds(5));
        assert_eq!(bench.both().await, (password(1), password(1)));
    }
    // Nobody asks in the first half of its life, plus or minus a tenth.
    assert!((20..=30).contains(&(bench.asked() - 1)), "{}", bench.asked());
    bench.pass(TimeDelta::minutes(5));
    assert_eq!(bench.both().await, (None, None), "its life is over");
    bench.answers(200);
    bench.pass(TimeDelta::seconds(3));
    assert_eq!(bench.both().await, (password(2), password(2)));
}

#[tokio::test]
async fn a_caller_gets_what_is_usable_at_once_and_a_pass_replaces_it_at_half_its_life() {
    let bench = Bench::new().await;
    assert_eq!(bench.both().await, (password(1), password(1)));
    bench.pass(TimeDelta::minutes(34));
    assert_eq!(bench.fetch(Freshness::Usable).await, password(1));
    assert_eq!(bench.both().await, (password(1), password(2)));
    assert_eq!(bench.fetch(Freshness::New).await, password(3));
}

#[tokio::test]
async fn ck_01_after_two_hours_of_sleep_the_first_call_gets_a_new_one() {
    let bench = Bench::new().await;
    assert_eq!(bench.fetch(Freshness::Usable).await, password(1));
    bench.pass(TimeDelta::hours(2));
    assert_eq!(bench.fetch(Freshness::Usable).await, password(2));
    // The wall clock may have been wrong before, and set right on waking.
    bench.pass(TimeDelta::hours(2));
    bench.mint.hands.set(TimeDelta::hours(-3));
    assert_eq!(bench.fetch(Freshness::Usable).await, password(3));
}

#[tokio::test]
async fn ck_02_a_wall_clock_that_is_set_neither_prolongs_a_credential_nor_mints_for_ever() {
    for years in [1, -1] {
        let bench = Bench::new().await;
        assert_eq!(bench.fetch(Freshness::Usable).await, password(1));
        let jump = TimeDelta::days(365 * years);
        bench.mint.hands.set(jump);
        let after = bench.fetch(Freshness::Usable).await.expect("minted or kept");
        let mints = bench.asked();
        assert!(mints <= 2, "{mints}");
        for _ in 0..5 {
            bench.pass(TimeDelta::minutes(5));
            assert_eq!(bench.fetch(Freshness::Usable).await, Some(after.clone()));
        }
        bench.pass(TimeDelta::minutes(36));
        assert_ne!(bench.fetch(Freshness::Usable).await, Some(after), "{years}");
        assert_eq!(bench.asked(), mints + 1);
    }
}

#[tokio::test]
async fn cp_24_a_life_is_as_long_as_the_server_meant_it_whatever_its_clock() {
    for ahead in [-600, 600, -7200, 7200] {
        let bench = Bench::new().await;
        bench.mint.ahead.store(ahead, Relaxed);
        assert_eq!(bench.fetch(Freshness::Usable).await, password(1));
        bench.pass(TimeDelta::minutes(20));
        assert_eq!(bench.both().await, (password(1), password(1)), "{ahead}");
        assert_eq!(bench.asked(), 1, "{ahead}");
        bench.pass(TimeDelta::minutes(40));
        assert_eq!(bench.fetch(Freshness::Usable).await, password(2), "{ahead}");
    }
}

#[tokio::test]
async fn cp_20_a_new_token_is_not_kept_waiting_by_the_failures_of_the_old_one() {
    let mut bench = Bench::new().await;
    bench.answers(401);
    assert_eq!(bench.fetch(Freshness::Usable).await, None);
    bench.pass(TimeDelta::seconds(30));
    assert_eq!(bench.fetch(Freshness::Usable).await, None);
    assert_eq!(bench.asked(), 1, "at most one attempt a minute");
    bench.answers(200);
    bench.target.provider = provider(&bench.server);
    assert_eq!(bench.fetch(Freshness::Usable).await, password(1));
}
