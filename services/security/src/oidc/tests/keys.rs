use jsonwebtoken::Algorithm;

use super::*;

fn asked(fake: &Fake) -> usize {
    fake.served.asked.load(Ordering::Acquire)
}

#[tokio::test]
async fn a_provider_that_rotates_its_keys_is_followed() {
    let (old, new) = (Pair::new("old", Algorithm::RS256), Pair::new("new", Algorithm::ES256));
    let fake = Fake::start(vec![old.jwk()]).await;
    let providers = Providers::new(&[Issuer { refetch_ms: 0, ..fake.config() }]).unwrap();
    providers.verify(&old.sign(&fake.claims())).await.unwrap();
    *fake.served.keys.lock() = vec![old.jwk(), new.jwk()];
    providers.verify(&new.sign(&fake.claims())).await.unwrap();
    providers.verify(&old.sign(&fake.claims())).await.unwrap();
    assert_eq!(asked(&fake), 2, "once for each key that was not known");
    *fake.served.keys.lock() = vec![new.jwk()];
    refusal(&providers, &Pair::new("third", Algorithm::ES256).sign(&fake.claims())).await;
    assert!(refusal(&providers, &old.sign(&fake.claims())).await.contains("no such key"));
}

#[tokio::test]
async fn unknown_keys_make_us_look_once_in_a_while_whoever_asks() {
    let pair = Pair::new("k", Algorithm::ES256);
    let fake = Fake::start(vec![pair.jwk()]).await;
    let providers = fake.providers();
    providers.verify(&pair.sign(&fake.claims())).await.unwrap();
    let strangers: Vec<String> =
        (0..50).map(|n| Pair::new(&format!("x{n}"), Algorithm::ES256).sign(&fake.claims())).collect();
    let all = strangers.iter().map(|token| refusal(&providers, token));
    for message in futures::future::join_all(all).await {
        assert!(message.contains("no such key"), "{message}");
    }
    assert_eq!(asked(&fake), 1);
}

#[tokio::test]
async fn calls_at_the_same_time_share_the_first_look() {
    let pair = Pair::new("k", Algorithm::ES256);
    let fake = Fake::start(vec![pair.jwk()]).await;
    let providers = fake.providers();
    let token = pair.sign(&fake.claims());
    for verified in futures::future::join_all((0..20).map(|_| providers.verify(&token))).await {
        verified.unwrap();
    }
    assert_eq!(asked(&fake), 1);
}

#[tokio::test]
async fn a_provider_that_is_away_is_believed_on() {
    let pair = Pair::new("k", Algorithm::ES256);
    let fake = Fake::start(vec![pair.jwk()]).await;
    let providers = Providers::new(&[Issuer { refetch_ms: 0, ..fake.config() }]).unwrap();
    *fake.served.down.lock() = true;
    let status = Status::from(providers.verify(&pair.sign(&fake.claims())).await.unwrap_err());
    assert_eq!(status.code(), Code::Unavailable, "nothing is known of it yet");
    *fake.served.down.lock() = false;
    providers.verify(&pair.sign(&fake.claims())).await.unwrap();
    *fake.served.down.lock() = true;
    providers.0[0].refresh().await;
    providers.verify(&pair.sign(&fake.claims())).await.unwrap();
    refusal(&providers, &Pair::new("x", Algorithm::ES256).sign(&fake.claims())).await;
}

#[tokio::test]
async fn a_token_without_a_key_id_needs_a_provider_with_one_key() {
    let (one, two) = (Pair::new("one", Algorithm::ES256), Pair::new("two", Algorithm::ES256));
    let fake = Fake::start(vec![one.jwk()]).await;
    let header = jsonwebtoken::Header::new(Algorithm::ES256);
    let token = jsonwebtoken::encode(&header, &fake.claims(), &one.key).unwrap();
    fake.providers().verify(&token).await.unwrap();
    *fake.served.keys.lock() = vec![one.jwk(), two.jwk()];
    assert!(refusal(&fake.providers(), &token).await.contains("no such key"));
}

#[tokio::test]
async fn keys_for_other_uses_are_left_alone() {
    let pair = Pair::new("k", Algorithm::ES256);
    for (name, value) in
        [("use", json!("enc")), ("alg", json!("ES384")), ("crv", json!("P-384")), ("x", json!("?"))]
    {
        let mut key = pair.jwk();
        key[name] = value;
        let fake = Fake::start(vec![json!("nonsense"), key]).await;
        assert!(
            refusal(&fake.providers(), &pair.sign(&fake.claims())).await.contains("no such key"),
            "{name}"
        );
    }
}
