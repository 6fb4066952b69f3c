//! TLS on both ends: 1.3 only, HTTP/2, certificates required, identities instead of host names.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::leaf::{self, Usage};
use crate::spiffe::{Principal, SpiffeError};
use crate::svid::{SvidSource, TrustRoots};

/// Why a configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The expected service has no valid name.
    #[error(transparent)]
    Role(#[from] SpiffeError),
    /// The TLS library refuses.
    #[error("cannot configure tls: {0}")]
    Config(#[from] Error),
}

/// The one crypto library.
pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// For gRPC listeners: requires a client certificate of this trust domain, and refuses others in the handshake.
/// Renewals of `source` take effect at the next handshake. There is no resumption: it could outlive a
/// certificate.
pub fn server_config(source: &Arc<SvidSource>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(ClientIdentity(source.clone()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(OwnCertificate(source.clone())));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// For HTTP doors: server TLS for browsers and other clients, which prove who they are by a bearer.
pub fn door_config(source: &Arc<SvidSource>) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(OwnCertificate(source.clone())));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// For links and clients: the server must be `service/<role>` of this trust domain; its host name means nothing,
/// and none is sent.
pub fn client_config(source: &Arc<SvidSource>, role: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(provider());
    let verifier = Arc::new(ServerIdentity {
        source: source.clone(),
        expected: Principal::service(role)?,
        algorithms: provider.signature_verification_algorithms,
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(OwnCertificate(source.clone())));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// For servers outside the suite that know its certificates, connectors out of process: the server's host name is
/// vouched for by `roots`, and the client shows its own certificate.
pub fn named_client_config(
    source: &Arc<SvidSource>,
    roots: &TrustRoots,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots.store().clone())
        .with_client_cert_resolver(Arc::new(OwnCertificate(source.clone())));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct OwnCertificate(Arc<SvidSource>);

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current().svid.certified_key().clone())
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.current().svid.certified_key().clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Chain by the library, identity by the table.
#[derive(Debug)]
struct ClientIdentity(Arc<SvidSource>);

impl ClientCertVerifier for ClientIdentity {
    /// No hints: a client has one certificate, and the names of our authorities are nobody's business.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.0.current().client_verifier.verify_client_cert(end_entity, intermediates, now)?;
        leaf::read(end_entity, self.0.patterns(), Usage::Client).map_err(refused)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("tls 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.current().client_verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.current().client_verifier.supported_verify_schemes()
    }
}

struct ServerIdentity {
    source: Arc<SvidSource>,
    expected: Principal,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerIdentity({})", self.expected)
    }
}

impl ServerCertVerifier for ServerIdentity {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let roots = self.source.roots();
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            roots.store(),
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let leaf = leaf::read(end_entity, self.source.patterns(), Usage::Server).map_err(refused)?;
        if leaf.id.principal() != &self.expected {
            return Err(refused(WrongServer {
                expected: self.expected.clone(),
                found: leaf.id.principal().clone(),
            }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("tls 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the server is {found}, expected {expected}: check the address of the link")]
struct WrongServer {
    expected: Principal,
    found: Principal,
}

/// An identity that is not accepted, with its cause for the log.
fn refused(cause: impl std::error::Error) -> Error {
    Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(Cause(cause.to_string())))))
}

/// The TLS library shows causes by `Debug`; operators read sentences.
struct Cause(String);

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
