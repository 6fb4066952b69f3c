use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

use super::*;
use crate::svid::{Svid, SvidSource};
use crate::test_world::{AUTHORITY, der, domain, patterns};

const HOUR: Duration = Duration::from_secs(3600);

fn request(uris: &[&str]) -> (String, KeyPair) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|text| uri(text).unwrap()).collect();
    (params.serialize_request(&key).unwrap().pem().unwrap(), key)
}

#[test]
fn an_authority_is_kept_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("ca");
    assert!(!Authority::exists(&folder));
    let made = Authority::create(&domain()).unwrap();
    made.save(&folder).unwrap();
    assert!(Authority::exists(&folder));
    let read = Authority::load(&folder, &domain()).unwrap();
    assert_eq!(read.certificate_pem(), made.certificate_pem());
    // What the one issues the other's roots trust.
    let issued = read.issue(&"service/io".parse().unwrap(), &LOCAL_NAMES, HOUR).unwrap();
    let svid = Svid::from_pem(&issued.cert_pem, &issued.key_pem, &patterns()).unwrap();
    SvidSource::new(svid, made.roots().unwrap(), patterns()).unwrap();
    let other = TrustDomain::new("other.local").unwrap();
    assert!(matches!(Authority::load(&folder, &other), Err(CaError::TrustDomain { .. })));
}

#[cfg(unix)]
#[test]
fn private_keys_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("ca.key");
    fs::write(&key, "old").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    AUTHORITY.save(folder.path()).unwrap();
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left over");
    assert_eq!(
        format!("{:?}", AUTHORITY.issue(&"user/a".parse().unwrap(), &[], HOUR).unwrap()),
        "IssuedCert"
    );
}

#[test]
fn a_certificate_holds_one_identity_and_host_names() {
    let issued = AUTHORITY.issue(&"agent/a_b".parse().unwrap(), &LOCAL_NAMES, HOUR).unwrap();
    let certificate = der(&issued.cert_pem);
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
    assert_eq!(names.len(), 4);
    assert!(!parsed.is_ca());
    let peer = Svid::from_pem(&issued.cert_pem, &issued.key_pem, &patterns()).unwrap().peer();
    assert_eq!(peer.spiffe_id().as_str(), "spiffe://sre.local/agent/a_b");
}

#[test]
fn requests_are_signed_for_their_own_identity() {
    let (pem, key) = request(&["spiffe://sre.local/service/io"]);
    let io: Principal = "service/io".parse().unwrap();
    let certificate = AUTHORITY.sign_request(&pem, &io, &LOCAL_NAMES, HOUR).unwrap();
    let svid = Svid::from_pem(&certificate, &key.serialize_pem(), &patterns()).unwrap();
    assert_eq!(svid.peer().principal(), &io);
    for uris in [
        vec!["spiffe://sre.local/service/engine"],
        vec!["spiffe://other.local/service/io"],
        vec!["spiffe://sre.local/service/io", "spiffe://sre.local/service/engine"],
        vec![],
    ] {
        let (pem, _) = request(&uris);
        let refused = AUTHORITY.sign_request(&pem, &io, &[], HOUR);
        assert!(matches!(refused, Err(CaError::Identity(_))), "{uris:?}");
    }
    assert!(AUTHORITY.sign_request("nonsense", &io, &[], HOUR).is_err());
}

#[test]
fn a_request_gets_only_what_an_identity_needs() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![
        uri("spiffe://sre.local/service/io").unwrap(),
        SanType::DnsName(Ia5String::try_from("bank.example").unwrap()),
    ];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    let io: Principal = "service/io".parse().unwrap();
    let certificate = AUTHORITY.sign_request(&pem, &io, &["localhost"], HOUR).unwrap();
    let certificate = der(&certificate);
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    assert!(!parsed.is_ca());
    let names = format!("{:?}", parsed.subject_alternative_name().unwrap().unwrap().value);
    assert!(!names.contains("bank.example") && names.contains("localhost"), "{names}");
    assert_eq!(parsed.public_key().subject_public_key.data.as_ref(), key.der_bytes());
}

#[test]
fn a_request_with_a_wrong_signature_is_refused() {
    let (pem, _) = request(&["spiffe://sre.local/service/io"]);
    let (_, mut parsed) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let last = parsed.contents.len() - 1;
    parsed.contents[last] ^= 1;
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(&parsed.contents);
    let forged = format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
    assert!(AUTHORITY.sign_request(&forged, &"service/io".parse().unwrap(), &[], HOUR).is_err());
}

#[test]
fn lifetimes_are_bounded() {
    let io: Principal = "service/io".parse().unwrap();
    for lifetime in [Duration::ZERO, AUTHORITY_LIFETIME + HOUR] {
        assert!(matches!(AUTHORITY.issue(&io, &[], lifetime), Err(CaError::Lifetime)));
    }
}
