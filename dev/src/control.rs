//! How commands and the supervisor speak: one line of JSON each way, on a socket that only the user can reach.

use crate::board::View;
use crate::place::Place;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const MAX_REQUEST: u64 = 4096;

/// What a command wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Request {
    Status,
    Restart(String),
    Stop,
}

/// What the supervisor shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) pid: u32,
    /// The URL of the process that `open` names.
    pub(crate) url: Option<String>,
    pub(crate) processes: Vec<View>,
    /// What is wrong with the request, or with watching files.
    pub(crate) problem: Option<String>,
}

/// Asks the supervisor of a place; `None` when there is none.
///
/// # Errors
/// When one is there and does not answer.
pub(crate) fn ask(place: &Place, request: &Request) -> io::Result<Option<Reply>> {
    let mut stream = match UnixStream::connect(place.socket()) {
        Ok(stream) => stream,
        Err(error) if is_nobody(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.is_empty() {
        // It ended before it could answer.
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&answer)?))
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}
