//! OAuth of APICall: tokens of the managed vault against a token endpoint on loopback. The same against a real
//! provider is among the tests of the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::context::Suite;
use crate::driver::{lone, result_of};
use crate::fake::{Fake, Reply};
use crate::mock_http::Received;

/// An end far away, and one that is over.
const LATER: &str = "9999999999999";
const BEFORE: &str = "1000";

struct World {
    api: Fake,
    suite: Arc<Suite>,
}

impl World {
    /// A server with an API that takes the tokens `good` and `new-N`, and a token endpoint that grants `new-N`.
    async fn new() -> Self {
        let granted = AtomicUsize::new(0);
        let api = Fake::start(move |request| match request.path() {
            "/token" => token(request, granted.fetch_add(1, Ordering::SeqCst) + 1),
            "/broken" => {
                Reply::json(400, &json!({"error": "invalid_grant", "error_description": "gone: r-secret"}))
            }
            _ => match request.header("authorization").unwrap_or_default() {
                known if known == "Bearer good-token" || known.starts_with("Bearer new-token-") => {
                    Reply::json(200, &json!({"by": known, "body": String::from_utf8_lossy(&request.body)}))
                }
                signed if signed.starts_with("OAuth ") => Reply::json(200, &json!({"by": signed})),
                _ => Reply::json(401, &json!({"error": "unauthorized"})),
            },
        })
        .await;
        let suite =
            Suite::with_vault(&[api.address.to_string()], &[("client-secret", "the client's secret")]);
        Self { api, suite }
    }

    fn record(&self, shape: &str, primary: &str, secondary: &str, expires: &str, service: &str) -> Json {
        let token_url = format!("{}/token", self.api.url());
        let settings = json!({"type": "oauth2", "service": service, "tokenURL": token_url, "clientID": "app",
            "clientSecret": "{{KEY(client-secret)}}", "scope": "read"});
        match shape {
            "new" => json!({"auth_data": {"primary": primary, "secondary": secondary, "expires_in": expires},
                "auth_settings": settings, "team": "default"}),
            _ => json!({"primary": primary, "secondary": secondary, "expires_in": expires, "type": "oauth2",
                "team": "default", "oauth_info": settings}),
        }
    }

    async fn call(&self) -> Json {
        self.call_with(json!({"oauth_con_id": "con"})).await
    }

    async fn call_with(&self, more: Json) -> Json {
        let mut settings = json!({"method": "POST", "url": format!("{}/api", self.api.url()),
            "contentType": "application/json", "body": "{\"x\":\"{{x}}\"}"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let document = lone("APICall", settings, json!([{"name": "x", "type": "Any"}]), json!([]));
        result_of(&self.suite, &document, json!({"x": "v"})).await
    }

    fn kept(&self) -> Json {
        serde_json::from_str(&self.suite.managed.read("con").unwrap()).unwrap()
    }

    fn asked_for_tokens(&self) -> Vec<Received> {
        self.api.seen().into_iter().filter(|request| request.path() == "/token").collect()
    }
}

/// Grants a token, and another refresh token with it.
fn token(request: &Received, count: usize) -> Reply {
    let right = request.form("client_id").as_deref() == Some("app")
        && request.form("client_secret").as_deref() == Some("the client's secret");
    match right {
        true => Reply::json(
            200,
            &json!({"access_token": format!("new-token-{count}"), "refresh_token": format!("refresh-token-{count}"),
                "expires_in": 3600, "token_type": "Bearer"}),
        )
        .after(Duration::from_millis(50)),
        false => Reply::json(401, &json!({"error": "invalid_client"})),
    }
}

#[tokio::test]
async fn d20_tokens_are_used_renewed_or_asked_for_in_both_shapes() {
    const CLIENT: &str = "oauth2_client_credentials";
    for shape in ["new", "old"] {
        for (primary, secondary, expires, service, outcome) in [
            ("good-token", "", "", "google", Ok(("good-token", ""))),
            ("good-token", "r", LATER, "google", Ok(("good-token", ""))),
            ("stale", "r-secret", BEFORE, "google", Ok(("new-token-1", "refresh_token"))),
            ("stale", "r-secret", "NaN", "google", Ok(("new-token-1", "refresh_token"))),
            ("stale", "", BEFORE, "google", Err("Reauthentication required")),
            ("", "r", BEFORE, "google", Err("Retrieved OAuth tokens do not exist, invalid OR incomplete.")),
            ("good-token", "", LATER, CLIENT, Ok(("good-token", ""))),
            ("", "", "", CLIENT, Ok(("new-token-1", "client_credentials"))),
            ("stale", "", BEFORE, CLIENT, Ok(("new-token-1", "client_credentials"))),
        ] {
            let world = World::new().await;
            let record = world.record(shape, primary, secondary, expires, service);
            world.suite.managed.put("con", &record.to_string());
            let result = world.call().await;
            let case = format!("{shape} {primary} {secondary} {expires} {service}: {result}");
            let asked = world.asked_for_tokens();
            match outcome {
                Ok((token, grant)) => {
                    assert_eq!(result["Response"]["by"], format!("Bearer {token}"), "{case}");
                    let used =
                        asked.first().and_then(|request| request.form("grant_type")).unwrap_or_default();
                    assert_eq!(used, grant, "{case}");
                }
                Err(error) => {
                    assert!(result["_error"].as_str().unwrap().starts_with(error), "{case}");
                    assert_eq!(
                        (&result["Response"], &result["Headers"]),
                        (&Json::Null, &json!({})),
                        "{case}"
                    );
                    assert!(asked.is_empty(), "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn d20_a_renewal_is_written_back_in_its_shape_without_secrets() {
    for shape in ["new", "old"] {
        let world = World::new().await;
        let record = world.record(shape, "stale", "r-secret", BEFORE, "google");
        world.suite.managed.put("con", &record.to_string());
        world.call().await;
        let asked = &world.asked_for_tokens()[0];
        assert_eq!(asked.form("refresh_token").as_deref(), Some("r-secret"));
        assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
        let (kept, data) =
            (world.kept(), if shape == "new" { world.kept()["auth_data"].clone() } else { world.kept() });
        assert_eq!(
            (&data["primary"], &data["secondary"]),
            (&json!("new-token-1"), &json!("refresh-token-1"))
        );
        assert!(data["expires_in"].as_str().unwrap().parse::<i64>().unwrap() > 1_700_000_000_000);
        let settings = if shape == "new" { &kept["auth_settings"] } else { &kept["oauth_info"] };
        assert_eq!(settings["clientSecret"], "{{KEY(client-secret)}}");
        assert!(!kept.to_string().contains("the client's secret"));
        assert_eq!(world.suite.managed.keys(), ["con"], "the lock is let go");
        let told = world.suite.kept.lock().clone();
        for secret in ["stale", "r-secret", "new-token-1", "refresh-token-1"] {
            assert!(told.iter().any(|known| known == secret), "{secret} is not kept out of what is written");
        }
    }
}

#[tokio::test]
async fn d20_many_who_need_a_token_renew_it_once() {
    let world = World::new().await;
    let record = world.record("new", "stale", "r-secret", BEFORE, "google");
    world.suite.managed.put("con", &record.to_string());
    let results = futures::future::join_all((0..8).map(|_| world.call())).await;
    for result in results {
        assert_eq!(result["Response"]["by"], "Bearer new-token-1", "{result}");
    }
    assert_eq!(world.asked_for_tokens().len(), 1);
}

#[tokio::test]
async fn d20_a_refused_token_is_renewed_once_and_the_call_made_again() {
    let world = World::new().await;
    world.suite.managed.put("con", &world.record("new", "revoked", "r", LATER, "google").to_string());
    let result = world.call().await;
    assert_eq!(result["Response"]["by"], "Bearer new-token-1", "{result}");
    assert_eq!(result["Response"]["body"], "{\"x\":\"v\"}");
    let paths: Vec<String> = world.api.seen().iter().map(|request| request.path().to_owned()).collect();
    assert_eq!(paths, ["/api", "/token", "/api"]);
    // Without a way to another token the refusal stands.
    let world = World::new().await;
    world.suite.managed.put("con", &world.record("new", "revoked", "", "", "google").to_string());
    let result = world.call().await;
    assert_eq!((&result["Status"], world.api.seen().len()), (&json!(401), 1), "{result}");
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_is_told_without_what_was_sent() {
    let world = World::new().await;
    let mut record = world.record("new", "stale", "r-secret", BEFORE, "google");
    record["auth_settings"]["tokenURL"] = json!(format!("{}/broken", world.api.url()));
    world.suite.managed.put("con", &record.to_string());
    let result = world.call().await;
    assert_eq!(result["_error"], "Failed to refresh access token. invalid_grant (400)");
    assert_eq!(world.kept()["auth_data"]["secondary"], "r-secret", "nothing is lost");
    record["auth_settings"]["tokenURL"] = json!("http://169.254.169.254/token");
    world.suite.managed.put("con", &record.to_string());
    let result = world.call().await;
    assert!(result["_error"].as_str().unwrap().contains("egress policy"), "{result}");
    world.suite.managed.put("con", "not json: top-secret");
    let result = world.call().await;
    let error = result["_error"].as_str().unwrap();
    assert!(error.starts_with("Failed to parse retrieved tokens: Error: ") && !error.contains("top-secret"));
}

#[tokio::test]
async fn an_applications_own_credentials_need_no_login() {
    let world = World::new().await;
    let own = json!({"oauthService": "OAuth2 Client Credentials", "tokenURL": format!("{}/token", world.api.url()),
        "clientID": "app", "clientSecret": "{{KEY(client-secret)}}", "scope": "read"});
    for _ in 0..2 {
        let result = world.call_with(own.clone()).await;
        assert_eq!(result["Response"]["by"], "Bearer new-token-1", "{result}");
    }
    assert_eq!(world.asked_for_tokens()[0].form("scope").as_deref(), Some("read"));
    assert_eq!(world.suite.managed.keys(), ["OAUTH_C_TOKENS"]);
    assert!(!world.suite.managed.read("OAUTH_C_TOKENS").unwrap().contains("the client's secret"));
    let missing =
        json!({"oauthService": "oauth2_client_credentials", "oauth_con_id": "none", "clientID": "app"});
    let result = world.call_with(missing).await;
    assert_eq!(
        result["_error"],
        "Failed to refresh access token: Missing client_id, client_secret OR token_url"
    );
    let never = world.call_with(json!({"oauth_con_id": "never"})).await;
    assert!(never["_error"].as_str().unwrap().contains("Please authenticate"), "{never}");
}

#[tokio::test]
async fn oauth1_calls_are_signed_and_win_over_a_header_of_the_author() {
    let world = World::new().await;
    let record = json!({"auth_data": {"primary": "tok", "secondary": "tok-secret", "expires_in": ""},
        "auth_settings": {"type": "oauth", "consumerKey": "ck", "consumerSecret": "{{KEY(client-secret)}}"}});
    world.suite.managed.put("con", &record.to_string());
    let more = json!({"oauth_con_id": "con", "body": "{\"a\":1}", "headers": {"Authorization": "Basic own"}});
    let result = world.call_with(more).await;
    let signed = result["Response"]["by"].as_str().unwrap();
    for field in [
        "oauth_consumer_key=\"ck\"",
        "oauth_token=\"tok\"",
        "oauth_signature=\"",
        "oauth_body_hash=\"n4nHQM60bXQYySSnisV5QdXpZSA%3D\"",
    ] {
        assert!(signed.contains(field), "{signed}");
    }
    assert_eq!(world.asked_for_tokens().len(), 0);
}
