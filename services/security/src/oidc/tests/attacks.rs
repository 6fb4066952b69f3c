use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::*;

/// A token with any header and a signature that nobody made.
fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}

#[tokio::test]
async fn a_good_token_of_each_algorithm_is_believed() {
    let pairs = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
        .map(|algorithm| Pair::new(&format!("{algorithm:?}"), algorithm));
    let fake = Fake::start(pairs.iter().map(Pair::jwk).collect()).await;
    let providers = fake.providers();
    for pair in &pairs {
        let claims = fake.claims();
        let verified = providers.verify(&pair.sign(&claims)).await.unwrap();
        assert_eq!(verified.user.to_string(), "user/alice", "{}", pair.id);
        assert_eq!(verified.ends.secs(), claims["exp"].as_i64().unwrap());
    }
    // An algorithm that the configuration leaves out is not accepted, whatever keys the provider has.
    let narrow = Issuer { algorithms: vec![sre_service::config::SignatureAlgorithm::ES256], ..fake.config() };
    let narrow = Providers::new(&[narrow]).unwrap();
    narrow.verify(&pairs[1].sign(&fake.claims())).await.unwrap();
    assert!(refusal(&narrow, &pairs[0].sign(&fake.claims())).await.contains("algorithm"));
}

#[tokio::test]
async fn no_signature_is_no_signature_however_it_is_called() {
    let pair = Pair::new("k", Algorithm::RS256);
    let fake = Fake::start(vec![pair.jwk()]).await;
    let providers = fake.providers();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let token = unsigned(&json!({"alg": alg, "kid": "k"}), &fake.claims());
        assert!(refusal(&providers, &token).await.contains("algorithm"), "{alg}");
    }
    let signed = pair.sign(&fake.claims());
    let (rest, _) = signed.rsplit_once('.').unwrap();
    refusal(&providers, &format!("{rest}.")).await;
    refusal(&providers, rest).await;
    refusal(&providers, &format!("{signed}.x")).await;
}

/// The public key is public: whoever knows it must not be able to sign with it.
#[tokio::test]
async fn a_public_key_is_no_secret_of_an_hmac() {
    let pair = Pair::new("k", Algorithm::RS256);
    let secret = json!({"kty": "oct", "kid": "s", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(b"secret")});
    let fake = Fake::start(vec![pair.jwk(), secret]).await;
    let providers = fake.providers();
    let n = fake.served.keys.lock()[0]["n"].as_str().unwrap().to_owned();
    for (kid, secret) in [("k", pair.pem.as_bytes()), ("k", n.as_bytes()), ("s", b"secret".as_slice())] {
        let header = Header { kid: Some(kid.into()), ..Header::new(Algorithm::HS256) };
        let token = encode(&header, &fake.claims(), &EncodingKey::from_secret(secret)).unwrap();
        assert!(refusal(&providers, &token).await.contains("algorithm"));
    }
}

#[tokio::test]
async fn claims_that_are_wrong_are_refused() {
    let pair = Pair::new("k", Algorithm::ES256);
    let fake = Fake::start(vec![pair.jwk()]).await;
    let providers = fake.providers();
    let now = Moment::now().secs();
    for (changes, why) in [
        (json!({"aud": "other"}), "audience"),
        (json!({"aud": ["other", "more"]}), "audience"),
        (json!({"aud": null}), "lacks"),
        (json!({"exp": now - 31}), "expired"),
        (json!({"exp": null}), "lacks"),
        (json!({"nbf": now + 60}), "not valid yet"),
        (json!({"iat": now + 60}), "future"),
        (json!({"sub": null}), "lacks"),
        (json!({"sub": ""}), "no claim"),
        (json!({"sub": "../dev"}), "no user id"),
        (json!({"sub": "user/dev"}), "no user id"),
        (json!({"iss": "http://127.0.0.1:1"}), "not listed"),
        (json!({"iss": null}), "malformed"),
    ] {
        let message = refusal(&providers, &pair.sign(&with(fake.claims(), changes.clone()))).await;
        assert!(message.contains(why), "{changes}: {message}");
    }
    // Within the clock skew.
    providers
        .verify(&pair.sign(&with(fake.claims(), json!({"exp": now - 5, "nbf": now + 5}))))
        .await
        .unwrap();
    providers.verify(&pair.sign(&with(fake.claims(), json!({"aud": ["x", "sre"]})))).await.unwrap();
}

#[tokio::test]
async fn a_token_does_not_say_where_its_key_is() {
    let (pair, own) = (Pair::new("k", Algorithm::ES256), Pair::new("mine", Algorithm::ES256));
    let fake = Fake::start(vec![pair.jwk()]).await;
    let attacker = Fake::start(vec![own.jwk()]).await;
    let providers = fake.providers();
    let mut header = Header { kid: Some("mine".into()), ..Header::new(Algorithm::ES256) };
    header.jku = Some(format!("{}/keys", attacker.url));
    header.x5u = Some(format!("{}/keys", attacker.url));
    header.jwk = Some(serde_json::from_value(own.jwk()).unwrap());
    let token = encode(&header, &fake.claims(), &own.key).unwrap();
    assert!(refusal(&providers, &token).await.contains("no such key"));
    // Under the provider's own key id the signature does not hold.
    header.kid = Some("k".into());
    let token = encode(&header, &fake.claims(), &own.key).unwrap();
    assert!(refusal(&providers, &token).await.contains("signature"));
    // The attacker's issuer is never asked: it is not listed.
    let token = own.sign(&with(fake.claims(), json!({"iss": attacker.url})));
    assert!(refusal(&providers, &token).await.contains("not listed"));
    assert_eq!(attacker.served.asked.load(Ordering::Acquire), 0);
}

#[tokio::test]
async fn extensions_and_other_types_are_refused() {
    let pair = Pair::new("k", Algorithm::ES256);
    let fake = Fake::start(vec![pair.jwk()]).await;
    let providers = fake.providers();
    let token = unsigned(&json!({"alg": "ES256", "kid": "k", "crit": ["b64"], "b64": false}), &fake.claims());
    assert!(refusal(&providers, &token).await.contains("extension"));
    // Our own tokens are no provider's.
    let mut header = Header { kid: Some("k".into()), ..Header::new(Algorithm::ES256) };
    header.typ = Some("sre-dt+jwt".into());
    let token = encode(&header, &fake.claims(), &pair.key).unwrap();
    assert!(refusal(&providers, &token).await.contains("type"));
    header.typ = Some("at+jwt".into());
    providers.verify(&encode(&header, &fake.claims(), &pair.key).unwrap()).await.unwrap();
}

#[tokio::test]
async fn huge_and_broken_tokens_cost_nothing_and_say_so() {
    let pair = Pair::new("k", Algorithm::ES256);
    let fake = Fake::start(vec![pair.jwk()]).await;
    let providers = fake.providers();
    let huge = pair.sign(&with(fake.claims(), json!({"pad": "x".repeat(MAX_TOKEN_BYTES)})));
    assert!(refusal(&providers, &huge).await.contains("longer"));
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let deep = format!("{}.{}.x", URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256"}"#), URL_SAFE_NO_PAD.encode(deep));
    for token in ["", ".", "..", "a.b.c", "e30.e30.e30", "\u{0}.\u{0}.\u{0}", deep.as_str()] {
        assert!(refusal(&providers, token).await.contains("malformed"), "{token:?}");
    }
    assert_eq!(fake.served.asked.load(Ordering::Acquire), 0, "nothing was fetched for them");
    assert!(refusal(&Providers::new(&[]).unwrap(), &pair.sign(&fake.claims())).await.contains("no provider"));
}

/// Who runs a provider, or stands in for it, cannot send us to places inside.
#[tokio::test]
async fn a_providers_configuration_leads_to_its_own_origin_alone() {
    let pair = Pair::new("k", Algorithm::ES256);
    let (fake, inside) = (Fake::start(Vec::new()).await, Fake::start(vec![pair.jwk()]).await);
    let token = pair.sign(&fake.claims());
    for configuration in [
        json!({"issuer": fake.url, "jwks_uri": format!("{}/keys", inside.url)}),
        json!({"issuer": fake.url, "jwks_uri": "http://169.254.169.254/latest/meta-data"}),
        json!({"issuer": fake.url, "jwks_uri": "file:///etc/passwd"}),
        json!({"issuer": inside.url, "jwks_uri": format!("{}/keys", fake.url)}),
        json!({"issuer": fake.url}),
    ] {
        *fake.served.configuration.lock() = Some(configuration.clone());
        let status = Status::from(fake.providers().verify(&token).await.unwrap_err());
        assert_eq!(status.code(), Code::Unavailable, "{configuration}");
    }
    assert_eq!(inside.served.asked.load(Ordering::Acquire), 0);
    // Where the operator says so, it is right.
    let elsewhere = Issuer { jwks_uri: Some(format!("{}/keys", inside.url)), ..fake.config() };
    Providers::new(&[elsewhere]).unwrap().verify(&token).await.unwrap();
}
