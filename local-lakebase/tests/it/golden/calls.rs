//! The table of calls: how our client makes the call of each recording, how it must end, and how Local Lakebase answers it.

use std::pin::Pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use lakebase_api::{Branch, BranchName, BranchSpec, Client, EndpointName, Error, ProjectName, ProjectSpec};
use serde::Serialize;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_hours(1);

/// What a call depends on besides its recording.
pub(crate) struct Circumstances {
    /// When it is: the recordings are of ten o'clock on the first of August 2026.
    pub(crate) now: DateTime<Utc>,
    /// The last operation of the branch `dev`.
    pub(crate) operation: String,
    /// A client whose token nobody knows.
    pub(crate) stranger: Client,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Value, Error>> + Send + 'a>>;
type Make = for<'a> fn(&'a Client, &'a Circumstances) -> Answer<'a>;

/// Who makes a call.
#[derive(Clone, Copy)]
pub(crate) enum By {
    /// Our client, by these methods.
    Ours(&'static [&'static str], Make),
    /// Nobody here, and why; Local Lakebase is sent what was recorded.
    TheSdk(&'static str),
}

/// How Local Lakebase answers.
#[derive(Clone, Copy)]
pub(crate) enum Locally {
    /// As was recorded: status, error code and shape.
    Alike,
    /// The same, in words of its own.
    InOtherWords,
    /// With the recorded end at once, because its operations have ended before it answers.
    AtOnce,
    /// It cannot be brought to, and why.
    Never(&'static str),
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) by: By,
    /// The variant of our error, where it is not the one that the SDK's class stands for, and why.
    pub(crate) otherwise: Option<(&'static str, &'static str)>,
    pub(crate) locally: Locally,
}

impl Case {
    const fn never(mut self, why: &'static str) -> Self {
        self.locally = Locally::Never(why);
        self
    }

    const fn in_other_words(mut self) -> Self {
        self.locally = Locally::InOtherWords;
        self
    }

    const fn at_once(mut self) -> Self {
        self.locally = Locally::AtOnce;
        self
    }

    const fn otherwise(mut self, variant: &'static str, why: &'static str) -> Self {
        self.otherwise = Some((variant, why));
        self
    }
}

const fn case(name: &'static str, by: By) -> Case {
    Case {
        name,
        by,
        otherwise: None,
        locally: Locally::Alike,
    }
}

const fn sdk(name: &'static str, why: &'static str) -> Case {
    case(name, By::TheSdk(why))
}

/// One call of one method.
macro_rules! ours {
    ($name:literal, |$c:ident| $method:ident($($argument:expr),*)) => {
        case($name, By::Ours(&[stringify!($method)], |client, $c| {
            Box::pin(async move {
                let _ = $c;
                read(client.$method($($argument),*).await)
            })
        }))
    };
}

fn read<T: Serialize>(answer: Result<T, Error>) -> Result<Value, Error> {
    answer.map(|answer| serde_json::to_value(answer).unwrap())
}

fn shop() -> ProjectName {
    ProjectName::new("shop").unwrap()
}

fn branch(id: &str) -> BranchName {
    BranchName::new(&shop(), id).unwrap()
}

fn endpoint(id: &str) -> EndpointName {
    EndpointName::new(&branch("dev"), id).unwrap()
}

fn project_spec() -> ProjectSpec {
    ProjectSpec {
        display_name: Some("Shop".to_owned()),
        pg_version: Some(17),
        ..ProjectSpec::default()
    }
}

fn leased() -> BranchSpec {
    BranchSpec {
        ttl: Some((6 * HOUR).into()),
        ..BranchSpec::default()
    }
}

fn of(source: &str, spec: BranchSpec) -> BranchSpec {
    BranchSpec {
        source_branch: Some(branch(source)),
        ..spec
    }
}

fn until(c: &Circumstances) -> BranchSpec {
    BranchSpec {
        expire_time: Some(c.now + 6 * HOUR),
        ..BranchSpec::default()
    }
}

fn forever() -> BranchSpec {
    BranchSpec {
        no_expiry: Some(true),
        ..BranchSpec::default()
    }
}

fn operation<'a>(client: &'a Client, c: &'a Circumstances) -> Answer<'a> {
    Box::pin(async move { read(client.operation::<Branch>(&c.operation.parse().unwrap()).await) })
}

fn missing_operation<'a>(client: &'a Client, _: &'a Circumstances) -> Answer<'a> {
    let name = format!("{}/operations/none", branch("dev")).parse().unwrap();
    Box::pin(async move { read(client.operation::<Branch>(&name).await) })
}

fn create_and_wait<'a>(client: &'a Client, _: &'a Circumstances) -> Answer<'a> {
    Box::pin(async move {
        let begun = client.create_branch(&shop(), "dev4", &leased()).await?;
        read(client.wait(begun, PATIENCE).await)
    })
}

fn strange_me<'a>(_: &'a Client, c: &'a Circumstances) -> Answer<'a> {
    Box::pin(async move { read(c.stranger.me().await) })
}

const NO_TROUBLE: &str = "it has no such trouble";
const ONE_USER: &str = "its one user may do everything";
const ONE_PAGE: &str = "all branches are on one page";
const SIGN_IN: &str = "the client is given a token that others fetched";
const LISTS_ALL: &str = "the client takes pages as they come";
const NEVER_DONE: &str = "the daemon never does that";

/// In the order of the recordings, which is that of a life.
#[rustfmt::skip]
pub(crate) const CASES: &[Case] = &[
    sdk("sign in: token", SIGN_IN),
    sdk("sign in: client", SIGN_IN),
    sdk("sign in: wrong secret", SIGN_IN),
    ours!("me", |c| me()),
    case("me: unknown token", By::Ours(&["me"], strange_me)).in_other_words(),

    ours!("project: missing", |c| project(&shop())),
    ours!("create_project", |c| create_project("shop", &project_spec())),
    ours!("create_project: exists", |c| create_project("shop", &project_spec())),
    ours!("project", |c| project(&shop())),
    sdk("list_projects", "the client is told its project"),
    ours!("project: forbidden", |c| project(&shop())).never(ONE_USER),
    ours!("project: forbidden without a word", |c| project(&shop())).never(ONE_USER),

    ours!("create_branch: ttl", |c| create_branch(&shop(), "dev", &of("production", leased()))),
    ours!("create_branch: expire_time", |c| create_branch(&shop(), "dev2", &of("production", until(c)))),
    ours!("create_branch: no_expiry", |c| create_branch(&shop(), "dev3", &forever())),
    sdk("create_branch: replace_existing", NEVER_DONE),
    case("create_branch: wait", By::Ours(&["create_branch", "wait"], create_and_wait)).at_once(),
    case("create_branch: wait, failed", By::Ours(&["create_branch", "wait"], create_and_wait))
        .otherwise("OperationFailed", "the SDK has no class for it").never(NO_TROUBLE),
    ours!("create_branch: exists", |c| create_branch(&shop(), "dev", &leased()))
        .otherwise("AlreadyExists", "the SDK goes by the code; what to do about it is the same as for 409"),
    ours!("create_branch: exists, as documented", |c| create_branch(&shop(), "dev", &leased()))
        .never("it answers as the service does"),
    ours!("create_branch: no expiration", |c| create_branch(&shop(), "dev5", &of("production", BranchSpec::default()))),
    ours!("create_branch: of a leased one", |c| create_branch(&shop(), "dev5", &of("dev", leased()))),
    ours!("create_branch: of an unknown one", |c| create_branch(&shop(), "dev5", &of("none", leased()))),
    ours!("create_branch: busy", |c| create_branch(&shop(), "dev5", &leased())).never(NO_TROUBLE),
    ours!("create_branch: throttled", |c| create_branch(&shop(), "dev5", &leased())).never(NO_TROUBLE),
    ours!("create_branch: unavailable", |c| create_branch(&shop(), "dev5", &leased())).never(NO_TROUBLE),
    ours!("create_branch: broken", |c| create_branch(&shop(), "dev5", &leased())).never(NO_TROUBLE),

    ours!("branch", |c| branch(&branch("dev"))),
    ours!("branch: missing", |c| branch(&branch("none"))),
    ours!("branch: another service", |c| branch(&branch("dev")))
        .otherwise("Unintelligible", "the SDK lets its parser's error through").never(NO_TROUBLE),
    ours!("branch: a proxy's page", |c| branch(&branch("dev")))
        .otherwise("Unintelligible", "a proxy's 404 is not the service's word; the SDK believes it").never(NO_TROUBLE),
    ours!("list_branches", |c| list_branches(&shop())),
    ours!("list_branches: none", |c| list_branches(&shop())).never("there always is a root"),
    ours!("list_branches: pages", |c| list_branches(&shop())).never(ONE_PAGE),
    sdk("list_branches: page_size", LISTS_ALL),
    sdk("list_branches: page_size, show_deleted", LISTS_ALL),
    ours!("update_branch: expire_time", |c| renew_branch(&branch("dev"), c.now + 6 * HOUR)),
    sdk("update_branch: expire_time, by name", "the name is in the path already"),
    sdk("update_branch: ttl", "the service counts it from the branch's creation"),
    sdk("update_branch: two paths", NEVER_DONE),
    sdk("update_branch: unknown path", NEVER_DONE),
    ours!("update_branch: no_expiry", |c| set_no_expiry(&branch("dev"))),
    sdk("update_branch: camelCase", NEVER_DONE),
    ours!("delete_branch: protected", |c| delete_branch(&branch("dev"))),
    sdk("update_branch: is_protected", NEVER_DONE),

    ours!("endpoint", |c| endpoint(&endpoint("primary"))),
    ours!("endpoint: missing", |c| endpoint(&endpoint("none"))),
    ours!("list_endpoints", |c| list_endpoints(&branch("dev"))),
    ours!("update_endpoint: suspension", |c| update_endpoint_suspend(&endpoint("primary"), Duration::from_mins(1))),
    ours!("list_databases", |c| list_databases(&branch("dev"))),
    ours!("credential", |c| generate_credential(&endpoint("primary"), None)),
    ours!("credential: ttl", |c| generate_credential(&endpoint("primary"), Some(Duration::from_mins(15)))),
    sdk("credential: expire_time", "by ttl no clocks need agree"),
    ours!("credential: too short", |c| generate_credential(&endpoint("primary"), Some(Duration::from_mins(1)))),
    ours!("credential: missing", |c| generate_credential(&endpoint("none"), None)),

    case("operation", By::Ours(&["operation"], operation)),
    case("operation: running", By::Ours(&["operation"], operation)).never("its operations have ended before it answers"),
    case("operation: missing", By::Ours(&["operation"], missing_operation)),
    case("operation: throttled", By::Ours(&["operation"], operation)).never(NO_TROUBLE),

    ours!("delete_branch", |c| delete_branch(&branch("dev"))),
    ours!("branch: deleted", |c| branch(&branch("dev"))),
    ours!("list_branches: show_deleted", |c| list_branches_with_deleted(&shop())),
    ours!("delete_branch: again", |c| delete_branch(&branch("dev"))),
    ours!("undelete_branch", |c| undelete_branch(&branch("dev"))),
    ours!("delete_branch: root", |c| delete_branch(&branch("production"))),
    sdk("delete_branch: purge", "what we delete can be brought back"),
];
