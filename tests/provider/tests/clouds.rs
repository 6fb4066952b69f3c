//! Who may ask in the clouds: signatures of AWS by its own signer, tokens of Google for signed assertions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a mistake in a test ends the test")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sre_fake_provider::{FakeProvider, sigv4};

fn signed(url: &str, body: &str, secret: &str) -> Vec<(String, String)> {
    let identity = Credentials::new(sigv4::ACCESS_KEY_ID, secret, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-central-1")
        .name("bedrock")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let body = SignableBody::Bytes(body.as_bytes());
    let request = SignableRequest::new("POST", url, std::iter::empty(), body).unwrap();
    let (made, _) = sign(request, &params).unwrap().into_parts();
    made.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn signatures_of_aws_are_checked() {
    let server = FakeProvider::start().await.unwrap();
    let url = server.url("/model/anthropic.claude-x%3A0/converse");
    let body = json!({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}).to_string();
    for (secret, sent, expected) in [
        (sigv4::SECRET_ACCESS_KEY, body.clone(), 200),
        ("another", body.clone(), 403),
        (sigv4::SECRET_ACCESS_KEY, body.replace("hi", "ho"), 403),
    ] {
        let mut request = reqwest::Client::new().post(&url).body(sent);
        for (name, value) in signed(&url, &body, secret) {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        assert_eq!(status.as_u16(), expected, "{}", answer.text().await.unwrap());
    }
    assert_eq!(server.state().ledger()[sigv4::ACCESS_KEY_ID].answers, 1);
}

#[tokio::test]
async fn tokens_of_google_are_given_for_assertions_and_expire() {
    let server = FakeProvider::start().await.unwrap();
    let account: Value = serde_json::from_str(&server.service_account().unwrap()).unwrap();
    let token_uri = account["token_uri"].as_str().unwrap().to_owned();
    let token = async |audience: &str| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({"iss": account["client_email"], "aud": audience, "iat": now, "exp": now + 3600,
            "scope": "https://www.googleapis.com/auth/cloud-platform"});
        let key = EncodingKey::from_rsa_pem(account["private_key"].as_str().unwrap().as_bytes()).unwrap();
        let assertion = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap();
        let form =
            format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let answer = reqwest::Client::new().post(&token_uri).body(form).send().await.unwrap();
        let given: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        given["access_token"].as_str().map(str::to_owned)
    };
    let ask = async |token: &str| {
        let path = "/v1/projects/p/locations/l/publishers/google/models/m:generateContent";
        let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]});
        let request = reqwest::Client::new().post(server.url(path)).bearer_auth(token).body(body.to_string());
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(token("https://elsewhere").await, None);
    let good = token(&token_uri).await.unwrap();
    assert_eq!(ask(&good).await, 200);
    assert_eq!(ask("made-up").await, 401);
    server.state().issuer.set_lifetime(Duration::ZERO);
    let short = token(&token_uri).await.unwrap();
    assert_eq!(ask(&short).await, 401);
    assert_eq!(server.state().issuer.count(), 2);
}
