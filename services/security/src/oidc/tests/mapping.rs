use std::collections::BTreeMap;

use jsonwebtoken::Algorithm;
use sre_service::config::UserId;

use super::*;

async fn fake() -> (Fake, Pair) {
    let pair = Pair::new("k", Algorithm::ES256);
    (Fake::start(vec![pair.jwk()]).await, pair)
}

#[tokio::test]
async fn the_configuration_says_which_claim_names_the_user() {
    let (fake, pair) = fake().await;
    let config = Issuer { user_claim: "nick".into(), user_prefix: "ext-".into(), ..fake.config() };
    let providers = Providers::new(&[config]).unwrap();
    let token = pair.sign(&with(fake.claims(), json!({"nick": "bob"})));
    assert_eq!(providers.verify(&token).await.unwrap().user.to_string(), "user/ext-bob");
    assert!(refusal(&providers, &pair.sign(&fake.claims())).await.contains("nick"));
}

#[tokio::test]
async fn a_digest_stands_for_names_that_are_no_ids() {
    let (fake, pair) = fake().await;
    let config = Issuer { user_id: UserId::Digest, ..fake.config() };
    let providers = Providers::new(&[config]).unwrap();
    let mut seen = Vec::new();
    for sub in ["auth0|5f7c", "alice@example.com", "Alice@example.com", "../../dev", "user/dev"] {
        let token = pair.sign(&with(fake.claims(), json!({"sub": sub})));
        let user = providers.verify(&token).await.unwrap().user;
        assert_eq!(providers.verify(&token).await.unwrap().user, user);
        assert!(!seen.contains(&user), "{sub}");
        seen.push(user);
    }
}

#[tokio::test]
async fn an_email_that_nobody_verified_names_nobody() {
    let (fake, pair) = fake().await;
    let config = Issuer { user_claim: "email".into(), user_id: UserId::Digest, ..fake.config() };
    let providers = Providers::new(&[config]).unwrap();
    let token = |verified: Value| {
        pair.sign(&with(fake.claims(), json!({"email": "a@example.com", "email_verified": verified})))
    };
    providers.verify(&token(json!(true))).await.unwrap();
    for verified in [json!(false), json!("true"), Value::Null] {
        assert!(refusal(&providers, &token(verified)).await.contains("email"));
    }
}

#[tokio::test]
async fn clients_can_be_listed() {
    let (fake, pair) = fake().await;
    let config = Issuer { authorized_parties: vec!["portal".into()], ..fake.config() };
    let providers = Providers::new(&[config]).unwrap();
    for claims in [json!({"azp": "portal"}), json!({"client_id": "portal"})] {
        providers.verify(&pair.sign(&with(fake.claims(), claims))).await.unwrap();
    }
    for claims in [json!({}), json!({"azp": "other"}), json!({"azp": "other", "client_id": "portal"})] {
        refusal(&providers, &pair.sign(&with(fake.claims(), claims))).await;
    }
}

#[tokio::test]
async fn groups_stand_for_teams_and_unknown_groups_for_none() {
    let (fake, pair) = fake().await;
    let groups = BTreeMap::from([("staff".to_owned(), "red".to_owned())]);
    let config = Issuer { groups_claim: Some("groups".into()), groups, ..fake.config() };
    let providers = Providers::new(&[config]).unwrap();
    let teams = async |groups: Value| {
        let token = pair.sign(&with(fake.claims(), json!({"groups": groups})));
        providers.verify(&token).await.unwrap().teams.unwrap()
    };
    assert_eq!(teams(json!(["staff", "others", 7])).await, ["red"]);
    assert_eq!(teams(json!(["red"])).await, Vec::<String>::new());
    assert_eq!(teams(json!("staff")).await, Vec::<String>::new());
    assert_eq!(teams(Value::Null).await, Vec::<String>::new());
}
