//! The server is checked against the certificate authority that the credential names, by its address.

use crate::control::Control;
use crate::postgres::Postgres;
use crate::store::{Store, daemon};
use lakebase_proto::v1;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use std::os::unix::fs::PermissionsExt;

pub(crate) struct Authority {
    pub(crate) pem: String,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

pub(crate) fn authority() -> Authority {
    let key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("certificate");
    Authority {
        pem: certificate.pem(),
        issuer: Issuer::new(params, key),
    }
}

/// Makes PostgreSQL speak TLS, with a certificate for its address alone.
async fn secure(postgres: &mut Postgres, authority: &Authority) {
    let key = KeyPair::generate().expect("key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &authority.issuer).expect("certificate");
    for (name, text) in [
        ("server.crt", certificate.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        let path = postgres.data().join(name);
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
        postgres.give(&path);
    }
    postgres.stop();
    postgres.set("ssl=on".to_owned());
    postgres.resume().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_checked_by_the_authority_of_the_credential() {
    let mut postgres = Postgres::with_shop().await;
    let (ours, foreign) = (authority(), authority());
    secure(&mut postgres, &ours).await;
    for (name, authority) in [("ours.pem", &ours), ("foreign.pem", &foreign)] {
        fs::write(postgres.dir().join(name), &authority.pem).expect("written");
    }
    let credential = |host: &str, sslmode: &str, root: &str| v1::Credential {
        host: host.into(),
        sslmode: sslmode.into(),
        ssl_root_cert: match root {
            "" => String::new(),
            name => postgres.dir().join(name).display().to_string(),
        },
        ..postgres.credential("shop")
    };
    let control = Control::start(&postgres.dir().join("l.sock"));
    control.publish(credential("127.0.0.1", "verify-full", "ours.pem"));
    let store = Store::ready(daemon(&postgres.dir().join("l.sock"))).await;
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                     WHERE application_name = 'store-app' AND ssl";
    assert!(postgres.count("shop", encrypted).await > 0);
    // The certificate is for the address, not for this name; another branch to the store, so it connects anew.
    control.publish(credential("localhost", "verify-full", "ours.pem"));
    refused(&store).await;
    control.publish(credential("localhost", "verify-ca", "ours.pem"));
    // The same place as before: what failed is tried again with the new credential.
    store.wait_for_status("/api/health/ready", 200).await;
    control.publish(credential("127.0.0.1", "require", "foreign.pem"));
    refused(&store).await;
    control.publish(credential("127.0.0.1", "require", ""));
    store.wait_for_status("/api/health/ready", 200).await;
    assert!(postgres.count("shop", encrypted).await > 0);
    store.end().await.expect("ends well");
}

async fn refused(store: &Store) {
    let away = store
        .wait_for("/api/health/ready", |status, document| {
            status == 503
                && document["message"]
                    .as_str()
                    .is_some_and(|text| text.contains("certificate"))
        })
        .await;
    assert_eq!(away["code"], "unavailable");
}
