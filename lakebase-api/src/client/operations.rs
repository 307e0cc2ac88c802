//! Operations: asking how they stand and waiting for their end.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Client, ask};
use crate::error::{Action, Error};
use crate::resource::name::OperationName;
use crate::resource::operation::Operation;
use crate::transport::Method;

const FIRST_POLL: Duration = Duration::from_millis(50);
const SLOWEST_POLL: Duration = Duration::from_secs(5);

impl Client {
    /// Returns how an operation stands ("operations: get").
    pub async fn operation<T: DeserializeOwned>(&self, name: &OperationName) -> Result<Operation<T>, Error> {
        self.call(&ask(Action::new("get operation", name), Method::Get, name))
            .await
    }

    /// Waits until an operation has ended, and returns what came of it.
    ///
    /// # Cancel safety
    ///
    /// The operation goes on when nobody waits.
    pub async fn wait<T: DeserializeOwned>(
        &self,
        operation: Operation<T>,
        deadline: Duration,
    ) -> Result<T, Error> {
        let give_up = Instant::now() + deadline;
        let (mut operation, mut pause) = (operation, FIRST_POLL);
        while !operation.done {
            let wake = Instant::now() + pause;
            if wake > give_up {
                return Err(unfinished(operation.name, "the operation is still running"));
            }
            tokio::time::sleep_until(wake).await;
            pause = (pause * 2).min(SLOWEST_POLL);
            operation = match self.operation(&operation.name).await {
                Err(Error::NotFound { .. }) => {
                    return Err(unfinished(
                        operation.name,
                        "the service has forgotten the operation",
                    ));
                }
                answer => answer?,
            };
        }
        outcome(operation)
    }
}

fn outcome<T: DeserializeOwned>(operation: Operation<T>) -> Result<T, Error> {
    let action = Action::new("finish operation", &operation.name);
    match operation.result {
        Some(Ok(resource)) => Ok(resource),
        Some(Err(error)) => Err(Error::of_failed(&operation.name, error)),
        // Some operations that have nothing to give end without an answer.
        None => serde_json::from_str("{}").map_err(|_| Error::Unintelligible {
            action,
            reason: "it is done but has neither a result nor an error".to_owned(),
        }),
    }
}

fn unfinished(operation: OperationName, reason: &'static str) -> Error {
    Error::Unfinished {
        action: Action::new("finish operation", &operation),
        operation,
        reason,
    }
}
