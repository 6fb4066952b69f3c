//! Who is at the other end of a connection or a link.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, UnixTime};

use crate::candidate::Candidate;
use crate::leaf::{self, LeafError, Usage};
use crate::spiffe::{Principal, SpiffeId};
use crate::svid::SvidSource;

/// An authenticated identity. There is no public constructor: a value exists only because a certificate chain was
/// verified or because this process holds the private key. Cheap to clone.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    id: SpiffeId,
    candidate: Option<Candidate>,
    not_after: SystemTime,
}

impl Peer {
    pub(crate) fn new(id: SpiffeId, not_after: SystemTime) -> Self {
        let candidate = Candidate::try_from(id.principal()).ok();
        Self(Arc::new(Inner { id, candidate, not_after }))
    }

    /// Who it is.
    pub fn principal(&self) -> &Principal {
        self.0.id.principal()
    }

    /// The identity in its canonical form, whatever shape the certificate has.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// The Candidate that this peer is when it calls by itself; none for services.
    pub fn candidate(&self) -> Option<Candidate> {
        self.0.candidate.clone()
    }

    /// Whether this is the service of that role.
    pub fn is_service(&self, role: &str) -> bool {
        self.principal().is_service(role)
    }

    /// When the certificate ends. Listeners close connections by then: nothing outlives its certificate.
    pub fn not_after(&self) -> SystemTime {
        self.0.not_after
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.0.id)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.id.fmt(f)
    }
}

/// Why a chain gives no identity.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// There is no certificate.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The chain does not lead to a trusted certificate, or is not valid now.
    #[error("the peer's certificate is not trusted: {0}")]
    Untrusted(#[source] rustls::Error),
    /// The certificate holds no identity of this deployment.
    #[error(transparent)]
    Leaf(#[from] LeafError),
}

/// Makes peers out of certificate chains.
#[derive(Debug, Clone)]
pub struct PeerVerifier {
    source: Arc<SvidSource>,
}

impl PeerVerifier {
    /// Verifies against the roots and patterns of `source`, as they are at each call.
    pub fn new(source: Arc<SvidSource>) -> Self {
        Self { source }
    }

    /// The client at the other end of an accepted connection: pass the connection's `peer_certificates()`.
    ///
    /// The chain is verified again here, although the handshake did, so that a listener with another TLS
    /// configuration cannot produce identities. Call once per connection, not per request.
    pub fn peer_from_chain(&self, chain: &[CertificateDer<'_>]) -> Result<Peer, PeerError> {
        let (end_entity, intermediates) = chain.split_first().ok_or(PeerError::NoCertificate)?;
        let current = self.source.current();
        current
            .client_verifier
            .verify_client_cert(end_entity, intermediates, UnixTime::now())
            .map_err(PeerError::Untrusted)?;
        let leaf = leaf::read(end_entity, self.source.patterns(), Usage::Client)?;
        Ok(Peer::new(leaf.id, leaf.not_after))
    }
}
