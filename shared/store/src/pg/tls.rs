//! TLS to the database, by the one crypto library of the suite.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::StoreError;

/// A connector that trusts the certificates of the file `ca`, or else the system's.
pub(super) fn connector(ca: Option<&Path>) -> Result<MakeRustlsConnect, StoreError> {
    let roots = match ca {
        Some(path) => from_file(path)?,
        None => from_system()?,
    };
    // Named, because a process default may be missing, or another library's.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StoreError::backend(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn from_file(path: &Path) -> Result<RootCertStore, StoreError> {
    let text = std::fs::read(path).map_err(|error| StoreError::io(path, error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let added = certificate
            .map_err(|error| error.to_string())
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
        added.map_err(|error| {
            StoreError::backend(format!("{}: not a certificate to trust: {error}", path.display()))
        })?;
    }
    if roots.is_empty() {
        return Err(StoreError::backend(format!("{}: holds no PEM certificate", path.display())));
    }
    Ok(roots)
}

fn from_system() -> Result<RootCertStore, StoreError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry some certificates that no verifier takes; one that is taken is enough.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(StoreError::backend(
            "this system has no trusted certificates: set tls_ca to the file of the database's authority",
        ));
    }
    Ok(roots)
}
