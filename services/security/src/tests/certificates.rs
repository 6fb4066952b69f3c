use rcgen::{CertificateParams, KeyPair, SanType};
use sre_identity::{PatternTable, Svid, TrustDomain};

use super::*;

fn request_for(identities: &[&str]) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = identities.iter().map(|id| SanType::URI((*id).try_into().unwrap())).collect();
    (params.serialize_request(&key).unwrap().pem().unwrap(), key.serialize_pem())
}

#[tokio::test]
async fn a_service_gets_a_certificate_for_itself_alone() {
    let fixture = Fixture::new().await;
    let issue = |caller: &str, request_pem: String| {
        let mut client = fixture.identity(caller);
        async move { client.issue_certificate(pb::IssueCertificateRequest { request_pem }).await }
    };
    let (own, key_pem) = request_for(&["spiffe://sre.local/service/io"]);
    // Without an authority of its own the deployment says so.
    assert_eq!(refusal(issue("service/io", own.clone()).await).0, Code::FailedPrecondition);
    fixture.suite.authority().save(&fixture.suite.data_dir().join("certs")).unwrap();

    let issued = issue("service/io", own).await.unwrap().into_inner();
    let patterns = PatternTable::new(TrustDomain::new("sre.local").unwrap());
    let svid = Svid::from_pem(&issued.certificate_pem, &key_pem, &patterns).unwrap();
    assert!(svid.peer().is_service("io"));
    assert!(issued.expire_time.is_some());
    for identities in [
        &["spiffe://sre.local/service/engine"][..],
        &["spiffe://sre.local/service/io", "spiffe://sre.local/user/dev"],
        &[],
    ] {
        let refused = issue("service/io", request_for(identities).0).await;
        assert_eq!(refusal(refused).0, Code::PermissionDenied, "{identities:?}");
    }
    assert_eq!(refusal(issue("service/io", "x".into()).await).0, Code::InvalidArgument);
    let by_user = issue("user/dev", request_for(&["spiffe://sre.local/user/dev"]).0).await;
    assert_eq!(refusal(by_user), (Code::PermissionDenied, Reason::MethodNotAllowed));

    let bundle = fixture.identity("service/io").get_trust_bundle(pb::GetTrustBundleRequest {}).await.unwrap();
    assert_eq!(bundle.into_inner().certificates_pem, fixture.suite.authority().certificate_pem());
}
