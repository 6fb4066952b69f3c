//! Real handshakes in memory.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::*;
use crate::ca::{Authority, IssuedCert};
use crate::peer::{PeerError, PeerVerifier};
use crate::svid::{Svid, SvidError};
use crate::test_world::{AUTHORITY, der, domain, leaf_params, patterns, source, svid, svid_for};

type Handshake = Result<(ClientConnection, ServerConnection), Error>;

/// Runs a handshake to its end and past the server's verdict on the client.
fn shake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Handshake {
    let name = ServerName::try_from("whatever.example").unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        feed(wire, |bytes| server.read_tls(bytes).map(|_| ()));
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        feed(wire, |bytes| client.read_tls(bytes).map(|_| ()));
        client.process_new_packets()?;
        if !client.is_handshaking()
            && !server.is_handshaking()
            && !client.wants_write()
            && !server.wants_write()
        {
            return Ok((client, server));
        }
    }
    panic!("the handshake does not end");
}

fn feed(wire: Vec<u8>, mut into: impl FnMut(&mut &[u8]) -> std::io::Result<()>) {
    let mut bytes = wire.as_slice();
    while !bytes.is_empty() {
        into(&mut bytes).unwrap();
    }
}

fn server() -> Arc<ServerConfig> {
    server_config(&source("service/io")).unwrap()
}

/// A client that presents any certificate, with a key that fits.
fn client_with(certificates: &[&str], key_pem: &str) -> Arc<ClientConfig> {
    let mut config = (*client_config(&source("user/alice"), "io").unwrap()).clone();
    let chain = certificates.iter().map(|pem| der(pem)).collect();
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
    let key = provider().key_provider.load_private_key(key).unwrap();
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
    Arc::new(config)
}

fn client_of(issued: &IssuedCert) -> Arc<ClientConfig> {
    client_with(&[&issued.cert_pem], &issued.key_pem)
}

fn signed(params: &CertificateParams) -> Arc<ClientConfig> {
    client_of(&AUTHORITY.sign_anything(params))
}

#[test]
fn both_ends_know_each_other() {
    let own = source("service/io");
    for who in ["user/alice", "agent/a", "team/t", "service/engine"] {
        let client = client_config(&source(who), "io").unwrap();
        let (client, server) = shake(client, server_config(&own).unwrap()).unwrap();
        assert_eq!(server.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(client.alpn_protocol(), Some(b"h2".as_slice()));
        assert_eq!(server.server_name(), None, "no host name is sent");
        let verifier = PeerVerifier::new(own.clone());
        let peer = verifier.peer_from_chain(server.peer_certificates().unwrap()).unwrap();
        assert_eq!(peer.principal().to_string(), who);
        assert_eq!(
            peer.candidate().map(|c| c.to_string()),
            (who != "service/engine").then(|| who.to_owned())
        );
    }
}

#[test]
fn h13_a_client_without_certificate_is_refused() {
    #[derive(Debug)]
    struct Nothing;
    impl ResolvesClientCert for Nothing {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }
        fn has_certs(&self) -> bool {
            false
        }
    }
    let mut config = (*client_config(&source("user/alice"), "io").unwrap()).clone();
    config.client_auth_cert_resolver = Arc::new(Nothing);
    assert_eq!(shake(Arc::new(config), server()).unwrap_err(), Error::NoCertificatesPresented);
    assert!(matches!(
        PeerVerifier::new(source("service/io")).peer_from_chain(&[]),
        Err(PeerError::NoCertificate)
    ));
}

#[test]
fn identities_that_are_none_are_refused_in_the_handshake() {
    let two = leaf_params(&["spiffe://sre.local/user/alice", "spiffe://sre.local/service/engine"], &[]);
    let foreign = leaf_params(&["spiffe://other.local/user/alice"], &[]);
    let dns_only = leaf_params(&[], &["localhost"]);
    let mut authority = leaf_params(&["spiffe://sre.local/user/alice"], &[]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut server_only = leaf_params(&["spiffe://sre.local/user/alice"], &[]);
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for (what, params) in [
        ("two uri names", two),
        ("a foreign trust domain", foreign),
        ("no uri name", dns_only),
        ("an authority", authority),
        ("another usage", server_only),
    ] {
        let refused = shake(signed(&params), server());
        assert!(matches!(refused, Err(Error::InvalidCertificate(_))), "{what}: {refused:?}");
    }
}

#[test]
fn certificates_out_of_time_are_refused() {
    let mut over = leaf_params(&["spiffe://sre.local/user/alice"], &[]);
    over.not_after = over.not_before + Duration::from_secs(30);
    let refused = shake(signed(&over), server()).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::InvalidCertificate(CertificateError::ExpiredContext { .. } | CertificateError::Expired)
        ),
        "{refused:?}"
    );
    let mut early = leaf_params(&["spiffe://sre.local/user/alice"], &[]);
    early.not_before += Duration::from_secs(1000);
    assert!(shake(signed(&early), server()).is_err());
}

#[test]
fn certificates_of_other_authorities_are_refused() {
    let other = Authority::create(&domain()).unwrap();
    let issued = other.issue(&"service/engine".parse().unwrap(), &[], Duration::from_secs(600)).unwrap();
    assert!(matches!(shake(client_of(&issued), server()), Err(Error::InvalidCertificate(_))));
    // Not even with the other authority in the chain, and a leaf cannot vouch for another.
    let chained = client_with(&[&issued.cert_pem, other.certificate_pem()], &issued.key_pem);
    assert!(shake(chained, server()).is_err());
    let chain = [der(&issued.cert_pem), der(other.certificate_pem())];
    let refused = PeerVerifier::new(source("service/io")).peer_from_chain(&chain);
    assert!(matches!(refused, Err(PeerError::Untrusted(_))));
}

#[test]
fn a_stolen_certificate_without_its_key_is_refused() {
    let engine = AUTHORITY.issue(&"service/engine".parse().unwrap(), &[], Duration::from_secs(600)).unwrap();
    let mine = AUTHORITY.issue(&"user/eve".parse().unwrap(), &[], Duration::from_secs(600)).unwrap();
    let stolen = client_with(&[&engine.cert_pem], &mine.key_pem);
    assert!(matches!(
        shake(stolen, server()),
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
    ));
}

#[test]
fn a_link_talks_to_the_expected_service_only() {
    let client = |role: &str| client_config(&source("service/engine"), role).unwrap();
    assert!(shake(client("io"), server()).is_ok());
    let refused = shake(client("llm"), server()).unwrap_err();
    assert!(refused.to_string().contains("expected service/llm"), "{refused}");
    // A person's certificate does not serve, whatever the person is called.
    for pretender in ["user/io", "agent/io", "team/io"] {
        let server = server_config(&source(pretender)).unwrap();
        assert!(shake(client("io"), server).is_err(), "{pretender}");
    }
    assert!(client_config(&source("service/engine"), "not a role").is_err());
}

#[test]
fn older_tls_is_refused() {
    let client = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerIdentity {
            source: source("user/alice"),
            expected: Principal::service("io").unwrap(),
            algorithms: provider().signature_verification_algorithms,
        }))
        .with_no_client_auth();
    assert!(shake(Arc::new(client), server()).is_err());
}

#[test]
fn a_door_asks_for_no_certificate() {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(AUTHORITY.certificate_pem())).unwrap();
    let mut browser = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    browser.alpn_protocols = vec![b"http/1.1".to_vec()];
    let door = door_config(&source("service/edge")).unwrap();
    let mut client =
        ClientConnection::new(Arc::new(browser), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut server = ServerConnection::new(door).unwrap();
    for _ in 0..6 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        feed(wire, |bytes| server.read_tls(bytes).map(|_| ()));
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        feed(wire, |bytes| client.read_tls(bytes).map(|_| ()));
        client.process_new_packets().unwrap();
    }
    assert!(!client.is_handshaking() && server.peer_certificates().is_none());
    assert_eq!(client.alpn_protocol(), Some(b"http/1.1".as_slice()));
}

#[test]
fn a_renewed_identity_is_used_from_the_next_handshake_on() {
    let own = source("service/io");
    let config = server_config(&own).unwrap();
    let client = client_config(&source("service/engine"), "io").unwrap();
    let certificate = || {
        let (client, _) = shake(client.clone(), config.clone()).unwrap();
        client.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let before = certificate();
    own.replace(svid("service/io"), AUTHORITY.roots().unwrap()).unwrap();
    assert_ne!(certificate(), before);
}

#[test]
fn a_renewal_that_others_would_refuse_is_refused() {
    let own = source("service/io");
    let before = own.svid().not_after();
    let another = own.replace(svid("service/llm"), AUTHORITY.roots().unwrap());
    assert!(matches!(another, Err(SvidError::Principal { .. })), "{another:?}");
    let strangers = Authority::create(&domain()).unwrap().roots().unwrap();
    assert!(matches!(own.replace(svid("service/io"), strangers.clone()), Err(SvidError::Untrusted(_))));
    assert!(SvidSource::new(svid("service/io"), strangers, patterns()).is_err());
    assert_eq!(own.svid().not_after(), before);
    assert!(shake(client_config(&source("user/alice"), "io").unwrap(), server_config(&own).unwrap()).is_ok());
}

#[test]
fn new_roots_apply_to_peers_from_the_next_handshake_on() {
    let own = source("service/io");
    let config = server_config(&own).unwrap();
    let alice = client_config(&source("user/alice"), "io").unwrap();
    assert!(shake(alice.clone(), config.clone()).is_ok());
    // The deployment moves to another authority; alice is still with the old one.
    let next = Authority::create(&domain()).unwrap();
    let issued = next.issue(&"service/io".parse().unwrap(), &[], Duration::from_secs(600)).unwrap();
    let renewed = Svid::from_pem(&issued.cert_pem, &issued.key_pem, &patterns()).unwrap();
    own.replace(renewed, next.roots().unwrap()).unwrap();
    assert!(shake(alice, config).is_err());
}

#[test]
fn key_and_certificate_must_fit() {
    let one = AUTHORITY.issue(&"service/io".parse().unwrap(), &[], Duration::from_secs(600)).unwrap();
    let two = AUTHORITY.issue(&"service/io".parse().unwrap(), &[], Duration::from_secs(600)).unwrap();
    let mixed = Svid::from_pem(&one.cert_pem, &two.key_pem, &patterns());
    assert!(matches!(mixed, Err(SvidError::Key(_))), "{mixed:?}");
    assert!(matches!(Svid::from_pem("", &one.key_pem, &patterns()), Err(SvidError::Pem { .. })));
    assert!(matches!(Svid::from_pem(&one.cert_pem, "", &patterns()), Err(SvidError::Pem { .. })));
}

#[test]
fn a_file_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.pem");
    let error = Svid::load(&path, &path, &patterns()).unwrap_err();
    assert!(error.to_string().contains("none.pem"), "{error}");
}

#[test]
fn an_identity_knows_its_end() {
    let left = svid_for("service/io", Duration::from_secs(600))
        .not_after()
        .duration_since(std::time::SystemTime::now())
        .unwrap();
    assert!((590..=600).contains(&left.as_secs()), "{left:?}");
}
