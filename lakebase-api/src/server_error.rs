//! What a failed answer says. The service has used several shapes of error body over the years; this file reads
//! all of them and never fails, because the HTTP status alone is already an answer.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

/// The longest message worth showing. Proxies answer with whole web pages.
const MAX_MESSAGE: usize = 2048;

/// An error as the service reported it.
#[derive(Clone, Debug, Default, PartialEq, thiserror::Error)]
pub struct ServerError {
    /// The HTTP status; 0 for the error of an operation, which has none.
    pub status: u16,
    /// The service's name for the kind of error, such as `NOT_FOUND`.
    pub code: Option<String>,
    /// What a person should read.
    pub message: String,
    /// What support asks for, taken from the message or the details.
    pub trace_id: Option<String>,
    /// How long the service asks us to stay away.
    pub retry_after: Option<Duration>,
    /// Details for machines, such as `google.rpc.ErrorInfo`.
    pub details: Vec<Value>,
    /// Whether the body had a shape of the API. If not, a proxy or a login page may have answered in its place.
    pub from_api: bool,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = if self.message.is_empty() {
            "the server gave no reason"
        } else {
            &self.message
        };
        let code = self.code.as_deref().unwrap_or_default();
        match (self.status, code) {
            (0, "") => f.write_str(message),
            (0, code) => write!(f, "{message} ({code})"),
            (status, "") => write!(f, "{message} (HTTP {status})"),
            (status, code) => write!(f, "{message} (HTTP {status}, {code})"),
        }
    }
}

impl ServerError {
    /// Reads the body of a failed answer.
    pub(crate) fn read(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let mut error = match serde_json::from_str::<Value>(&text) {
            Ok(Value::Object(object)) => from_object(&object),
            Ok(_) => Self::default(),
            Err(_) => from_text(text.trim()),
        };
        error.status = status;
        error.retry_after = retry_after;
        error.finish()
    }

    /// Makes the error of an operation comparable with that of an answer.
    pub(crate) fn of_operation(code: Option<String>, message: String, details: Vec<Value>) -> Self {
        Self {
            code,
            message,
            details,
            from_api: true,
            ..Self::default()
        }
        .finish()
    }

    fn finish(mut self) -> Self {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        self.message = self
            .message
            .trim()
            .chars()
            .take(MAX_MESSAGE)
            .map(printable)
            .collect();
        self.trace_id = trace_id(&self.message).or_else(|| request_id(&self.details));
        self
    }
}

fn from_object(object: &Map<String, Value>) -> ServerError {
    let text = |key: &str| object.get(key).and_then(as_text);
    let code = text("error_code").or_else(|| text("scimType"));
    let message = text("message")
        .or_else(|| text("detail"))
        .or_else(|| text("error_description"));
    let old_style = text("error");
    ServerError {
        from_api: code.is_some() || message.is_some() || old_style.is_some(),
        code,
        message: message.or(old_style).unwrap_or_default(),
        details: object
            .get("details")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
        ..ServerError::default()
    }
}

/// Reads text or a number: older parts of the service number their error codes.
fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn from_text(text: &str) -> ServerError {
    if let Some((code, message)) = text.split_once(": ").filter(|(code, _)| is_code(code)) {
        let (code, message) = (Some(code.to_owned()), message.to_owned());
        return ServerError {
            code,
            message,
            from_api: true,
            ..ServerError::default()
        };
    }
    let message = between(text, "<pre>", "</pre>").or_else(|| between(text, "<title>", "</title>"));
    let page = text.starts_with('<');
    let message = message.unwrap_or(if page {
        "the server answered with a web page"
    } else {
        text
    });
    ServerError {
        message: message.to_owned(),
        ..ServerError::default()
    }
}

fn is_code(text: &str) -> bool {
    text.len() >= 3
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

fn trace_id(message: &str) -> Option<String> {
    between(message, "[TraceId: ", "]").map(|id| id.trim().to_owned())
}

fn request_id(details: &[Value]) -> Option<String> {
    details
        .iter()
        .find_map(|detail| detail.get("request_id")?.as_str())
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> ServerError {
        ServerError::read(400, None, body.as_bytes())
    }

    fn parts(error: &ServerError) -> (Option<&str>, &str, bool) {
        (error.code.as_deref(), &error.message, error.from_api)
    }

    #[test]
    fn every_shape_of_body_is_read() {
        let cases = [
            (
                r#"{"error_code":"NOT_FOUND","message":"gone"}"#,
                (Some("NOT_FOUND"), "gone", true),
            ),
            (r#"{"message":"gone"}"#, (None, "gone", true)),
            (
                r#"{"error_code":404,"message":"gone"}"#,
                (Some("404"), "gone", true),
            ),
            (r#"{"error_code":null,"message":"gone"}"#, (None, "gone", true)),
            (
                r#"{"detail":"no such user","status":"404","scimType":"noTarget"}"#,
                (Some("noTarget"), "no such user", true),
            ),
            (r#"{"error":"old"}"#, (None, "old", true)),
            (
                r#"{"error":"invalid_client","error_description":"who?"}"#,
                (None, "who?", true),
            ),
            (
                "MALFORMED_REQUEST: vdws",
                (Some("MALFORMED_REQUEST"), "vdws", true),
            ),
            (
                "<html><body><pre>some\nreason</pre></body></html>",
                (None, "some reason", false),
            ),
            (
                "<html><title>502 Bad Gateway</title></html>",
                (None, "502 Bad Gateway", false),
            ),
            (
                "<html><body>hm</body></html>",
                (None, "the server answered with a web page", false),
            ),
            ("upstream connect error", (None, "upstream connect error", false)),
            ("", (None, "", false)),
            ("null", (None, "", false)),
            ("{}", (None, "", false)),
            ("[1]", (None, "", false)),
        ];
        for (body, expected) in cases {
            assert_eq!(parts(&read(body)), expected, "{body}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_read_too() {
        assert!(!ServerError::read(500, None, &[0xff, 0xfe, 0x00]).from_api);
    }

    #[test]
    fn the_trace_id_comes_from_the_message_or_the_details() {
        assert_eq!(
            read(r#"{"message":"gone [TraceId: 1a-2b]"}"#).trace_id.as_deref(),
            Some("1a-2b")
        );
        let details =
            r#"{"message":"gone","details":[{"reason":"x"},{"@type":"RequestInfo","request_id":"r-7"}]}"#;
        assert_eq!(read(details).trace_id.as_deref(), Some("r-7"));
        assert_eq!(read(r#"{"message":"gone"}"#).trace_id, None);
    }

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        let error = read(&format!("{{\"message\":\"a\\nb{}\"}}", "x".repeat(99_999)));
        assert!(error.message.starts_with("a b") && error.message.len() == MAX_MESSAGE);
    }

    #[test]
    fn it_says_status_and_code() {
        assert_eq!(
            ServerError::read(503, None, b"").to_string(),
            "the server gave no reason (HTTP 503)"
        );
        let error = ServerError::of_operation(Some("ABORTED".to_owned()), "no".to_owned(), Vec::new());
        assert_eq!(error.to_string(), "no (ABORTED)");
    }
}
