//! Long-running operations: what every create, update and delete answers with.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::name::OperationName;

/// An operation and, once it is done, what came of it ("operations: get").
#[derive(Clone, Debug, PartialEq)]
pub struct Operation<T> {
    /// What to ask for.
    pub name: OperationName,
    /// Whether it has ended, well or badly.
    pub done: bool,
    /// What came of it. None while it runs, and for the odd operation that ends without an answer.
    pub result: Option<Result<T, OperationError>>,
    /// What the service says about it, such as the type of its resource.
    pub metadata: Option<Value>,
}

/// Why an operation failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct OperationError {
    /// The service's name for the kind of error, as in a failed answer.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "read_code"
    )]
    pub error_code: Option<String>,
    /// What a person should read.
    #[serde(default)]
    pub message: String,
    /// Details for machines, such as `google.rpc.ErrorInfo`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
struct Wire<N, M, T, E> {
    name: N,
    #[serde(default, skip_serializing_if = "is_false")]
    done: bool,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    metadata: Option<M>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    response: Option<T>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    error: Option<E>,
}

impl<T: Serialize> Serialize for Operation<T> {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        Wire {
            name: &self.name,
            done: self.done,
            metadata: self.metadata.as_ref(),
            response: self.result.as_ref().and_then(|result| result.as_ref().ok()),
            error: self.result.as_ref().and_then(|result| result.as_ref().err()),
        }
        .serialize(output)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Operation<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let wire = Wire::<OperationName, Value, T, OperationError>::deserialize(input)?;
        let ended = match (wire.error, wire.response) {
            (Some(error), _) => Some(Err(error)),
            (None, response) => response.map(Ok),
        };
        let result = ended.filter(|_| wire.done);
        Ok(Self {
            name: wire.name,
            done: wire.done,
            result,
            metadata: wire.metadata,
        })
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's `skip_serializing_if` passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Stands in for `Option::default`, which would ask for `T: Default`.
fn none<T>() -> Option<T> {
    None
}

/// Reads an error code that may be text or a number.
fn read_code<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    Ok(match Option::<Value>::deserialize(input)? {
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(_) | None => None,
    })
}
