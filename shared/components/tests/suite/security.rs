//! What nobody may do through any component: reach inner addresses, blow up an answer, add headers or requests, have
//! request data expanded, see a secret.
//!
//! Every type of the registry is in one of two tables here, so that a new one that takes an address cannot be
//! forgotten.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use sre_components::context::web::Scraper;
use sre_components::egress::{Client, Limits, Policy};
use sre_components::registry;
use sre_engine::RequestData;

use crate::context::Suite;
use crate::driver::{Agent, lone, result_of};
use crate::fake::{Fake, Reply};
use crate::world::places;

mod uses;

use uses::{NONE, url};
pub use uses::{USES, Use};

#[test]
fn every_type_is_looked_at() {
    let known: BTreeSet<&str> =
        USES.iter().map(|known| known.type_name).chain(NONE.iter().copied()).collect();
    let built: BTreeSet<&str> = registry().specs().map(|spec| spec.name).collect();
    let missing: Vec<_> = built.difference(&known).collect();
    assert!(
        missing.is_empty(),
        "{missing:?}: does it take an address, from its settings, its inputs or the configuration? Add each way to \
         USES, or its name to NONE"
    );
}

const KEYS: &[(&str, &str)] = &[
    ("hf", "secret-of-hf-0001"),
    ("zapier", "secret-of-zapier-0001"),
    ("tavily", "secret-of-tavily-0001"),
    ("scrapfly", "secret-of-scrapfly-0001"),
];

/// Runs one use against an address, and gives what anybody could see of it.
pub async fn seen(used: &Use, client: Client, to: &str) -> String {
    let suite = Suite::with_client(client, KEYS);
    let mut configured = places("http://203.0.114.1", Scraper::Auto);
    if let Some(place) = used.place {
        place(&mut configured, to);
    }
    *suite.places.lock() = configured;
    if let Some(tokens) = used.tokens {
        suite.managed.put("con", &tokens(to).to_string());
    }
    let (settings, body) = (used.leads)(to);
    shown(&suite, used.type_name, settings, body).await
}

async fn shown(suite: &Arc<Suite>, type_name: &str, settings: Json, body: Json) -> String {
    let kind = if type_name == "FHash" { "Binary" } else { "Any" };
    let inputs: Vec<Json> =
        body.as_object().unwrap().keys().map(|name| json!({"name": name, "type": kind})).collect();
    let document = lone(type_name, settings, Json::Array(inputs), json!([{"name": "Out", "default": true}]));
    // A model's tools are opened by the turn that the component asks for.
    let has_tools = registry().component(type_name).unwrap().toolbox().is_some();
    let result = match has_tools {
        true => {
            let agent = Agent::new(&document, suite.clone());
            json!({"opened": agent.open_tools(RequestData::post("/api/e", body.into())).await})
        }
        false => result_of(suite, &document, body).await,
    };
    let logged = suite.logged.lock().join("\n");
    format!("{result}\n{logged}")
}

pub fn client(allow: &[&str]) -> Client {
    let names = |name: &str| -> Vec<IpAddr> {
        match name {
            "inner.example" | "localhost" => vec!["127.0.0.1".parse().unwrap()],
            "mapped.example" => vec!["::ffff:10.0.0.1".parse().unwrap()],
            "metadata.example" => vec!["169.254.169.254".parse().unwrap()],
            _ => vec![],
        }
    };
    Client::with_names(Policy::new(allow).unwrap(), Limits::default(), names).unwrap()
}

#[tokio::test]
async fn d17_no_inner_address_is_reached_by_any_way() {
    let inside = Fake::start(|_| Reply::json(200, &json!({"inside": "the treasure"}))).await;
    let port = inside.address.port();
    let mut hostile: Vec<String> = [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "inner.example",
        "user@127.0.0.1",
        "①②⑦.0.0.1",
    ]
    .iter()
    .map(|host| format!("http://{host}:{port}/"))
    .collect();
    hostile.extend(
        [
            "http://169.254.169.254/latest/meta-data/",
            "http://metadata.example/",
            "http://mapped.example/",
            "http://10.0.0.1/",
            "http://192.168.0.1/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "https://100.64.0.1/",
        ]
        .map(str::to_owned),
    );
    for used in USES {
        for address in &hostile {
            let seen = seen(used, client(&[]), address).await;
            let case = format!("{} by {} to {address}: {seen}", used.type_name, used.way);
            // A typed input takes only what looks like a whole address for one; the rest is text, which is hashed.
            let stays_text = [
                ("FHash", "\"Hash\""),
                ("FileStore", "\"Url\""),
                ("DataSourceIndexer", "\"result\":true"),
                ("DocumentExtractor", "\"Text\""),
            ];
            let is_text = stays_text.iter().any(|(name, out)| used.type_name == *name && seen.contains(out));
            assert!(is_text || seen.contains("is not allowed by the egress policy"), "{case}");
        }
    }
    assert!(inside.seen().is_empty(), "{:?}", inside.seen());
}

#[tokio::test]
async fn d17_no_redirect_leads_inside() {
    let inside = Fake::start(|_| Reply::json(200, &json!({"inside": "the treasure"}))).await;
    let to = format!("http://inner.example:{}/", inside.address.port());
    let outside = Fake::start(move |_| Reply::new(302, "text/plain", "").with("location", &to)).await;
    for used in USES {
        let seen = seen(used, client(&[&outside.address.to_string()]), &outside.url()).await;
        // A redirected POST of tokens becomes a GET like any other: the address is what counts.
        let stays = used.type_name == "MCPClient" && seen.contains("HTTP 302");
        assert!(
            stays || seen.contains("is not allowed by the egress policy"),
            "{} by {}: {seen}",
            used.type_name,
            used.way
        );
    }
    assert!(inside.seen().is_empty(), "{:?}", inside.seen());
}

#[tokio::test]
async fn what_is_no_address_of_the_web_is_refused() {
    for used in USES.iter().filter(|used| {
        used.place.is_none()
            && !["FHash", "FileStore", "DataSourceIndexer", "DocumentExtractor"].contains(&used.type_name)
    }) {
        for address in ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/"] {
            let seen = seen(used, client(&[]), address).await;
            let refused = ["Unsupported protocol", "begins with http:// or https://"];
            let is_refused = refused.iter().any(|message| seen.contains(message));
            assert!(is_refused, "{} by {}: {seen}", used.type_name, used.way);
        }
    }
}

#[tokio::test]
async fn no_value_adds_a_header_or_a_request() {
    let server = Fake::start(|request| {
        Reply::json(200, &json!({"line": request.target, "headers": request.headers, "results": []}))
    })
    .await;
    let suite = Suite::with_vault(
        &[server.address.to_string()],
        &[("hf", "a\r\nX-Evil: 1"), ("zapier", "a\nX-Evil: 1"), ("tavily", "a\r\n\r\nGET /evil HTTP/1.1")],
    );
    *suite.places.lock() = places(&server.url(), Scraper::Local);
    let evil = "v\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1\r\n";
    let url = server.url();
    for (name, settings, body, error) in [
        (
            "APICall",
            json!({"method": "GET", "url": url, "headers": {"X-A": "{{x}}"}}),
            json!({"x": evil}),
            "Invalid character in header content",
        ),
        (
            "APICall",
            json!({"method": "GET", "url": url, "headers": {"{{x}}": "1"}}),
            json!({"x": evil}),
            "Header name must be a valid HTTP token",
        ),
        ("APICall", json!({"method": "GET", "url": format!("{url}/?q={{{{x}}}}")}), json!({"x": evil}), ""),
        (
            "APICall",
            json!({"method": "POST", "url": url, "contentType": "multipart/form-data",
            "body": "{\"f\":\"{{x}}\"}"}),
            json!({"x": evil}),
            "",
        ),
        (
            "APICall",
            json!({"method": "POST", "url": url, "body": "b", "contentType": "text/plain",
            "headers": {"Transfer-Encoding": "chunked", "Content-Length": "1", "Connection": "x"}}),
            json!({"x": 1}),
            "",
        ),
        ("WebScrape", json!({"format": "raw"}), json!({"URLs": format!("{url}/a\r\nX-Evil: 1")}), ""),
        ("TavilyWebSearch", json!({}), json!({"SearchQuery": "q"}), "no header can carry"),
        (
            "HuggingFace",
            json!({"accessToken": "{{KEY(hf)}}", "modelName": "m", "modelTask": "fill-mask"}),
            json!({"Text": "t"}),
            "no header can carry",
        ),
        (
            "ZapierAction",
            json!({"actionName": "n", "actionId": "i", "apiKey": "{{KEY(zapier)}}"}),
            json!({"x": 1}),
            "no header can carry",
        ),
    ] {
        let shown = shown(&suite, name, settings.clone(), body).await;
        assert!(shown.contains(error), "{name} {settings}: {shown}");
    }
    for request in server.seen() {
        assert_ne!(request.path(), "/evil");
        for (name, value) in &request.headers {
            assert!(name != "x-evil" && name != "transfer-encoding", "{name}: {value}");
        }
        let declared = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        assert_eq!(declared, request.body.len());
    }
    assert!(server.seen().len() >= 4, "{}", server.seen().len());
}

/// A value of request data is text, whatever it looks like: no vault key, no variable comes of it.
#[tokio::test]
async fn request_data_is_never_a_template() {
    let server = Fake::start(|_| Reply::json(200, &json!({"results": []}))).await;
    let suite = Suite::with_vault(&[server.address.to_string()], KEYS);
    *suite.places.lock() = places(&server.url(), Scraper::Local);
    let hostile = "<{{KEY(my-key)}}|{{secret}}|{{x}}|{{KEY(hf)}}>";
    let url = server.url();
    let forms = [
        (
            "APICall",
            json!({"method": "POST", "url": format!("{url}/{{{{x}}}}?q={{{{x}}}}"), "headers": {"X-A": "{{x}}"},
            "contentType": "application/json", "body": "{\"v\":\"{{x}}\",\"w\":{{x}}}"}),
            json!({"x": hostile}),
        ),
        (
            "APICall",
            json!({"method": "POST", "url": url, "contentType": "application/xml", "body": "<a>{{x}}</a>"}),
            json!({"x": hostile}),
        ),
        (
            "APICall",
            json!({"method": "POST", "url": url, "contentType": "multipart/form-data",
            "body": "{\"f\":\"{{x}}\"}"}),
            json!({"x": hostile}),
        ),
        (
            "APICall",
            json!({"method": "POST", "url": url, "contentType": "application/x-www-form-urlencoded",
            "body": "a={{x}}"}),
            json!({"x": hostile}),
        ),
        ("TavilyWebSearch", json!({}), json!({"SearchQuery": hostile})),
        ("WebScrape", json!({}), json!({"URLs": format!("{url}/?{hostile}")})),
        (
            "HuggingFace",
            json!({"accessToken": "{{KEY(hf)}}", "modelName": "m", "modelTask": "fill-mask",
            "parameters": "{\"p\":\"{{Text}}\"}"}),
            json!({"Text": hostile}),
        ),
        (
            "ZapierAction",
            json!({"actionName": "n", "actionId": "i", "apiKey": "{{KEY(zapier)}}"}),
            json!({"x": hostile}),
        ),
    ];
    for (name, settings, body) in forms {
        let before = server.seen().len();
        shown(&suite, name, settings.clone(), body).await;
        let sent = &server.seen()[before..];
        assert_eq!(sent.len(), 1, "{name} {settings}");
        let text =
            format!("{} {:?} {}", sent[0].target, sent[0].headers, String::from_utf8_lossy(&sent[0].body));
        let text = percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned();
        assert!(!text.contains("Hello vault"), "{name}: {text}");
        assert!(text.contains("KEY(my-key)"), "{name}: {text}");
        let body = String::from_utf8_lossy(&sent[0].body).into_owned();
        assert!(!body.contains("secret-of-hf"), "{name}: {body}");
    }
}

/// Whatever fails: neither the answer nor the log shows a key.
#[tokio::test]
async fn no_failure_shows_a_secret() {
    let server = Fake::start(|_| Reply::json(500, &json!({"error": "broken"}))).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for used in USES {
        let allow = [server.address.to_string(), closed.to_string()];
        let allow: Vec<&str> = allow.iter().map(String::as_str).collect();
        for to in [server.url(), format!("http://{closed}"), "http://127.0.0.1:1".to_owned()] {
            let shown = seen(used, client(&allow), &to).await;
            assert!(!shown.contains("secret-of"), "{} by {}: {shown}", used.type_name, used.way);
        }
    }
}

/// The triggers that reach out do so under the same policy.
#[tokio::test]
async fn d17_no_trigger_reaches_an_inner_address() {
    let suite = Suite::with_client(client(&[]), &[]);
    let mut configured = places("http://203.0.114.1", Scraper::Auto);
    configured.google = url("http://169.254.169.254/");
    configured.graph = url("http://169.254.169.254/");
    *suite.places.lock() = configured;
    suite.managed.put("mail", r#"{"primary":"t","expires_in":"9999999999999"}"#);
    for refused in [crate::triggers::asked_gmail(&suite).await, crate::triggers_register::asked(&suite).await]
    {
        assert!(refused.contains("is not allowed by the egress policy"), "{refused}");
    }
}
