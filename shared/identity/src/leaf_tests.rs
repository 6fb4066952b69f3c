use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

use super::*;
use crate::spiffe::{PatternRule, TrustDomain};
use crate::test_world::{AUTHORITY, der, leaf_params, patterns};

const ALICE: &str = "spiffe://sre.local/user/alice";

fn read_params(params: &CertificateParams, table: &PatternTable, usage: Usage) -> Result<String, LeafError> {
    let issued = AUTHORITY.sign_anything(params);
    read(&der(&issued.cert_pem), table, usage).map(|leaf| leaf.id.to_string())
}

fn names(uris: &[&str], dns: &[&str], table: &PatternTable) -> Result<String, LeafError> {
    read_params(&leaf_params(uris, dns), table, Usage::Client)
}

fn meshes() -> PatternTable {
    let rule = |path: Option<&str>, dns: Option<&str>| PatternRule {
        path: path.map(str::to_owned),
        dns: dns.map(str::to_owned),
        service: None,
    };
    let rules = [
        rule(Some("/ns/sre/sa/sre-{service}"), None),
        rule(None, Some("sre-{service}.sre.serviceaccount.identity.linkerd.cluster.local")),
    ];
    PatternTable::with_rules(TrustDomain::new("sre.local").unwrap(), &rules).unwrap()
}

#[test]
fn the_three_shapes() {
    assert_eq!(names(&[ALICE], &[], &patterns()).unwrap(), ALICE);
    // Istio.
    let istio = names(&["spiffe://sre.local/ns/sre/sa/sre-io"], &[], &meshes());
    assert_eq!(istio.unwrap(), "spiffe://sre.local/service/io");
    // Linkerd.
    let linkerd = "sre-llm.sre.serviceaccount.identity.linkerd.cluster.local";
    assert_eq!(names(&[], &[linkerd], &meshes()).unwrap(), "spiffe://sre.local/service/llm");
}

#[test]
fn host_names_beside_the_uri_mean_nothing() {
    let linkerd = "sre-llm.sre.serviceaccount.identity.linkerd.cluster.local";
    assert_eq!(names(&[ALICE], &["localhost", "x.y"], &patterns()).unwrap(), ALICE);
    assert_eq!(names(&[ALICE], &[linkerd], &meshes()).unwrap(), ALICE);
}

#[test]
fn anything_but_one_name_is_refused() {
    let linkerd = "sre-llm.sre.serviceaccount.identity.linkerd.cluster.local";
    let second = "spiffe://sre.local/service/engine";
    for (uris, dns, table) in [
        (vec![ALICE, second], vec![], patterns()),
        (vec![ALICE, ALICE], vec![], patterns()),
        (vec![ALICE, "https://x"], vec![], patterns()),
        (vec![], vec![], patterns()),
        (vec![], vec!["localhost"], patterns()),
        // The table has no DNS rule.
        (vec![], vec![linkerd], patterns()),
        (vec![], vec![linkerd, "localhost"], meshes()),
        (vec![], vec![linkerd, linkerd], meshes()),
        (vec![ALICE, second], vec![linkerd], meshes()),
    ] {
        let refused = names(&uris, &dns, &table);
        assert!(matches!(refused, Err(LeafError::UriNames(_))), "{uris:?} {dns:?}: {refused:?}");
    }
}

#[test]
fn foreign_and_unknown_names_are_refused() {
    for uri in [
        "spiffe://other.local/user/alice",
        "spiffe://sre.local.evil/user/alice",
        "spiffe://sre.local/user/alice/x",
        "spiffe://sre.local/ns/sre/sa/user/alice",
        "spiffe://sre.local/ns/other/sa/sre-io",
        "spiffe://other.local/ns/sre/sa/sre-io",
        "https://sre.local/user/alice",
    ] {
        let refused = names(&[uri], &[], &meshes());
        assert_eq!(refused, Err(LeafError::Unknown(uri.to_owned())));
    }
    // A mesh's account that is called "user" is a service of that name: never the kind.
    let named = names(&["spiffe://sre.local/ns/sre/sa/sre-user"], &[], &meshes()).unwrap();
    assert_eq!(named, "spiffe://sre.local/service/user");
}

#[test]
fn authorities_are_no_identities() {
    let mut authority = leaf_params(&[ALICE], &[]);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(read_params(&authority, &patterns(), Usage::Client), Err(LeafError::Authority));
    let mut signs = leaf_params(&[ALICE], &[]);
    signs.key_usages.push(KeyUsagePurpose::KeyCertSign);
    assert_eq!(read_params(&signs, &patterns(), Usage::Client), Err(LeafError::Authority));
}

#[test]
fn usages_must_be_stated() {
    let with = |usages: Vec<ExtendedKeyUsagePurpose>| {
        let mut params = leaf_params(&[ALICE], &[]);
        params.extended_key_usages = usages;
        params
    };
    let server_only = with(vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let client_only = with(vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let check = |params: &CertificateParams, usage| read_params(params, &patterns(), usage);
    assert_eq!(check(&server_only, Usage::Client), Err(LeafError::Usage("clientAuth")));
    assert_eq!(check(&client_only, Usage::Server), Err(LeafError::Usage("serverAuth")));
    assert_eq!(check(&client_only, Usage::Both), Err(LeafError::Usage("serverAuth")));
    assert_eq!(check(&with(vec![]), Usage::Client), Err(LeafError::Usage("clientAuth")));
    assert!(check(&client_only, Usage::Client).is_ok());
    let mut no_signature = leaf_params(&[ALICE], &[]);
    no_signature.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    assert_eq!(check(&no_signature, Usage::Client), Err(LeafError::Usage("digitalSignature")));
}

#[test]
fn bytes_that_are_no_certificate_are_refused() {
    assert!(matches!(read(b"", &patterns(), Usage::Client), Err(LeafError::Malformed(_))));
    assert!(matches!(read(b"\x30\x03abc", &patterns(), Usage::Client), Err(LeafError::Malformed(_))));
    let mut twice = der(&AUTHORITY.sign_anything(&leaf_params(&[ALICE], &[])).cert_pem).to_vec();
    twice.push(0);
    assert!(matches!(read(&twice, &patterns(), Usage::Client), Err(LeafError::Malformed(_))));
}
