use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sre_proto::security::v1 as proto;
use sre_proto::security::v1::revocation::Target;
use tonic::Code;

use super::*;
use crate::grant::Grant;
use crate::test_world::{Sts, claims, domain, peer, public_key};

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn verify(sts: &Sts, token: &str) -> Result<std::sync::Arc<Claims>, AuthError> {
    sts.verifier.verify(token, &peer("service/engine"), "llm")
}

fn sign_raw(sts: &Sts, claims: &Claims) -> String {
    sts.signer.sign_unchecked(TYP, claims).unwrap()
}

#[test]
fn a_good_token_says_who_acts_for_whom() {
    let sts = Sts::new();
    let token = sts.signer.sign(&claims()).unwrap();
    let found = verify(&sts, &token).unwrap();
    assert_eq!(found.candidate().unwrap().to_string(), "agent/a");
    // The second time from the cache: the very same claims.
    assert!(std::sync::Arc::ptr_eq(&found, &verify(&sts, &token).unwrap()));
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let expected = format!(r#"{{"alg":"EdDSA","typ":"sre-dt+jwt","kid":"{}"}}"#, sts.signer.key_id());
    assert_eq!(String::from_utf8(header).unwrap(), expected);
}

#[test]
fn forged_tokens_are_refused() {
    let sts = Sts::new();
    let token = sts.signer.sign(&claims()).unwrap();
    verify(&sts, &token).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let mut other = claims();
    other.sub = "spiffe://sre.local/agent/other".into();
    let payload = encode(&serde_json::to_string(&other).unwrap());
    // Another content under a known signature: the cache must not be fooled either.
    let forged = format!("{}.{payload}.{}", parts[0], parts[2]);
    assert_eq!(verify(&sts, &forged), Err(AuthError::Signature));
    // Another key under the known key's id.
    let stranger = Signer::generate().unwrap();
    let signed = stranger.sign(&claims()).unwrap();
    assert_eq!(verify(&sts, &signed), Err(AuthError::UnknownKey(stranger.key_id().to_owned())));
    let renamed = format!("{}.{}", parts[0], signed.split_once('.').unwrap().1);
    assert_eq!(verify(&sts, &renamed), Err(AuthError::Signature));
}

#[test]
fn malformed_tokens_are_refused() {
    let sts = Sts::new();
    let token = sts.signer.sign(&claims()).unwrap();
    let long = "a".repeat(9000);
    for text in
        ["", ".", "..", "a.b.c", "ü.ü.ü", &token[1..], &format!("{token}="), &format!("{token}.x"), &long]
    {
        assert!(matches!(verify(&sts, text), Err(AuthError::Malformed | AuthError::Signature)), "{text}");
    }
    assert_eq!(verify(&sts, &token[..token.len() - 1]), Err(AuthError::Malformed));
}

#[test]
fn the_header_cannot_choose_how_it_is_verified() {
    let sts = Sts::new();
    let token = sts.signer.sign(&claims()).unwrap();
    let rest = token.split_once('.').unwrap().1;
    let (payload, _) = rest.split_once('.').unwrap();
    let kid = sts.signer.key_id();
    for (header, expected) in [
        (format!(r#"{{"alg":"none","typ":"sre-dt+jwt","kid":"{kid}"}}"#), AuthError::Header),
        (format!(r#"{{"alg":"HS256","typ":"sre-dt+jwt","kid":"{kid}"}}"#), AuthError::Header),
        (format!(r#"{{"alg":"eddsa","typ":"sre-dt+jwt","kid":"{kid}"}}"#), AuthError::Header),
        (format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{kid}"}}"#), AuthError::Header),
        (format!(r#"{{"alg":"EdDSA","typ":"sre-rg+jwt","kid":"{kid}"}}"#), AuthError::Header),
        (
            format!(r#"{{"alg":"EdDSA","typ":"sre-dt+jwt","kid":"{kid}","jku":"https://x"}}"#),
            AuthError::Malformed,
        ),
        (format!(r#"{{"alg":"EdDSA","typ":"sre-dt+jwt","kid":"{kid}","crit":["x"]}}"#), AuthError::Malformed),
        (r#"{"alg":"EdDSA","typ":"sre-dt+jwt"}"#.to_owned(), AuthError::Malformed),
        (
            r#"{"alg":"EdDSA","typ":"sre-dt+jwt","kid":"../x"}"#.to_owned(),
            AuthError::UnknownKey("../x".into()),
        ),
    ] {
        assert_eq!(verify(&sts, &format!("{}.{rest}", encode(&header))), Err(expected.clone()), "{header}");
        // Nor without a signature, nor with the public key as the secret of a symmetric one.
        let unsigned = verify(&sts, &format!("{}.{payload}.", encode(&header)));
        assert!(unsigned.is_err(), "{header}");
    }
}

#[test]
fn times_are_checked_with_little_tolerance() {
    let sts = Sts::new();
    let at = |issued: i64, ends: i64| {
        let mut claims = claims();
        let now = claims.iat;
        (claims.iat, claims.exp) = (now + issued, now + ends);
        verify(&sts, &sign_raw(&sts, &claims))
    };
    assert!(at(-200, 100).is_ok());
    assert!(at(-200, -2).is_ok(), "within the skew");
    assert!(at(2, 200).is_ok(), "within the skew");
    assert_eq!(at(-200, -10), Err(AuthError::Time));
    assert_eq!(at(30, 200), Err(AuthError::Time));
    assert_eq!(at(-1, 300), Err(AuthError::Time), "longer than five minutes");
    assert_eq!(at(10, 5), Err(AuthError::Time));
    assert_eq!(at(i64::MIN / 2, i64::MAX / 2 + 10), Err(AuthError::Time));
}

#[test]
fn expiry_is_checked_although_cached() {
    let sts = Sts::new();
    let mut claims = claims();
    claims.iat -= 400;
    claims.exp = claims.iat + 300;
    let token = sts.signer.sign(&claims).unwrap();
    assert_eq!(verify(&sts, &token), Err(AuthError::Time));
    // The signature was verified and is cached now; the time still counts.
    assert_eq!(verify(&sts, &token), Err(AuthError::Time));
}

#[test]
fn audience_and_presenter_are_bound() {
    let sts = Sts::new();
    let token = sts.signer.sign(&claims()).unwrap();
    let wrong = sts.verifier.verify(&token, &peer("service/engine"), "io");
    assert_eq!(wrong, Err(AuthError::Audience("llm".into())));
    let expected = AuthError::WrongPresenter("spiffe://sre.local/service/engine".into());
    for thief in ["service/llm", "service/edge", "agent/a", "user/alice"] {
        assert_eq!(sts.verifier.verify(&token, &peer(thief), "llm"), Err(expected.clone()), "{thief}");
    }
}

#[test]
fn another_issuer_is_refused() {
    let sts = Sts::new();
    let mut claims = claims();
    claims.iss = "spiffe://other.local/service/security".into();
    assert_eq!(verify(&sts, &sign_raw(&sts, &claims)), Err(AuthError::Issuer));
    let mut keys = sts.key_set(2, vec![]);
    keys.issuer = "spiffe://other.local/service/security".into();
    assert!(matches!(sts.verifier.update(&keys), Err(KeySetError::Issuer(_))));
}

#[test]
fn a_subject_that_is_no_candidate_is_refused() {
    let sts = Sts::new();
    for subject in ["spiffe://sre.local/service/io", "agent/a", "", "spiffe://sre.local/agent/a/b"] {
        let mut claims = claims();
        claims.sub = subject.into();
        assert_eq!(verify(&sts, &sign_raw(&sts, &claims)), Err(AuthError::Malformed), "{subject}");
    }
}

#[test]
fn chains_end_at_eight() {
    let sts = Sts::new();
    let mut claims = claims();
    claims.via = (0..8).map(|n| format!("spiffe://sre.local/agent/v{n}")).collect();
    verify(&sts, &sts.signer.sign(&claims).unwrap()).unwrap();
    claims.via.push("spiffe://sre.local/agent/v8".into());
    assert!(sts.signer.sign(&claims).is_err());
    assert_eq!(verify(&sts, &sign_raw(&sts, &claims)), Err(AuthError::ChainTooDeep));
}

#[test]
fn every_kind_of_revocation_takes_effect_on_cached_tokens() {
    let via = "spiffe://sre.local/agent/before";
    let mut original = claims();
    original.via = vec![via.into()];
    let issued = original.iat;
    let targets = [
        Target::TokenId(original.jti.clone()),
        Target::Subject(original.sub.clone()),
        Target::Subject(via.into()),
        Target::RootCaller(original.root.clone()),
        Target::Presenter(original.act.clone()),
    ];
    for target in targets {
        let sts = Sts::new();
        let token = sts.signer.sign(&original).unwrap();
        let found = verify(&sts, &token).unwrap();
        let revocation = |target: &Target, seconds: i64| proto::Revocation {
            target: Some(target.clone()),
            time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        };
        if !matches!(target, Target::TokenId(_)) {
            sts.publish(2, vec![revocation(&target, issued - 1)]);
            verify(&sts, &token).unwrap();
        }
        sts.publish(3, vec![revocation(&target, issued)]);
        assert_eq!(verify(&sts, &token), Err(AuthError::Revoked), "{target:?}");
        assert_eq!(sts.verifier.still_valid(&found), Err(AuthError::Revoked));
        assert_eq!(sts.verifier.verify_proof(&token, &peer("service/llm")), Err(AuthError::Revoked));
        // Somebody else's revocation is not ours.
        let other = Target::Subject("spiffe://sre.local/agent/else".into());
        sts.publish(4, vec![revocation(&other, issued + 10)]);
        verify(&sts, &token).unwrap();
    }
}

#[test]
fn a_withdrawn_key_voids_cached_tokens() {
    let sts = Sts::new();
    let token = sts.signer.sign(&claims()).unwrap();
    verify(&sts, &token).unwrap();
    let next = Signer::generate().unwrap();
    let mut keys = sts.key_set(2, vec![]);
    keys.keys.insert(0, public_key(&next));
    sts.verifier.update(&keys).unwrap();
    // Both keys for a while.
    verify(&sts, &token).unwrap();
    verify(&sts, &next.sign(&claims()).unwrap()).unwrap();
    // A key that has ended is as good as none.
    keys.version = 3;
    keys.keys[1].expire_time = Some(prost_types::Timestamp { seconds: claims().iat - 1, nanos: 0 });
    sts.verifier.update(&keys).unwrap();
    assert!(matches!(verify(&sts, &token), Err(AuthError::UnknownKey(_))));
    keys.version = 4;
    keys.keys.pop();
    sts.verifier.update(&keys).unwrap();
    assert!(matches!(verify(&sts, &token), Err(AuthError::UnknownKey(_))));
    assert!(sts.verifier.needs_refresh(sts.signer.key_id()));
    assert!(!sts.verifier.needs_refresh(next.key_id()));
}

#[test]
fn key_sets_are_checked() {
    let sts = Sts::new();
    let good = sts.key_set(5, vec![]);
    let bad = |change: &dyn Fn(&mut proto::KeySet)| {
        let mut keys = good.clone();
        change(&mut keys);
        assert!(sts.verifier.update(&keys).is_err(), "{keys:?}");
    };
    bad(&|keys| keys.keys.clear());
    bad(&|keys| keys.keys[0].ed25519 = vec![1; 31].into());
    bad(&|keys| keys.keys[0].key_id.clear());
    bad(&|keys| keys.keys.push(keys.keys[0].clone()));
    bad(&|keys| keys.revocations.push(proto::Revocation { target: None, time: None }));
    sts.verifier.update(&good).unwrap();
    bad(&|keys| keys.version = 4);
    bad(&|keys| (keys.unchanged, keys.version) = (true, 4));
    assert_eq!(sts.verifier.known_version(), 5);
    let unchanged = proto::KeySet { version: 5, unchanged: true, ..Default::default() };
    sts.verifier.update(&unchanged).unwrap();
    assert_eq!(TokenVerifier::new(&domain()).update(&unchanged), Err(KeySetError::NothingKnown));
}

#[tokio::test(start_paused = true)]
async fn without_a_recent_key_set_nothing_is_accepted() {
    let sts = Sts::new();
    let token = sts.signer.sign(&claims()).unwrap();
    let unchanged = proto::KeySet { version: 1, unchanged: true, ..Default::default() };
    sts.verifier.update(&unchanged).unwrap();
    verify(&sts, &token).unwrap();
    tokio::time::advance(MAX_KEY_SET_AGE - Duration::from_secs(1)).await;
    verify(&sts, &token).unwrap();
    sts.verifier.update(&unchanged).unwrap();
    tokio::time::advance(MAX_KEY_SET_AGE + Duration::from_secs(1)).await;
    let refused = verify(&sts, &token).unwrap_err();
    assert_eq!(refused, AuthError::NoKeySet);
    assert_eq!(tonic::Status::from(refused).code(), Code::Unavailable);
    sts.verifier.update(&unchanged).unwrap();
    verify(&sts, &token).unwrap();
    let never = TokenVerifier::new(&domain());
    assert_eq!(never.verify(&token, &peer("service/engine"), "llm"), Err(AuthError::NoKeySet));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_waits_for_a_newer_set() {
    let sts = Sts::new();
    let next = Signer::generate().unwrap();
    let token = next.sign(&claims()).unwrap();
    let engine = peer("service/engine");
    let mut keys = sts.key_set(2, vec![]);
    keys.keys.insert(0, public_key(&next));
    let poller = async {
        sts.verifier.refresh_wanted().await;
        sts.verifier.update(&keys).unwrap();
    };
    let (found, ()) = tokio::join!(sts.verifier.verify_fresh(&token, &engine, "llm"), poller);
    assert_eq!(found.unwrap().candidate.to_string(), "agent/a");
    // And gives up.
    let stranger = Signer::generate().unwrap().sign(&claims()).unwrap();
    let refused = sts.verifier.verify_fresh(&stranger, &engine, "llm").await.unwrap_err();
    assert!(matches!(refused, AuthError::UnknownKey(_)));
}

#[test]
fn a_proof_must_have_been_presented_to_whoever_brings_it() {
    let sts = Sts::new();
    let token = sts.signer.sign(&claims()).unwrap();
    assert!(sts.verifier.verify_proof(&token, &peer("service/llm")).is_ok());
    for other in ["service/engine", "service/io", "agent/llm", "user/llm"] {
        let refused = sts.verifier.verify_proof(&token, &peer(other));
        assert_eq!(refused, Err(AuthError::Audience("llm".into())), "{other}");
    }
}

fn grant() -> Grant {
    let claims = claims();
    Grant {
        iss: claims.iss,
        sub: claims.sub,
        via: vec![],
        root: claims.root,
        ceil: claims.ceil,
        jti: "grant-1".into(),
        iat: claims.iat,
        exp: claims.iat + 3600,
        agent: "teams/t/agents/a".into(),
        team: Some("t".into()),
        txn: claims.txn,
    }
}

#[test]
fn grants_are_for_the_engine_and_no_tokens() {
    let sts = Sts::new();
    let engine = peer("service/engine");
    let text = sts.signer.sign_grant(&grant()).unwrap();
    assert_eq!(sts.verifier.verify_grant(&text, &engine).unwrap(), grant());
    for other in ["service/edge", "service/llm", "agent/engine", "user/engine"] {
        let refused = sts.verifier.verify_grant(&text, &peer(other));
        assert_eq!(refused, Err(AuthError::WrongPresenter("service/engine".into())), "{other}");
    }
    assert_eq!(verify(&sts, &text), Err(AuthError::Header));
    let token = sts.signer.sign(&claims()).unwrap();
    assert_eq!(sts.verifier.verify_grant(&token, &engine), Err(AuthError::Header));
}

#[test]
fn grants_end_and_are_revoked() {
    let sts = Sts::new();
    let engine = peer("service/engine");
    let mut long = grant();
    long.exp = long.iat + 31 * 24 * 3600;
    assert!(sts.signer.sign_grant(&long).is_err());
    let mut over = grant();
    over.iat -= 7200;
    over.exp = over.iat + 3600;
    let over = sts.signer.sign_grant(&over).unwrap();
    assert_eq!(sts.verifier.verify_grant(&over, &engine), Err(AuthError::Time));
    let text = sts.signer.sign_grant(&grant()).unwrap();
    for target in
        [Target::TokenId("grant-1".into()), Target::Subject(grant().sub), Target::RootCaller(grant().root)]
    {
        let time = Some(prost_types::Timestamp { seconds: grant().iat + 1, nanos: 0 });
        sts.publish(2, vec![proto::Revocation { target: Some(target), time }]);
        assert_eq!(sts.verifier.verify_grant(&text, &engine), Err(AuthError::Revoked));
    }
}

#[test]
fn scopes_cover_exactly() {
    let mut claims = claims();
    claims.scope = vec!["sre.io.v1.Storage:write".into(), "sre.io.v1.Nkv:owner".into()];
    assert!(claims.covers("sre.io.v1.Storage", "write"));
    assert!(!claims.covers("sre.io.v1.Storage", "read"));
    assert!(!claims.covers("sre.io.v1.Storage", "owner"));
    assert!(claims.covers("sre.io.v1.Nkv", "read"));
    assert!(!claims.covers("sre.io.v1", "write"));
    assert!(!claims.covers("sre.io.v1.StorageX", "write"));
}

#[test]
fn the_signer_refuses_what_nobody_would_accept() {
    let signer = Signer::generate().unwrap();
    let refused = |change: &dyn Fn(&mut Claims)| {
        let mut claims = claims();
        change(&mut claims);
        assert!(matches!(signer.sign(&claims), Err(SignError::Refused(_))));
    };
    refused(&|claims| claims.exp = claims.iat + 301);
    refused(&|claims| claims.exp = claims.iat);
    refused(&|claims| claims.aud.clear());
    refused(&|claims| claims.scope.clear());
    refused(&|claims| claims.ceil = vec!["x".repeat(100); 100]);
}

#[test]
fn statuses_carry_stable_reasons() {
    use sre_proto::error::{Reason, reason};
    for (cause, code, expected) in [
        (AuthError::Missing("x"), Code::Unauthenticated, Reason::CredentialsMissing),
        (AuthError::Signature, Code::Unauthenticated, Reason::CredentialsInvalid),
        (AuthError::Revoked, Code::Unauthenticated, Reason::CredentialsRevoked),
        (AuthError::WrongPresenter("x".into()), Code::PermissionDenied, Reason::WrongPresenter),
        (AuthError::ChainTooDeep, Code::PermissionDenied, Reason::ChainTooDeep),
        (AuthError::NoKeySet, Code::Unavailable, Reason::RoleUnavailable),
    ] {
        let status = tonic::Status::from(cause);
        assert_eq!((status.code(), reason(&status)), (code, Some(expected)), "{status:?}");
    }
}
