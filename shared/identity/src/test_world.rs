//! An authority, identities and tokens for this crate's tests.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use sre_proto::security::v1 as proto;

use crate::ca::{Authority, DEFAULT_LIFETIME};
use crate::keys::Signer;
use crate::peer::Peer;
use crate::spiffe::{PatternTable, TrustDomain};
use crate::svid::{Svid, SvidSource};
use crate::token::{Claims, Purpose, TokenVerifier, issuer, unix_seconds};

pub(crate) static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::create(&domain()).unwrap());

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::new("sre.local").unwrap()
}

pub(crate) fn patterns() -> PatternTable {
    PatternTable::new(domain())
}

pub(crate) fn svid(principal: &str) -> Svid {
    svid_for(principal, DEFAULT_LIFETIME)
}

pub(crate) fn svid_for(principal: &str, lifetime: Duration) -> Svid {
    let issued = AUTHORITY.issue(&principal.parse().unwrap(), &["localhost"], lifetime).unwrap();
    Svid::from_pem(&issued.cert_pem, &issued.key_pem, &patterns()).unwrap()
}

pub(crate) fn source(principal: &str) -> Arc<SvidSource> {
    SvidSource::new(svid(principal), AUTHORITY.roots().unwrap(), patterns()).unwrap()
}

pub(crate) fn peer(principal: &str) -> Peer {
    svid(principal).peer()
}

/// A token service with one key, and a verifier that knows it.
pub(crate) struct Sts {
    pub signer: Signer,
    pub verifier: TokenVerifier,
}

impl Sts {
    pub fn new() -> Self {
        let sts = Self { signer: Signer::generate().unwrap(), verifier: TokenVerifier::new(&domain()) };
        sts.publish(1, vec![]);
        sts
    }

    pub fn key_set(&self, version: i64, revocations: Vec<proto::Revocation>) -> proto::KeySet {
        proto::KeySet {
            version,
            unchanged: false,
            issuer: issuer(&domain()),
            keys: vec![public_key(&self.signer)],
            revocations,
        }
    }

    pub fn publish(&self, version: i64, revocations: Vec<proto::Revocation>) {
        self.verifier.update(&self.key_set(version, revocations)).unwrap();
    }
}

pub(crate) fn public_key(signer: &Signer) -> proto::PublicKey {
    proto::PublicKey {
        key_id: signer.key_id().to_owned(),
        ed25519: signer.public_key().to_vec().into(),
        expire_time: None,
    }
}

/// A token of agent `a` for `llm`, to be presented by the engine.
pub(crate) fn claims() -> Claims {
    let now = unix_seconds();
    Claims {
        iss: issuer(&domain()),
        sub: "spiffe://sre.local/agent/a".into(),
        act: "spiffe://sre.local/service/engine".into(),
        via: vec![],
        root: "spiffe://sre.local/user/alice".into(),
        aud: vec!["llm".into()],
        scope: vec!["sre.llm.v1.Inference:read".into()],
        ceil: vec!["sre.llm.v1.Inference:read".into(), "sre.security.v1.Vault:read".into()],
        jti: sre_proto::ids::new_uuid().to_string(),
        iat: now,
        exp: now + 300,
        purpose: Purpose::NextHop,
        agent: Some("teams/t/agents/a".into()),
        team: Some("t".into()),
        txn: "txn".into(),
        runs: vec![],
    }
}

/// A certificate's content for tests: URI and DNS names, both usages, valid now.
pub(crate) fn leaf_params(uris: &[&str], dns: &[&str]) -> rcgen::CertificateParams {
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = uris
        .iter()
        .map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap()))
        .chain(dns.iter().map(|name| rcgen::SanType::DnsName((*name).try_into().unwrap())))
        .collect();
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth, rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let now = time::OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now - Duration::from_secs(60), now + Duration::from_secs(3600));
    params
}

pub(crate) fn der(pem: &str) -> rustls_pki_types::CertificateDer<'static> {
    use rustls_pki_types::pem::PemObject as _;
    rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
