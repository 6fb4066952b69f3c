//! MCPClient at servers that take tokens of OAuth 2: of a connection in the managed vault, or of the application's own
//! credentials. The same with a real provider where one runs (`SRE_TEST_OIDC`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use crate::context::Suite;
use crate::fake::{Fake, Reply};
use crate::mock_http::Received;
use crate::tools::open;

const LATER: &str = "9999999999999";

/// What a server of the protocol answers, without sessions and in JSON: one tool, which says by which token it was
/// called. None where a message wants no answer.
pub fn answer(message: &Json, token: &str) -> Option<(u16, Json)> {
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({"protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}}, "serverInfo": {"name": "guarded", "version": "1"}}),
        "tools/list" => json!({"tools": [{"name": "whoami", "description": "says who calls",
            "inputSchema": {"type": "object", "properties": {}}}]}),
        "tools/call" => json!({"content": [{"type": "text", "text": token}]}),
        told if told.starts_with("notifications/") => return None,
        _ => {
            let error = json!({"code": -32601, "message": "Method not found"});
            return Some((400, json!({"jsonrpc": "2.0", "id": message["id"], "error": error})));
        }
    };
    Some((200, json!({"jsonrpc": "2.0", "id": message["id"], "result": result})))
}

struct World {
    server: Fake,
    suite: Arc<Suite>,
    good: Arc<Mutex<Vec<String>>>,
}

impl World {
    async fn new() -> Self {
        let good: Arc<Mutex<Vec<String>>> = Arc::default();
        let (known, granted) = (good.clone(), AtomicUsize::new(0));
        let server = Fake::start(move |request| match request.path() {
            "/token" => {
                let token = format!("granted-token-{}", granted.fetch_add(1, Ordering::SeqCst) + 1);
                known.lock().push(token.clone());
                Reply::json(200, &json!({"access_token": token, "refresh_token": "next", "expires_in": 3600}))
            }
            _ => guarded(request, &known.lock()),
        })
        .await;
        let suite =
            Suite::with_vault(&[server.address.to_string()], &[("client-secret", "the client's secret")]);
        Self { server, suite, good }
    }

    fn keep(&self, primary: &str, secondary: &str) {
        let record = json!({"auth_data": {"primary": primary, "secondary": secondary, "expires_in": LATER},
            "auth_settings": {"type": "oauth2", "service": "any", "tokenURL": format!("{}/token", self.server.url()),
                "clientID": "app", "clientSecret": "{{KEY(client-secret)}}"}});
        self.suite.managed.put("con", &record.to_string());
    }

    fn settings(&self, more: Json) -> Json {
        let mut settings = json!({"mcpUrl": format!("{}/mcp", self.server.url()), "name": ""});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    }

    fn tokens_asked_for(&self) -> Vec<Received> {
        self.server.seen().into_iter().filter(|request| request.path() == "/token").collect()
    }
}

fn guarded(request: &Received, good: &[String]) -> Reply {
    let token = request.header("authorization").unwrap_or_default().trim_start_matches("Bearer ");
    if !good.iter().any(|known| known == token) {
        return Reply::new(401, "text/plain", "").with("www-authenticate", "Bearer error=\"invalid_token\"");
    }
    if request.method != "POST" {
        return Reply::new(405, "text/plain", "");
    }
    match answer(&request.json(), token) {
        Some((status, answer)) => Reply::json(status, &answer),
        None => Reply::new(202, "text/plain", ""),
    }
}

#[tokio::test]
async fn the_token_of_the_connection_goes_with_every_request() {
    let world = World::new().await;
    world.good.lock().push("good-token".into());
    world.keep("good-token", "");
    let settings = world.settings(json!({"oauth_con_id": "con"}));
    let opened = open(&world.suite, "MCPClient", settings).await.unwrap();
    assert_eq!(opened.call("whoami", json!({})).await.text, "good-token");
    opened.tools.close().await;
    let of_server: Vec<Received> = world.server.seen();
    assert!(of_server.iter().all(|request| request.header("authorization") == Some("Bearer good-token")));
    assert!(world.suite.kept.lock().iter().any(|secret| secret == "good-token"), "it is kept out of logs");
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_and_the_tool_called_once_more() {
    let world = World::new().await;
    world.keep("revoked", "refresh");
    let settings = world.settings(json!({"oauth_con_id": "con"}));
    // Refused in the handshake.
    let opened = open(&world.suite, "MCPClient", settings).await.unwrap();
    assert_eq!(opened.call("whoami", json!({})).await.text, "granted-token-1");
    // Refused while the talk goes on.
    world.good.lock().clear();
    let again = opened.call("whoami", json!({})).await;
    assert_eq!((again.text.as_str(), again.failed), ("granted-token-2", false));
    assert_eq!(opened.call("whoami", json!({})).await.text, "granted-token-2");
    opened.tools.close().await;
    let asked = world.tokens_asked_for();
    let refreshed: Vec<Option<String>> = asked.iter().map(|request| request.form("refresh_token")).collect();
    assert_eq!(refreshed, [Some("refresh".to_owned()), Some("next".to_owned())]);
}

#[tokio::test]
async fn an_applications_own_credentials_need_no_login() {
    let world = World::new().await;
    let own = json!({"oauthService": "OAuth2 Client Credentials", "clientID": "app", "scope": "tools",
        "tokenURL": format!("{}/token", world.server.url()), "clientSecret": "{{KEY(client-secret)}}"});
    let opened = open(&world.suite, "MCPClient", world.settings(own)).await.unwrap();
    assert_eq!(opened.call("whoami", json!({})).await.text, "granted-token-1");
    opened.tools.close().await;
    let asked = &world.tokens_asked_for()[0];
    assert_eq!(asked.form("grant_type").as_deref(), Some("client_credentials"));
    assert_eq!(asked.form("scope").as_deref(), Some("tools"));
}

#[tokio::test]
async fn what_keeps_it_from_a_token_is_said() {
    let world = World::new().await;
    let con = world.settings(json!({"oauth_con_id": "con"}));
    let error =
        async |settings: &Json| open(&world.suite, "MCPClient", settings.clone()).await.err().unwrap();
    assert!(error(&con).await.contains("Please authenticate"));
    world.keep("revoked", "");
    assert!(error(&con).await.contains("wants credentials (401)"));
    let signs = json!({"auth_data": {"primary": "t", "secondary": "s"}, "auth_settings": {"type": "oauth"}});
    world.suite.managed.put("con", &signs.to_string());
    assert!(error(&con).await.contains("OAuth 1.0a"));
    assert!(error(&world.settings(json!({}))).await.contains("name a connection in `oauth_con_id`"));
    assert!(world.tokens_asked_for().is_empty());
}
