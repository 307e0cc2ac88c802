//! The API of a Local Lakebase as its clients see it, past every typed client: a request that is cut off is an error, and
//! nothing is sent twice.

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Who everything belongs to.
pub(crate) const USER: &str = "jane.doe@example.com";

/// The database that every project has.
pub(crate) const DATABASE: &str = "databricks_postgres";

/// A Local Lakebase by its data directory, whichever process serves it now.
#[derive(Clone, Debug)]
pub(crate) struct Lake {
    data_dir: PathBuf,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// The way into a branch.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) password: String,
}

/// A branch as the API lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) id: String,
    pub(crate) uid: String,
}

impl Lake {
    pub(crate) fn new(data_dir: PathBuf) -> Self {
        Self { data_dir }
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Where a branch's data are.
    pub(crate) fn pgdata(&self, uid: &str) -> PathBuf {
        self.data_dir.join("projects/shop").join(uid).join("pgdata")
    }

    /// Sends a request below `/api/2.0/postgres/`.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let profiles = std::fs::read_to_string(self.data_dir.join("databrickscfg"))?;
        let value = |key: &str| {
            let mut pairs = profiles.lines().filter_map(|line| line.split_once(" = "));
            let found = pairs.find(|(name, _)| *name == key).map(|(_, value)| value);
            found.with_context(|| format!("there is no `{key}` in the profiles"))
        };
        let host = value("host")?.strip_prefix("http://").context("not http")?;
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = format!(
            "{method} /api/2.0/postgres/{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            value("token")?,
            body.len()
        );
        let mut stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the answer was cut off")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let body = serde_json::from_str(body).context("the answer was cut off")?;
        Ok(Answer { status, body })
    }

    /// Sends a request that must succeed.
    pub(crate) async fn ok(&self, method: &str, path: &str, body: Value) -> anyhow::Result<Value> {
        let answer = self.send(method, path, &body).await?;
        ensure!(
            answer.status == 200,
            "{method} {path}: {} {}",
            answer.status,
            answer.body
        );
        Ok(answer.body)
    }

    pub(crate) async fn create_project(&self, id: &str) -> anyhow::Result<()> {
        let body = json!({"spec": {"display_name": id}});
        let path = format!("projects?project_id={id}");
        self.ok("POST", &path, body).await.map(drop)
    }

    /// Makes a branch of production that lives for six hours; returns its uid.
    pub(crate) async fn create_branch(&self, id: &str) -> anyhow::Result<String> {
        let path = format!("projects/shop/branches?branch_id={id}");
        let operation = self.ok("POST", &path, json!({"spec": {"ttl": "21600s"}})).await?;
        text(&operation["response"]["uid"])
    }

    /// Removes a branch for ever.
    pub(crate) async fn purge_branch(&self, id: &str) -> anyhow::Result<()> {
        let path = format!("projects/shop/branches/{id}?purge=true");
        self.ok("DELETE", &path, Value::Null).await.map(drop)
    }

    /// Lists all branches, soft-deleted ones too.
    pub(crate) async fn branches(&self) -> anyhow::Result<Vec<Branch>> {
        let path = "projects/shop/branches?show_deleted=true&page_size=100";
        let page = self.ok("GET", path, Value::Null).await?;
        ensure!(page["next_page_token"].is_null(), "more branches than expected");
        let Some(branches) = page["branches"].as_array() else {
            bail!("a list without branches: {page}");
        };
        let branch = |branch: &Value| {
            let name = text(&branch["name"])?;
            let id = name.rsplit('/').next().unwrap_or_default().to_owned();
            let uid = text(&branch["uid"])?;
            Ok(Branch { id, uid })
        };
        branches.iter().map(branch).collect()
    }

    /// Returns the way into a branch, with a fresh password.
    pub(crate) async fn door(&self, branch: &str) -> anyhow::Result<Door> {
        let path = format!("projects/shop/branches/{branch}/endpoints/primary");
        let endpoint = self.ok("GET", &path, Value::Null).await?;
        let credential = self.ok("POST", "credentials", json!({"endpoint": path})).await?;
        let hosts = &endpoint["status"]["hosts"];
        Ok(Door {
            host: text(&hosts["host"])?,
            port: u16::try_from(hosts["port"].as_u64().unwrap_or(5432))?,
            password: text(&credential["token"])?,
        })
    }
}

fn text(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).context("a text is missing")
}
