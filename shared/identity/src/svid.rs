//! Our own identity: certificate chain, private key and the roots we trust, replaceable without restart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::leaf::{self, LeafError, Usage};
use crate::peer::{Peer, PeerError, PeerVerifier};
use crate::spiffe::{PatternTable, Principal};
use crate::tls::provider;

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SvidError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A PEM text has no such part, or is broken.
    #[error("the {what} is not PEM: {problem}")]
    Pem {
        /// Certificate, key or trust bundle.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The key belongs to another certificate, or is of a kind that cannot sign.
    #[error("the private key does not fit the certificate: {0}")]
    Key(#[source] rustls::Error),
    /// The certificate holds no identity.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// The roots cannot be used.
    #[error("the trust bundle cannot be used: {0}")]
    Roots(String),
    /// Others would refuse us.
    #[error("the certificate does not verify against the trust bundle: {0}")]
    Untrusted(#[from] PeerError),
    /// A reload brought somebody else's certificate.
    #[error("the new certificate is for {new}, this process is {old}: replace the certificate or restart")]
    Principal {
        /// Who we are.
        old: Principal,
        /// Whom the new certificate names.
        new: Principal,
    },
}

/// An X.509-SVID with its private key. Cheap to clone.
#[derive(Clone)]
pub struct Svid {
    peer: Peer,
    key: Arc<CertifiedKey>,
}

impl Svid {
    /// Reads certificate chain (leaf first) and key from PEM files.
    pub fn load(certificate: &Path, key: &Path, patterns: &PatternTable) -> Result<Self, SvidError> {
        Self::from_pem(&read(certificate)?, &read(key)?, patterns)
    }

    /// Reads certificate chain (leaf first) and key from PEM texts, and checks that they belong together.
    pub fn from_pem(certificate: &str, key: &str, patterns: &PatternTable) -> Result<Self, SvidError> {
        let chain = certificates(certificate, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|e| SvidError::Pem { what: "private key", problem: e.to_string() })?;
        Self::new(chain, key, patterns)
    }

    /// From a certificate chain (leaf first) and a PKCS #8 key, as a SPIFFE Workload API gives them.
    pub fn from_der(
        chain: impl IntoIterator<Item = Vec<u8>>,
        key: &[u8],
        patterns: &PatternTable,
    ) -> Result<Self, SvidError> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Self::new(chain, PrivatePkcs8KeyDer::from(key.to_vec()).into(), patterns)
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        patterns: &PatternTable,
    ) -> Result<Self, SvidError> {
        let signing_key = provider().key_provider.load_private_key(key).map_err(SvidError::Key)?;
        let key = CertifiedKey::new(chain, signing_key);
        key.keys_match().map_err(SvidError::Key)?;
        let end_entity = key.end_entity_cert().map_err(SvidError::Key)?;
        let leaf = leaf::read(end_entity, patterns, Usage::Both)?;
        Ok(Self { peer: Peer::new(leaf.id, leaf.not_after), key: Arc::new(key) })
    }

    /// Who we are to others.
    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.peer.not_after()
    }

    /// Names the certificate, so that one can tell whether it was replaced.
    pub fn fingerprint(&self) -> [u8; 32] {
        let leaf = self.key.end_entity_cert().map(AsRef::as_ref).unwrap_or_default();
        *blake3::hash(leaf).as_bytes()
    }

    pub(crate) fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Svid({})", self.peer)
    }
}

/// The certificates that vouch for identities. Cheap to clone.
#[derive(Clone)]
pub struct TrustRoots {
    store: Arc<RootCertStore>,
    pem: Arc<str>,
}

impl TrustRoots {
    /// Reads a PEM bundle from a file.
    pub fn load(path: &Path) -> Result<Self, SvidError> {
        Self::from_pem(&read(path)?)
    }

    /// Reads a PEM bundle.
    pub fn from_pem(pem: &str) -> Result<Self, SvidError> {
        Self::new(certificates(pem, "trust bundle")?)
    }

    /// From certificates, as a SPIFFE Workload API gives them.
    pub fn from_der<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, SvidError> {
        Self::new(certificates.into_iter().map(|one| CertificateDer::from(one.to_vec())).collect())
    }

    fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, SvidError> {
        let mut roots = RootCertStore::empty();
        let mut pem = String::new();
        for certificate in certificates {
            pem.push_str(&to_pem(&certificate));
            roots.add(certificate).map_err(|e| SvidError::Roots(e.to_string()))?;
        }
        Ok(Self { store: Arc::new(roots), pem: pem.into() })
    }

    /// The bundle in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub(crate) fn store(&self) -> &Arc<RootCertStore> {
        &self.store
    }
}

impl fmt::Debug for TrustRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustRoots({})", self.store.len())
    }
}

/// What is in use at one moment; taken together, so that a handshake never mixes two generations.
pub(crate) struct Current {
    pub svid: Svid,
    pub roots: TrustRoots,
    pub client_verifier: Arc<dyn ClientCertVerifier>,
}

impl Current {
    fn new(svid: Svid, roots: TrustRoots) -> Result<Self, SvidError> {
        let provider = Arc::new(provider());
        let client_verifier = WebPkiClientVerifier::builder_with_provider(roots.store().clone(), provider)
            .build()
            .map_err(|e| SvidError::Roots(e.to_string()))?;
        Ok(Self { svid, roots, client_verifier })
    }
}

/// Holds the identity in use. The TLS configurations read it at every handshake, so that [`Self::replace`] renews
/// a certificate or a trust bundle without restart.
pub struct SvidSource {
    patterns: PatternTable,
    current: ArcSwap<Current>,
}

impl SvidSource {
    /// Starts with an identity, which must verify against the roots: whoever cannot convince itself convinces
    /// nobody.
    pub fn new(svid: Svid, roots: TrustRoots, patterns: PatternTable) -> Result<Arc<Self>, SvidError> {
        let current = ArcSwap::from_pointee(Current::new(svid, roots)?);
        let source = Arc::new(Self { patterns, current });
        source.verify_own()?;
        Ok(source)
    }

    /// Replaces identity and roots, for handshakes from now on. The principal stays; on an error the old identity
    /// stays in use.
    pub fn replace(&self, svid: Svid, roots: TrustRoots) -> Result<(), SvidError> {
        let old = self.peer();
        let new = svid.peer();
        if old.spiffe_id() != new.spiffe_id() {
            return Err(SvidError::Principal { old: old.principal().clone(), new: new.principal().clone() });
        }
        let candidate = Arc::new(Self {
            patterns: self.patterns.clone(),
            current: ArcSwap::from_pointee(Current::new(svid, roots)?),
        });
        candidate.verify_own()?;
        self.current.store(candidate.current());
        Ok(())
    }

    /// The identity in use.
    pub fn svid(&self) -> Svid {
        self.current.load().svid.clone()
    }

    /// Names the certificate in use.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.current.load().svid.fingerprint()
    }

    /// The roots in use.
    pub fn roots(&self) -> TrustRoots {
        self.current.load().roots.clone()
    }

    /// Who we are.
    pub fn peer(&self) -> Peer {
        self.current.load().svid.peer()
    }

    /// The table of identities.
    pub fn patterns(&self) -> &PatternTable {
        &self.patterns
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    fn verify_own(self: &Arc<Self>) -> Result<(), SvidError> {
        let chain = self.svid().certified_key().cert.clone();
        PeerVerifier::new(self.clone()).peer_from_chain(&chain)?;
        Ok(())
    }
}

impl fmt::Debug for SvidSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SvidSource({})", self.peer())
    }
}

fn read(path: &Path) -> Result<String, SvidError> {
    std::fs::read_to_string(path).map_err(|source| SvidError::Read { path: path.to_owned(), source })
}

/// Lines of 64 characters, as everybody writes them.
fn to_pem(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (place, letter) in text.char_indices() {
        if place > 0 && place % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem + "\n-----END CERTIFICATE-----\n"
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, SvidError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| SvidError::Pem { what, problem: e.to_string() })?;
    if chain.is_empty() {
        return Err(SvidError::Pem { what, problem: "it holds no certificate".to_owned() });
    }
    Ok(chain)
}
