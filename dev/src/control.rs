//! How commands and the supervisor speak: one line of JSON each way, on a socket that only the user can reach.

use crate::board::View;
use crate::place::Place;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const MAX_REQUEST: u64 = 4096;

/// What a command wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Request {
    Status,
    /// The status, after those that were ready have been asked whether they still answer.
    Look,
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
    /// Why the request was not done.
    pub(crate) refused: Option<String>,
    /// What is wrong with the file, or with watching files.
    pub(crate) problems: Vec<String>,
}

/// Asks the supervisor of a place; `None` when there is none.
///
/// # Errors
/// When one is there and does not answer.
pub(crate) fn ask(place: &Place, request: &Request) -> io::Result<Option<Reply>> {
    let stream = match UnixStream::connect(place.socket()) {
        Ok(stream) => stream,
        Err(error) if is_nobody(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    match exchange(stream, request) {
        Ok(answer) if answer.is_empty() => Ok(None),
        Ok(answer) => Ok(Some(serde_json::from_str(&answer)?)),
        Err(error) if is_nobody(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<String> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    // The last two when it was killed meanwhile.
    matches!(
        error.kind(),
        NotFound | ConnectionRefused | ConnectionReset | BrokenPipe
    )
}
