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

/// Where workspaces on Azure are.
const AZURE: [&str; 3] = [
    "azuredatabricks.net",
    "databricks.azure.us",
    "databricks.azure.cn",
];
/// Where the others are. All hosts below one of these are the service's own.
const ZONES: [&str; 2] = ["databricks.com", "databricks.us"];

fn is_within(host: &str, zone: &str) -> bool {
    host.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

impl Origin {
    /// Says whether the host is this machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// Says whether the host is a workspace on Azure.
    pub(crate) fn is_azure(&self) -> bool {
        self.0
            .domain()
            .is_some_and(|host| AZURE.iter().any(|zone| is_within(host, zone)))
    }

    /// Says whether a secret of this workspace may be sent there too: to the host itself, or to another of the service's hosts
    /// in the same zone, and never by a worse way.
    pub(crate) fn trusts(&self, told: &Url) -> bool {
        if told.origin() == self.0.origin() {
            return true;
        }
        let zone = |host: &str| AZURE.iter().chain(&ZONES).find(|zone| is_within(host, zone));
        let both = self.0.domain().and_then(zone).zip(told.domain().and_then(zone));
        told.scheme() == "https"
            && told.username().is_empty()
            && both.is_some_and(|(ours, theirs)| ours == theirs)
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
    fn sec_11_a_secret_goes_to_the_host_or_its_own_zone() {
        let origin = |text: &str| text.parse::<Origin>().unwrap();
        let trusts = |ours: &str, told: &str| origin(ours).trusts(&Url::parse(told).unwrap());
        let aws = "https://dbc-1.cloud.databricks.com";
        assert!(trusts(aws, "https://dbc-1.cloud.databricks.com/oidc"));
        assert!(trusts(
            aws,
            "https://accounts.cloud.databricks.com/oidc/accounts/1"
        ));
        assert!(trusts(
            "https://adb-1.2.azuredatabricks.net",
            "https://accounts.azuredatabricks.net/x"
        ));
        assert!(trusts("http://127.0.0.1:80", "http://127.0.0.1/oidc"));
        let strange = [
            "https://evil.example/oidc",
            "https://cloud.databricks.com.evil.example/",
            "https://evildatabricks.com/",
            "http://accounts.cloud.databricks.com/",
            "https://jane@accounts.cloud.databricks.com/",
        ];
        for told in strange {
            assert!(!trusts(aws, told), "{told}");
        }
        assert!(!trusts("http://127.0.0.1:80", "http://127.0.0.1:81/oidc"));
        assert!(!trusts("https://own.example", "https://other.example/"));
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
