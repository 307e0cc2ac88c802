//! One file for each command, and what they share.

pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod restart;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;

use crate::failure::{Exit, Failure};
use crate::file::{self, DevFile};
use crate::left;
use crate::place::{FILE, Place};
use std::future::Future;
use std::io::Read;

/// Reads and checks the file.
///
/// # Errors
/// When it cannot be read, or is wrong.
pub(crate) fn load(place: &Place) -> anyhow::Result<DevFile> {
    let wrong = |why: String| Failure::new(Exit::NotConfigured, format!("cannot use `{FILE}`: {why}"));
    let mut text = String::new();
    let file = std::fs::File::open(place.file()).map_err(|error| wrong(error.to_string()))?;
    file.take(file::MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > file::MAX_BYTES {
        return Err(wrong(format!("it is larger than {} bytes", file::MAX_BYTES)).into());
    }
    Ok(file::parse(&text).map_err(|error| wrong(error.to_string()))?)
}

/// Ends what a killed supervisor left, if none runs. Returns how many process groups that were; `None`: one runs.
///
/// The caller holds the command lock.
fn sweep_if_alone(place: &Place) -> anyhow::Result<Option<usize>> {
    let Some(_lock) = place.supervisor_lock()? else {
        return Ok(None);
    };
    Ok(Some(block_on(left::sweep(place))?))
}

fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future))
}
