//! Events of runs over HTTP, in the reference's words: from the beginning, from a place in the middle, and on a
//! monitor that a call names.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use sre_proto::gateway::v1::RunState;

use crate::harness::agents::hasher;
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(sse);

const AGENT: &str = "teams/default/agents/hasher";
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/// An event as it came.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    event: String,
    id: String,
    data: String,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn is(&self, event: &str, action: &str) -> bool {
        self.event == event && self.json()["action"] == action
    }
}

/// Reads a stream's text.
fn told(text: &str) -> Vec<Told> {
    let frame = |frame: &str| {
        let field = |name: &str| {
            let lines = frame.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            lines.collect::<Vec<_>>().join("\n")
        };
        let told = Told { event: field("event"), id: field("id"), data: field("data") };
        (!told.event.is_empty()).then_some(told)
    };
    text.split("\n\n").filter_map(frame).collect()
}

async fn sse(mode: Mode) {
    let suite = Suite::start("sse", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &hasher("hasher")).await.unwrap();
    let run = dev.start(AGENT, "hash", &json!({ "text": "hello" })).await.unwrap().name;
    dev.reached(&run, &[RunState::Done]).await;
    let id = run.rsplit('/').next().unwrap();

    let all = told(&events(&suite, id, "").await.text().await.unwrap());
    let (first, last) = (all.first().unwrap(), all.last().unwrap());
    assert!(first.is("agent", "callStart") && last.is("agent", "callStop"), "{all:?}");
    assert_eq!(first.json()["input"], json!({ "text": "hello" }));
    assert_eq!(last.json()["result"], json!({ "sha256": HELLO }));
    let sha =
        |action: &str| all.iter().position(|told| told.is("component", action) && told.json()["id"] == "sha");
    assert!(sha("callStart") < sha("callStop") && sha("callStart").is_some(), "{all:?}");
    assert_eq!(all[sha("callStop").unwrap()].json()["output"]["Hash"], HELLO);

    // From a place in the middle: the rest, once.
    let middle = all.iter().position(|told| !told.id.is_empty()).unwrap() + 1;
    let rest = told(&events(&suite, id, &all[middle - 1].id).await.text().await.unwrap());
    assert_eq!(
        rest.iter().map(|told| &told.id).collect::<Vec<_>>(),
        all[middle..].iter().map(|told| &told.id).collect::<Vec<_>>()
    );
    // At the end there is nothing more to tell: a browser stops asking.
    assert_eq!(events(&suite, id, &last.id).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(events(&suite, id, "nonsense").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(
        events(&suite, "00-00000000-0000-0000-0000-000000000000", "").await.status(),
        StatusCode::NOT_FOUND
    );
    let url = format!("http://{}/runs/{id}/events", suite.address("http"));
    let nobody = reqwest::Client::new().get(url).header("x-agent-id", "hasher").send().await.unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);

    monitored(&suite).await;
    suite.stop().await;
}

async fn events(suite: &Suite, run: &str, after: &str) -> reqwest::Response {
    let url = format!("http://{}/runs/{run}/events", suite.address("http"));
    let request = reqwest::Client::new().get(url).header("x-agent-id", "hasher").bearer_auth(suite.dev_key());
    let request = if after.is_empty() { request } else { request.header("last-event-id", after) };
    request.timeout(Duration::from_secs(30)).send().await.unwrap()
}

/// A monitor hears the runs of calls that name it.
async fn monitored(suite: &Suite) {
    let http = reqwest::Client::new();
    let url = |path: &str| format!("http://{}{path}", suite.address("http"));
    let open = http.get(url("/agent/hasher/monitor")).bearer_auth(suite.dev_key());
    let mut stream = open.send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    let mut text = String::new();
    let mut until = async |done: &dyn Fn(&[Told]) -> bool| {
        let read = async {
            while !done(&told(&text)) {
                let chunk =
                    stream.chunk().await.unwrap().unwrap_or_else(|| panic!("the stream ended: {text}"));
                text.push_str(&String::from_utf8_lossy(&chunk));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
        told(&text)
    };
    let init = until(&|told| told.iter().any(|told| told.event == "init")).await;
    let call = http
        .post(url("/api/hash"))
        .header("x-agent-id", "hasher")
        .header("x-monitor-id", &init[0].data)
        .header("content-type", "application/json")
        .bearer_auth(suite.dev_key())
        .body(r#"{"text":"hello"}"#);
    let answer: Value = serde_json::from_str(&call.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(answer, json!({ "sha256": HELLO }));
    let heard = until(&|told| told.iter().skip(1).any(|told| told.is("agent", "callStop"))).await;
    assert!(heard[1].is("agent", "callStart"), "{heard:?}");
    assert_eq!(heard.last().unwrap().json()["result"], json!({ "sha256": HELLO }));
}
