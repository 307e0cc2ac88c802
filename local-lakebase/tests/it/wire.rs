//! A PostgreSQL client that sends exactly the packets that a test gives it.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::lake::Lake;

pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

trait Stream: AsyncRead + AsyncWrite + Debug + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Debug + Unpin + Send> Stream for T {}

/// A connection before or after its login.
#[derive(Debug)]
pub(crate) struct Wire(Box<dyn Stream>);

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    wire: Wire,
    /// Types of the messages that opened it.
    pub(crate) kinds: Vec<u8>,
    /// Settings that the server reported.
    pub(crate) reported: Vec<(String, String)>,
}

/// An error that the server reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerError {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Reason why a login did not open a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoSession {
    Refused(ServerError),
    /// The server asks for more than a password in clear.
    Asks(u32),
    HungUp,
}

impl NoSession {
    /// Returns the SQLSTATE of a refusal; empty without one.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Refused(error) => &error.code,
            Self::Asks(_) | Self::HungUp => "",
        }
    }
}

/// Builds a startup packet of protocol 3.0 from `name=value;name=value`, in that order.
pub(crate) fn startup(parameters: &str) -> Vec<u8> {
    startup_of(3 << 16, parameters)
}

/// Builds a startup packet of another protocol version.
pub(crate) fn startup_of(version: u32, parameters: &str) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for parameter in parameters.split(';') {
        let (name, value) = parameter.split_once('=').unwrap();
        body.extend([name, "\0", value, "\0"].concat().bytes());
    }
    body.push(0);
    framed(&body)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes()[..], body].concat()
}

/// Returns the socket of the compute of a branch, without the listener in front.
pub(crate) fn socket_of(lake: &Lake, branch_uid: &str) -> PathBuf {
    let pgdata = lake
        .local
        .data_dir()
        .join("projects/shop")
        .join(branch_uid)
        .join("pgdata");
    let pid_file = std::fs::read_to_string(pgdata.join("postmaster.pid")).unwrap();
    let lines: Vec<_> = pid_file.lines().collect();
    Path::new(lines[4]).join(format!(".s.PGSQL.{}", lines[3]))
}

impl Wire {
    /// Connects to the endpoint of a branch, in TLS with its certificate verified.
    pub(crate) async fn to(lake: &Lake, branch: &str) -> Self {
        let (host, port) = lake.address(branch).await;
        let mut stream = TcpStream::connect((host.clone(), port)).await.unwrap();
        stream.write_all(&SSL_REQUEST).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'S');
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(lake.local.ca_file()).unwrap();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        Self(Box::new(stream.unwrap()))
    }

    /// Connects to a compute past the listener.
    pub(crate) async fn past_the_listener(socket: &Path) -> Self {
        Self(Box::new(UnixStream::connect(socket).await.unwrap()))
    }

    /// Sends a startup packet, gives the password if asked for one in clear, and waits until the session is open.
    pub(crate) async fn log_in(mut self, packet: &[u8], password: &str) -> Result<Session, NoSession> {
        self.0.write_all(packet).await.unwrap();
        let (mut kinds, mut reported) = (Vec::new(), Vec::new());
        loop {
            let (kind, body) = self.message().await.ok_or(NoSession::HungUp)?;
            kinds.push(kind);
            match (kind, &body[..]) {
                (b'R', [0, 0, 0, 0]) => {}
                (b'R', [0, 0, 0, 3]) => {
                    let answer = framed(&[password.as_bytes(), b"\0"].concat());
                    self.0.write_all(&[b"p", &answer[..]].concat()).await.unwrap();
                }
                (b'R', [a, b, c, d, ..]) => {
                    return Err(NoSession::Asks(u32::from_be_bytes([*a, *b, *c, *d])));
                }
                (b'S', _) => {
                    let texts = texts(&body);
                    reported.push((texts[0].clone(), texts[1].clone()));
                }
                (b'E', _) => return Err(NoSession::Refused(server_error(&body))),
                (b'Z', _) => break,
                _ => {}
            }
        }
        Ok(Session {
            wire: self,
            kinds,
            reported,
        })
    }

    /// Reads a message; none if the connection ends.
    async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = self.0.read_u8().await.ok()?;
        let length = usize::try_from(self.0.read_u32().await.ok()?).unwrap();
        let mut body = vec![0; length.checked_sub(4)?];
        self.0.read_exact(&mut body).await.ok()?;
        Some((kind, body))
    }
}

impl Session {
    /// Runs a query and returns the first column of its rows.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Vec<String>, ServerError> {
        let query = framed(&[sql.as_bytes(), b"\0"].concat());
        self.wire.0.write_all(&[b"Q", &query[..]].concat()).await.unwrap();
        let (mut rows, mut failure) = (Vec::new(), None);
        loop {
            match self.wire.message().await.expect("the session is open") {
                (b'D', row) => rows.push(first_column(&row)),
                (b'E', error) => failure = Some(server_error(&error)),
                (b'Z', _) => return failure.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    /// Runs a query with one row.
    pub(crate) async fn value(&mut self, sql: &str) -> String {
        self.query(sql).await.unwrap().remove(0)
    }

    /// Returns the value of a setting that the server reported.
    pub(crate) fn setting(&self, name: &str) -> &str {
        let found = self.reported.iter().find(|(reported, _)| reported == name);
        &found.expect("the server reports it").1
    }
}

fn texts(body: &[u8]) -> Vec<String> {
    let texts = body.split(|byte| *byte == 0);
    texts
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

fn first_column(row: &[u8]) -> String {
    let length = u32::from_be_bytes(row[2..6].try_into().unwrap());
    let value = &row[6..][..usize::try_from(length).unwrap()];
    String::from_utf8_lossy(value).into_owned()
}

fn server_error(body: &[u8]) -> ServerError {
    let mut error = ServerError::default();
    for field in texts(body) {
        let (kind, value) = field.split_at(field.len().min(1));
        match kind {
            "V" => value.clone_into(&mut error.severity),
            "C" => value.clone_into(&mut error.code),
            "M" => value.clone_into(&mut error.message),
            _ => {}
        }
    }
    error
}
