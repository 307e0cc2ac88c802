//! A certificate authority for this installation alone. It signs a certificate for each address that an endpoint
//! has, so that `sslmode=verify-full` works with its CA file, and by its name constraints it can sign for nothing but
//! this machine.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::private_file;

/// What is served on every address besides the address itself.
const LOCALHOST: &str = "localhost";

/// Says that no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The CA's files cannot be read or written.
    #[error("cannot make a certificate for the endpoints")]
    Files(#[from] io::Error),
    /// A file of the CA does not hold what it should.
    #[error("cannot use the file `{name}`; move it and `ca.key` away, and new ones are made")]
    Damaged {
        /// Name of the file in the data directory.
        name: &'static str,
        /// The reason.
        source: rcgen::Error,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate for the endpoints")]
    Certificate(#[from] rcgen::Error),
    /// A certificate is of no use for TLS.
    #[error("cannot make a certificate for the endpoints")]
    Tls(#[from] rustls::Error),
}

/// The certificate authority.
pub(crate) struct Authority {
    file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Reads the authority's key and certificate, and makes them the first time.
    pub(crate) fn load(dir: &Path) -> Result<Self, TlsError> {
        let file = dir.join(crate::local::CA);
        let mut made = Ok(String::new());
        let key = private_file::read_or_make(&dir.join("ca.key"), || match KeyPair::generate() {
            Ok(key) => key.serialize_pem(),
            Err(error) => {
                made = Err(error);
                String::new()
            }
        })?;
        made?;
        let damaged = |name, source| TlsError::Damaged { name, source };
        let key = KeyPair::from_pem(&key).map_err(|error| damaged("ca.key", error))?;
        let certificate = match std::fs::read_to_string(&file) {
            Ok(certificate) => certificate,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let certificate = authority()?.self_signed(&key)?.pem();
                private_file::write(&file, certificate.as_bytes(), private_file::PUBLIC)?;
                certificate
            }
            Err(error) => return Err(error.into()),
        };
        let issuer = Issuer::from_ca_cert_pem(&certificate, key);
        Ok(Self {
            file,
            issuer: issuer.map_err(|error| damaged(crate::local::CA, error))?,
        })
    }

    /// Returns the file with the CA's certificate.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Makes what a listener on this address needs to speak TLS.
    pub(crate) fn server(&self, address: IpAddr) -> Result<Arc<ServerConfig>, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([address.to_string(), LOCALHOST.to_owned()])?;
        params
            .distinguished_name
            .push(DnType::CommonName, "Local Lakebase endpoint");
        (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2100, 1, 1));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate: CertificateDer<'static> = params.signed_by(&key, &self.issuer)?.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        // No client of PostgreSQL resumes TLS sessions; tickets would only cost time at each login.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

fn authority() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Local Lakebase CA of this machine");
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2100, 1, 1));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
            GeneralSubtree::DnsName(LOCALHOST.to_owned()),
        ],
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::load(dir.path()).unwrap();
        let certificate = std::fs::read(first.file()).unwrap();
        let again = Authority::load(dir.path()).unwrap();
        assert_eq!(std::fs::read(again.file()).unwrap(), certificate);
        assert!(again.server([127, 80, 1, 2].into()).is_ok());
    }
}
