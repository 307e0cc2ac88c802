//! The address of a workspace: scheme, host and port, and nothing else. It decides where a token may be sent.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// A checked origin: `https`, or `http` on this machine only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(Url);

/// Says why some text is not the address of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// It is not a URL with a host.
    #[error("it is not the address of a host")]
    NotAnAddress,
    /// It uses `http` for a host that is not this machine, or another scheme.
    #[error("it must use https; http is only for this machine")]
    NotSecure,
    /// It holds a user name or a password, which would end up in logs.
    #[error("it must not contain a user name or a password")]
    HasUser,
}

impl Origin {
    /// Says whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())
    }
}

impl FromStr for Origin {
    type Err = OriginError;

    /// Reads a host as people write it: with or without a scheme, a path, a default port.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        let text = text.trim();
        let with_scheme = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let mut url = Url::parse(&with_scheme).map_err(|_| OriginError::NotAnAddress)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OriginError::HasUser);
        }
        if !matches!(url.scheme(), "http" | "https") || (url.scheme() == "http" && !is_loopback(&url)) {
            return Err(OriginError::NotSecure);
        }
        url.set_path("");
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self(url))
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(domain)) => domain == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<String, OriginError> {
        text.parse::<Origin>().map(|origin| origin.to_string())
    }

    proptest! {
        #[test]
        fn an_origin_is_read_back_as_it_was_written(host in "[a-z][a-z0-9-]{0,20}[a-z0-9](\\.[a-z]{2,5})?", port in 1..=u16::MAX) {
            let origin: Origin = format!("{host}:{port}").parse().unwrap();
            prop_assert_eq!(origin.to_string().parse::<Origin>().unwrap(), origin);
        }
    }

    #[test]
    fn hosts_are_read_as_people_write_them() {
        let cases = [
            ("dbc-1.cloud.databricks.com", "https://dbc-1.cloud.databricks.com"),
            (
                "https://dbc-1.cloud.databricks.com/",
                "https://dbc-1.cloud.databricks.com",
            ),
            (
                "https://dbc-1.cloud.databricks.com:443/?o=123#x",
                "https://dbc-1.cloud.databricks.com",
            ),
            (
                " HTTPS://DBC-1.cloud.databricks.com/browse/x ",
                "https://dbc-1.cloud.databricks.com",
            ),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("http://127.8.9.1:8080", "http://127.8.9.1:8080"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("127.0.0.1:8443", "https://127.0.0.1:8443"),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn sec_11_a_token_is_not_sent_in_clear_or_to_a_strange_place() {
        let remote = [
            "http://example.com",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://0.0.0.0",
            "ftp://127.0.0.1",
        ];
        for text in remote {
            assert_eq!(parse(text), Err(OriginError::NotSecure), "{text}");
        }
        for text in [
            "https://jane@example.com",
            "https://jane:secret@example.com",
            "http://127.0.0.1@example.com",
        ] {
            assert_eq!(parse(text), Err(OriginError::HasUser), "{text}");
        }
        for text in ["", "https://", "https:///x y", "a b"] {
            assert_eq!(parse(text), Err(OriginError::NotAnAddress), "{text}");
        }
    }
}
