//! A process that dies while an effect is under way: the next one repeats it under the same key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};
use sre_proto::gateway::v1::RunState;
use sre_proto::gateway::v1::run_event::Event;
use tokio::task::JoinSet;

use crate::harness::agents::{api_call, document, endpoint, output};
use crate::harness::clients::json as parsed;
use crate::harness::http_server::HttpServer;
use crate::harness::{Mode, Options, Suite, eventually};

const AGENT: &str = "teams/default/agents/interrupted";

/// Keys of the requests that came, in order.
type Keys = Arc<Mutex<Vec<String>>>;

/// A server that never answers its first request, and each later one at once.
struct Holding {
    address: String,
    keys: Keys,
    _serving: JoinSet<()>,
}

impl Holding {
    async fn start() -> Self {
        let keys = Keys::default();
        let router = Router::new().fallback(hold_the_first).with_state(Arc::clone(&keys));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, keys, _serving: serving }
    }

    fn keys(&self) -> Vec<String> {
        self.keys.lock().unwrap().clone()
    }
}

async fn hold_the_first(State(keys): State<Keys>, headers: HeaderMap) -> Json<Value> {
    let key = headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let number = {
        let mut keys = keys.lock().unwrap();
        keys.push(key.unwrap_or_default());
        keys.len()
    };
    if number == 1 {
        std::future::pending::<()>().await;
    }
    Json(json!({ "number": number }))
}

/// Posts to a server that answers, then to one that holds the request; the second needs the first.
fn interrupted(server: &HttpServer, holding: &Holding) -> Value {
    let body = json!({ "text": "{{text}}" });
    document(
        "interrupted",
        json!({}),
        &[
            endpoint("go", "POST", &[("text", "Text")]),
            api_call("first", &server.url("/first"), json!({}), body.clone(), &["text"]),
            api_call(
                "held",
                &format!("http://{}/held", holding.address),
                json!({}),
                body,
                &["text", "after"],
            ),
            output("answer", &["first", "held"]),
        ],
        &[
            "go.text > first.text",
            "go.text > held.text",
            "first.Response > held.after",
            "first.Response > answer.first",
            "held.Response > answer.held",
        ],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_effect_is_repeated_under_its_key() {
    let (server, holding) = (HttpServer::start().await, Holding::start().await);
    let options = Options::default()
        .set("egress.allow", format!("[\"{}\", \"{}\"]", server.address(), holding.address))
        .set("journal.session_ttl_ms", 2_000);
    let mut suite = Suite::start("takeover-effect", Mode::AllInOne, options.clone()).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &interrupted(&server, &holding)).await.unwrap();
    let run = dev.start(AGENT, "go", &json!({ "text": "far" })).await.unwrap();
    let held = async || (!holding.keys().is_empty()).then_some(());
    eventually("the second effect starts", Duration::from_secs(10), held).await;
    suite.crash();
    drop(suite);

    let suite = Suite::start("takeover-effect", Mode::AllInOne, options.again()).await;
    let dev = suite.client("user/dev");
    let watched = tokio::time::timeout(Duration::from_secs(30), dev.watch(&run.name)).await;
    let events = watched.expect("the run ends").unwrap();
    let ended = dev.get_run(&run.name).await.unwrap();
    assert_eq!(ended.state(), RunState::Done, "{ended:?}");
    let answer = parsed(&ended.legacy_json);
    assert_eq!(answer["first"]["count"], 1, "{answer}");
    assert_eq!(answer["held"], json!({ "number": 2 }), "{answer}");

    // The finished effect was not repeated; the other was, once, and its server can tell.
    assert_eq!(server.seen("/first").len(), 1);
    let keys = holding.keys();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(!keys[0].is_empty(), "the effect carries no key");
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], server.seen("/first")[0].header("idempotency-key"));

    // Who watches from the beginning sees each component once, and what was started again.
    for id in ["first", "held"] {
        let finished =
            |event: &Event| matches!(event, Event::ComponentFinished(done) if done.component == id);
        let times =
            events.iter().filter_map(|event| event.event.as_ref()).filter(|event| finished(event)).count();
        assert_eq!(times, 1, "{id}: {events:?}");
    }
    let restarted: Vec<&str> = events
        .iter()
        .filter_map(|event| match event.event.as_ref() {
            Some(Event::ActivationRestarted(restarted)) => {
                Some(restarted.components.iter().map(String::as_str))
            }
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(restarted.len(), 1, "{events:?}");
    assert!(restarted[0].contains("held"), "{restarted:?}");
    suite.stop().await;
}
