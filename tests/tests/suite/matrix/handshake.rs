//! Who has no certificate of this suite does not get as far as a method.

use std::error::Error as _;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sre_identity::ca::IssuedCert;
use sre_proto::METHODS;
use sre_service::Role;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::harness::identities::{Identities, channel};
use crate::harness::{Suite, raw};

/// Neither without a certificate nor with one of another authority is anything answered.
pub async fn refused(suite: &Suite, role: Role) {
    let served = |row: &&sre_proto::MethodPolicy| match role {
        Role::Edge => row.package == "gateway",
        _ => Role::of_package(row.package) == Some(role),
    };
    let row = METHODS.iter().find(served).unwrap();
    let (address, bundle) = (suite.address(role.name()), suite.identities().bundle());
    let foreign = Identities::foreign().issue("user/dev");
    for own in [None, Some(&foreign)] {
        let status = raw::call(channel(&address, bundle, own), row, &[], None).await.unwrap_err();
        // What a server answers carries details; a connection that failed has its own error instead.
        assert!(status.details().is_empty(), "{role} answered {status:?}");
        let source = status.source().unwrap_or_else(|| panic!("{role} answered {status:?}"));
        assert!(source.is::<tonic::transport::Error>(), "{role}: {status:?}");
        let alert = alert(&address, bundle, own).await;
        assert!(alert.contains("alert"), "{role} closed without saying why: {alert}");
    }
    // The same way with a certificate of the suite is open.
    let own = suite.identities().issue("user/dev");
    assert_eq!(alert(&address, bundle, Some(&own)).await, "");
}

/// The TLS alert that the server sends; empty where it goes on to HTTP/2. With TLS 1.3 a client learns what
/// the server thinks of its certificate when it first reads.
async fn alert(address: &str, bundle: &str, own: Option<&IssuedCert>) -> String {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(bundle.as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
        .with_root_certificates(roots);
    let mut config = match own {
        Some(own) => {
            let chain = vec![CertificateDer::from_pem_slice(own.cert_pem.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = match TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        Ok(stream) => stream,
        Err(error) => return error.to_string(),
    };
    // The server's settings come first where it goes on.
    match stream.read(&mut [0; 16]).await {
        Ok(0) => "closed".to_owned(),
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}
