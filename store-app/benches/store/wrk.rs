//! Load by `wrk`, which costs little itself.

use anyhow::{Context, ensure};
use std::time::Duration;
use tokio::process::Command;

/// How much, and for how long.
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) turn: Duration,
}

impl Load {
    /// Returns how many requests in a second were answered. Fails if one of them failed.
    pub(crate) async fn rate(&self, url: &str, encoding: Option<&str>) -> anyhow::Result<f64> {
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", &self.clients.to_string()]);
        wrk.args(["--duration", &format!("{}s", self.turn.as_secs())]);
        if let Some(encoding) = encoding {
            wrk.args(["--header", &format!("Accept-Encoding: {encoding}")]);
        }
        let output = wrk.arg(url).output().await.context("cannot run `wrk`")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let failed = ["Non-2xx", "Socket errors"]
            .iter()
            .any(|word| said.contains(word));
        ensure!(output.status.success() && !failed, "requests failed: {said}");
        let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        let rate = rate.with_context(|| format!("`wrk` said {said}"))?;
        Ok(rate.trim().parse()?)
    }
}
