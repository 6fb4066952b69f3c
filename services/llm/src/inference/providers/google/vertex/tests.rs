//! Tokens, addresses and bodies of Vertex AI.

use axum::body::Body;
use axum::http::Response as Answer;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::*;
use crate::inference::credentials::Key;
use crate::inference::providers::testing::*;

/// An RSA key that is made for each run of the tests, and its public half in PEM.
fn key() -> (String, Vec<u8>) {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::KeyPair as _;
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let pem = |name: &str, der: &[u8]| {
        let text = crate::inference::providers::media::base64(der);
        let lines: Vec<_> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", lines.join("\n"))
    };
    (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", public.as_ref()).into_bytes())
}

fn call_at(base: &str, private: &str, settings: &Value) -> Call {
    let mut entry =
        json!({"modelId": "gemini-2.5-flash", "provider": NAME, "params": settings, "settings": settings});
    entry["baseURL"] = base.into();
    let mut call = call_of(&entry);
    let fields = json!({"client_email": "sa@p.test", "private_key": private, "private_key_id": "kid",
        "token_uri": format!("{base}/token"), "project_id": "proj"});
    let fields = fields.as_object().unwrap().clone();
    call.key = Some(Key::of_fields(
        fields.into_iter().map(|(name, value)| (name, value.as_str().unwrap().to_owned().into())),
    ));
    call.base_url = Some(base.parse().unwrap());
    call
}

fn answers(expires_in: u64) -> impl Fn(usize, &Seen) -> Answer<Body> {
    move |count, seen| {
        if seen.path == "/token" {
            return json_answer(
                200,
                &json!({"access_token": format!("token-{count}"), "expires_in": expires_in}),
            );
        }
        json_answer(
            200,
            &json!({"candidates": [{"content": {"parts": [{"text": "ho"}]}, "finishReason": "STOP"}]}),
        )
    }
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_kept_until_shortly_before_its_end() {
    let (private, public) = key();
    let mut server = server(answers(3600)).await;
    let call = call_at(&server.base, &private, &json!({"location": "europe-west4"}));
    let provider = Spoken::new(Vertex::default(), settings()).unwrap();
    for _ in 0..2 {
        assert_eq!(provider.generate(call.clone()).await.unwrap().text, "ho");
    }
    let asked = server.seen.recv().await.unwrap();
    assert_eq!(
        (asked.path.as_str(), &asked.headers["content-type"]),
        ("/token", &"application/x-www-form-urlencoded".parse().unwrap())
    );
    let form: std::collections::BTreeMap<_, _> =
        url::form_urlencoded::parse(&asked.body).into_owned().collect();
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[format!("{}/token", server.base)]);
    let token = jsonwebtoken::decode::<Value>(
        &form["assertion"],
        &DecodingKey::from_rsa_pem(&public).unwrap(),
        &validation,
    )
    .unwrap();
    assert_eq!((token.claims["iss"].as_str(), token.header.kid.as_deref()), (Some("sa@p.test"), Some("kid")));
    assert_eq!(token.claims["scope"], "https://www.googleapis.com/auth/cloud-platform");
    for _ in 0..2 {
        let called = server.seen.recv().await.unwrap();
        assert_eq!(
            called.path,
            "/v1/projects/proj/locations/europe-west4/publishers/google/models/gemini-2.5-flash:generateContent"
        );
        assert_eq!(called.headers["authorization"], "Bearer token-0");
    }
    assert!(server.seen.try_recv().is_err(), "one token for both");
}

#[tokio::test]
async fn a_token_that_ends_within_five_minutes_is_not_used_again() {
    let (private, _) = key();
    let mut server = server(answers(299)).await;
    let call = call_at(&server.base, &private, &json!({}));
    let provider = Spoken::new(Vertex::default(), settings()).unwrap();
    for _ in 0..2 {
        provider.generate(call.clone()).await.unwrap();
    }
    let paths: Vec<_> = std::iter::from_fn(|| server.seen.try_recv().ok()).map(|seen| seen.path).collect();
    assert_eq!(paths.iter().filter(|path| *path == "/token").count(), 2, "{paths:?}");
}

#[tokio::test]
async fn keys_go_to_google_alone_and_must_be_keys() {
    let server = server(answers(3600)).await;
    let provider = Spoken::new(Vertex::default(), settings()).unwrap();
    let refused = async |call: Call| provider.generate(call).await.unwrap_err().to_string();
    let error = refused(call_at(&server.base, "no key", &json!({}))).await;
    assert!(error.contains("no RSA key"), "{error}");
    let mut elsewhere = call_at(&server.base, &key().0, &json!({}));
    elsewhere.base_url = Some("http://127.0.0.1:1".parse().unwrap());
    let error = refused(elsewhere).await;
    assert!(error.contains("neither Google's"), "{error}");
    let mut none = call_at(&server.base, "", &json!({}));
    none.key = None;
    let error = refused(none).await;
    assert!(error.contains("service account"), "{error}");
}

#[test]
fn regions_have_their_hosts_and_ids_may_be_paths() {
    let of = |settings: Value| {
        let entry = json!({"modelId": "m", "provider": NAME, "params": settings, "settings": settings});
        location(&call_of(&entry).model)
    };
    assert_eq!(of(json!({})).unwrap(), "https://us-central1-aiplatform.googleapis.com");
    assert_eq!(of(json!({"location": "global"})).unwrap(), "https://aiplatform.googleapis.com");
    assert_eq!(of(json!({"apiEndpoint": "x.test/"})).unwrap(), "https://x.test");
    assert!(of(json!({"location": "evil.test/"})).is_err(), "a region is no part of another address");
    let id = "projects/1/locations/eu/endpoints/9";
    let entry = json!({"modelId": id, "provider": NAME});
    assert_eq!(path(&call_of(&entry), "google").unwrap(), format!("v1/{id}"));
}

#[test]
fn d8_what_the_model_called_is_the_models() {
    let mut call = call(NAME, "gemini-2.5-flash");
    call.request.messages = vec![user("a"), calling(&["1"]), result("1", "{\"x\":1}")];
    let body = body(&call, Flavour::Vertex).unwrap();
    assert_eq!(
        body["contents"],
        json!([
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "t-1", "args": {"a": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "t-1", "response": {"x": 1}}}]}])
    );
}

#[tokio::test]
async fn claude_is_called_by_its_publisher_with_the_same_token_and_its_version_in_the_body() {
    let (private, _) = key();
    let mut server = server(|count, seen| match seen.path.as_str() {
        "/token" => json_answer(200, &json!({"access_token": format!("token-{count}"), "expires_in": 3600})),
        path if path.contains("/publishers/anthropic/") => json_answer(
            200,
            &json!({"id": "msg_vrtx_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
                "content": [{"type": "text", "text": "hello"}], "stop_reason": "end_turn",
                "usage": {"input_tokens": 3, "output_tokens": 1}}),
        ),
        _ => json_answer(
            200,
            &json!({"candidates": [{"content": {"parts": [{"text": "ho"}]}, "finishReason": "STOP"}]}),
        ),
    })
    .await;
    let provider = VertexAi::new(&settings()).unwrap();
    let gemini = call_at(&server.base, &private, &json!({"location": "global"}));
    let named = |id: &str| {
        let mut call = gemini.clone();
        Arc::make_mut(&mut call.model).model_id = id.to_owned();
        call
    };
    assert_eq!(provider.generate(gemini.clone()).await.unwrap().text, "ho");
    for id in [
        "claude-sonnet-4-5@20250929",
        "publishers/anthropic/models/claude-sonnet-4-5@20250929",
        "projects/other/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929",
    ] {
        let answer = provider.generate(named(id)).await.unwrap();
        assert_eq!((answer.text.as_str(), answer.usage.unwrap().input_tokens), ("hello", 3), "{id}");
    }
    let seen: Vec<Seen> = std::iter::from_fn(|| server.seen.try_recv().ok()).collect();
    assert_eq!(seen.iter().filter(|seen| seen.path == "/token").count(), 1, "one token for both makers");
    let own = "/v1/projects/proj/locations/global/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict";
    let other = "/v1/projects/other/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict";
    let claude: Vec<&Seen> = seen.iter().filter(|seen| seen.path.contains("anthropic")).collect();
    let paths: Vec<&str> = claude.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, [own, own, other]);
    for seen in claude {
        assert_eq!(seen.headers["authorization"], "Bearer token-0");
        let absent = ["x-api-key", "anthropic-version"].iter().all(|name| !seen.headers.contains_key(*name));
        assert!(absent, "{:?}", seen.headers);
        let body: Value = serde_json::from_slice(&seen.body).unwrap();
        assert_eq!(body["anthropic_version"], "vertex-2023-10-16");
        assert_eq!((body.get("model"), &body["stream"]), (None, &json!(false)));
    }
}
