//! OAuth against a real provider (`oidc-provider` from npm): `SRE_TEST_OIDC` names it, `tests/stages/oidc.sh` starts it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use sre_components::egress::{Client, Limits, Policy, Request, Response};
use sre_components::oauth::code::{Application, Grant};
use sre_components::oauth::record::Record;

use crate::context::Suite;
use crate::driver::{lone, result_of};

/// The provider; none where no server was asked for.
fn provider() -> Option<String> {
    let found = std::env::var("SRE_TEST_OIDC").ok().filter(|url| !url.is_empty());
    let required = std::env::var("SRE_TEST_REQUIRE").is_ok_and(|value| value == "1");
    assert!(found.is_some() || !required, "SRE_TEST_OIDC is not set: tests/stages/oidc.sh start DIR");
    found
}

fn client() -> Client {
    Client::new(Policy::new(&["127.0.0.1"]).unwrap(), Limits::default()).unwrap()
}

/// A browser that keeps cookies and follows redirects, up to the application's own address.
async fn granted(start: &url::Url, redirect: &str) -> String {
    let (mut url, mut cookies) = (start.clone(), BTreeMap::new());
    for _ in 0..10 {
        let mut request = Request::new(http::Method::GET, url.clone());
        let jar: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !jar.is_empty() {
            request.headers.insert("cookie", jar.join("; ").parse().unwrap());
        }
        let answer: Response = client().send_once(request, Duration::from_secs(10)).await.unwrap();
        for cookie in answer.headers.get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        let to = answer.headers.get("location").map(|to| to.to_str().unwrap());
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        let to = to.unwrap_or_else(|| panic!("{} leads nowhere: {body}", answer.status));
        url = url.join(to).unwrap();
        if url.as_str().starts_with(redirect) {
            return url.query().unwrap().to_owned();
        }
    }
    panic!("the provider redirects for ever");
}

struct World {
    provider: String,
    suite: Arc<Suite>,
}

impl World {
    fn new() -> Option<Self> {
        let provider = provider()?;
        let keys = [("app-secret", "a secret of the app"), ("service-secret", "a secret of the service")];
        Some(Self { suite: Suite::with_client(client(), &keys), provider })
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.provider)
    }

    /// The dance: what it makes is kept under `con`.
    async fn login(&self) {
        let application = Application {
            authorize_url: self.at("/auth").parse().unwrap(),
            token_url: self.at("/token").parse().unwrap(),
            client_id: "app".into(),
            client_secret: "a secret of the app".into(),
            scope: "openid offline_access".into(),
        };
        let redirect = "http://127.0.0.1:1/callback";
        let grant = Grant::new(redirect);
        let query = granted(&grant.url(&application), redirect).await;
        let code = grant.code(&query).unwrap();
        let settings = json!({"type": "oauth2", "service": "oidc", "tokenURL": self.at("/token"), "clientID": "app",
            "clientSecret": "{{KEY(app-secret)}}"});
        let mut record = Record::new(settings.as_object().unwrap().clone(), "default");
        grant.redeem(&client(), &application, code.clone(), &mut record).await.unwrap();
        assert!(!record.primary().is_empty() && !record.secondary().is_empty());
        self.suite.managed.put("con", std::str::from_utf8(&record.to_bytes()).unwrap());
        // A code is good once, and only with its verifier.
        let again = Grant::new(redirect).redeem(&client(), &application, code, &mut record).await;
        assert!(again.unwrap_err().contains("invalid_grant"));
    }

    async fn me(&self) -> Json {
        let settings = json!({"method": "GET", "url": self.at("/me"), "oauth_con_id": "con"});
        let document = lone("APICall", settings, json!([{"name": "x"}]), json!([]));
        result_of(&self.suite, &document, json!({"x": 1})).await
    }

    fn record(&self) -> Json {
        serde_json::from_str(&self.suite.managed.read("con").unwrap()).unwrap()
    }

    fn change(&self, name: &str, value: &str) {
        let mut record = self.record();
        record["auth_data"][name] = json!(value);
        self.suite.managed.put("con", &record.to_string());
    }
}

#[tokio::test]
async fn a_person_grants_access_and_it_is_renewed_again_and_again() {
    let Some(world) = World::new() else { return };
    world.login().await;
    assert_eq!(world.me().await["Response"]["sub"], "alice");
    // Over: renewed, by a refresh token that changes each time.
    for _ in 0..3 {
        let before = world.record();
        world.change("expires_in", "1000");
        let me = world.me().await;
        assert_eq!(me["Response"]["sub"], "alice", "{me}");
        let after = world.record();
        assert_ne!(before["auth_data"]["primary"], after["auth_data"]["primary"]);
        assert_ne!(before["auth_data"]["secondary"], after["auth_data"]["secondary"]);
    }
    // Refused by the server though it does not look so.
    world.change("primary", "no-token-of-theirs");
    let me = world.me().await;
    assert_eq!(me["Response"]["sub"], "alice", "{me}");
    assert!(!world.record().to_string().contains("a secret of the app"));
}

/// The provider takes a refresh token that is used twice for stolen, and ends the whole grant.
#[tokio::test]
async fn d20_many_runs_do_not_use_a_refresh_token_twice() {
    let Some(world) = World::new() else { return };
    world.login().await;
    for _ in 0..3 {
        world.change("expires_in", "1000");
        for me in futures::future::join_all((0..10).map(|_| world.me())).await {
            assert_eq!(me["Response"]["sub"], "alice", "{me}");
        }
    }
}

#[tokio::test]
async fn an_application_uses_its_own_credentials() {
    let Some(world) = World::new() else { return };
    let settings = json!({"method": "GET", "url": world.at("/.well-known/openid-configuration"),
        "oauthService": "OAuth2 Client Credentials", "tokenURL": world.at("/token"), "clientID": "service",
        "clientSecret": "{{KEY(service-secret)}}", "scope": "run"});
    let document = lone("APICall", settings.clone(), json!([{"name": "x"}]), json!([]));
    let result = result_of(&world.suite, &document, json!({"x": 1})).await;
    assert_eq!(result["Status"], 200, "{result}");
    let kept: Json = serde_json::from_str(&world.suite.managed.read("OAUTH_C_TOKENS").unwrap()).unwrap();
    assert!(!kept["auth_data"]["primary"].as_str().unwrap().is_empty());
    let mut wrong = settings;
    wrong["clientSecret"] = json!("{{KEY(app-secret)}}");
    wrong["oauth_con_id"] = json!("other");
    let document = lone("APICall", wrong, json!([{"name": "x"}]), json!([]));
    let result = result_of(&world.suite, &document, json!({"x": 1})).await;
    assert_eq!(result["_error"], "Failed to refresh access token. invalid_client (401)");
}

/// An MCP server that lets in whom the provider knows by their token.
async fn guarded(provider: String) -> (String, tokio::task::JoinSet<()>) {
    use axum::extract::Request;
    use axum::response::{IntoResponse as _, Response};
    let answer = async move |request: Request| -> Response {
        let header = request.headers().get("authorization").cloned();
        let token = header.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let known = reqwest::Client::new().get(format!("{provider}/me")).header("authorization", &token);
        if !known.send().await.unwrap().status().is_success() {
            return (http::StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer")]).into_response();
        }
        if request.method() != http::Method::POST {
            return http::StatusCode::METHOD_NOT_ALLOWED.into_response();
        }
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let message: Json = serde_json::from_slice(&body).unwrap();
        match crate::mcp_oauth::answer(&message, &token) {
            Some((status, answer)) => {
                (http::StatusCode::from_u16(status).unwrap(), axum::Json(answer)).into_response()
            }
            None => http::StatusCode::ACCEPTED.into_response(),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap() });
    (url, serving)
}

#[tokio::test]
async fn an_mcp_server_is_called_with_what_a_person_granted() {
    let Some(world) = World::new() else { return };
    world.login().await;
    let (url, _serving) = guarded(world.provider.clone()).await;
    let settings = json!({"mcpUrl": url, "name": "", "oauth_con_id": "con"});
    let opened = crate::tools::open(&world.suite, "MCPClient", settings).await.unwrap();
    let first = opened.call("whoami", json!({})).await;
    assert!(!first.failed && first.text.starts_with("Bearer "), "{first:?}");
    // A connection that is made anew renews what is over.
    opened.tools.close().await;
    world.change("expires_in", "1000");
    let second = opened.call("whoami", json!({})).await;
    assert!(!second.failed && second.text != first.text, "{second:?}");
    opened.tools.close().await;
}
