//! Watchers whose connections break all the time, at three gateways, one of which dies: each sees every
//! journalled event once and in order, and hears that activations start again before it hears a token twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::sse::{Event as Frame, Sse};
use axum::routing::post;
use futures::{Stream, StreamExt as _};
use serde_json::{Value, json};
use sre_proto::gateway::v1::run_event::Event;
use sre_proto::gateway::v1::{EventCursor, RunEvent, RunState, WatchRunRequest};
use tokio::task::JoinSet;

use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::clients::Client;
use crate::harness::gateways::Gateway;
use crate::harness::journal::run_id;
use crate::harness::proxy::Proxy;
use crate::harness::{Mode, Options, Suite};

const AGENT: &str = "teams/default/agents/watched";
const CUT_EVERY: Duration = Duration::from_millis(20);
/// No more than these: the last of the watchers would have the cuts of all, and on a slow machine none of its
/// connections would live as long as a handshake takes.
const CUTS: usize = 400;
const RUNS: usize = 2;
const WATCHERS_OF_A_RUN: usize = 4;
const TOKENS: usize = 70;
const TOKEN_EVERY: Duration = Duration::from_millis(50);
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// A model that answers slowly, a token at a time: each call begins with the first.
async fn slow_model() -> (String, JoinSet<()>) {
    let router = Router::new().route("/v1/chat/completions", post(|| async { Sse::new(tokens()) }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}/v1"), serving)
}

fn tokens() -> impl Stream<Item = Result<Frame, std::convert::Infallible>> {
    let chunk = |delta: Value, finish: Value| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        let chunk =
            json!({ "id": "c", "object": "chat.completion.chunk", "model": "slow", "choices": [choice] });
        Frame::default().data(chunk.to_string())
    };
    let words = futures::stream::iter(0..TOKENS).then(move |n| async move {
        tokio::time::sleep(TOKEN_EVERY).await;
        chunk(json!({ "content": format!("<{n}>") }), Value::Null)
    });
    let end = [chunk(json!({}), json!("stop")), Frame::default().data("[DONE]")];
    words.chain(futures::stream::iter(end)).map(Ok)
}

/// Three branches of a model, and one of naps and digests that gives journalled events all the time.
fn watched() -> Value {
    let mut components = vec![endpoint("go", "POST", &[("text", "Text")])];
    let mut wires: Vec<String> = Vec::new();
    let mut last = "go.text".to_owned();
    for n in 0..5 {
        let (nap, sha) = (format!("nap{n}"), format!("sha{n}"));
        components.push(component(&nap, "FSleep", json!({ "delay": "1" }), &["Input"], &["Output"]));
        let digest = json!({ "algorithm": "sha256", "encoding": "hex" });
        components.push(component(&sha, "FHash", digest, &["Data"], &["Hash"]));
        wires.push(format!("{last} > {nap}.Input"));
        wires.push(format!("{nap}.Output > {sha}.Data"));
        last = format!("{sha}.Hash");
    }
    let mut gathered = vec!["digest".to_owned()];
    wires.push(format!("{last} > answer.digest"));
    for n in 0..3 {
        let id = format!("model{n}");
        let data = json!({ "model": "slow", "prompt": "{{text}}", "passthrough": true });
        components.push(component(&id, "GenAILLM", data, &["text"], &["Reply"]));
        wires.push(format!("go.text > {id}.text"));
        wires.push(format!("{id}.Reply > answer.{id}"));
        gathered.push(id);
    }
    let gathered: Vec<&str> = gathered.iter().map(String::as_str).collect();
    components.push(output("answer", &gathered));
    let wires: Vec<&str> = wires.iter().map(String::as_str).collect();
    document("watched", json!({}), &components, &wires)
}

/// Follows a run over connections that break, each time at the next gateway.
async fn follow(ways: Arc<Vec<Way>>, run: String, first: usize) -> Watched {
    let began = Instant::now();
    let mut watched = Watched::default();
    let mut at = first;
    while !watched.ended() {
        assert!(began.elapsed() < ENDS_WITHIN, "{run} did not end: {:?}", watched.events.last());
        at += 1;
        let way = &ways[at % ways.len()];
        let after = watched.events.last().and_then(|event| event.cursor);
        let request = WatchRunRequest { name: run.clone(), after };
        // A connection of its own each time, so that a cut is one watcher's.
        let mut runs = (way.connect)().runs();
        let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(2), runs.watch_run(request)).await
        else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let mut stream = stream.into_inner();
        while let Ok(Some(event)) = stream.message().await {
            watched.events.push(event);
        }
        watched.streams += 1;
    }
    watched
}

struct Way {
    connect: Box<dyn Fn() -> Client + Send + Sync>,
}

#[derive(Default)]
struct Watched {
    events: Vec<RunEvent>,
    streams: usize,
}

impl Watched {
    fn ended(&self) -> bool {
        matches!(self.events.last(), Some(RunEvent { event: Some(Event::RunEnded(_)), .. }))
    }

    /// What it was told again after it was told that it starts again; panics where it was not.
    fn tokens_heard_again(&self) -> usize {
        let mut heard: HashMap<&str, HashSet<&str>> = HashMap::new();
        let mut before: HashMap<&str, HashSet<&str>> = HashMap::new();
        let mut again = 0;
        for event in &self.events {
            match event.event.as_ref().unwrap() {
                Event::Content(chunk) => {
                    let (component, text) = (chunk.component.as_str(), chunk.text.as_str());
                    let fresh = heard.entry(component).or_default().insert(text);
                    assert!(fresh, "{component} said {text} twice and nobody said that it starts again");
                    again += usize::from(before.get(component).is_some_and(|heard| heard.contains(text)));
                }
                Event::ActivationRestarted(restarted) => {
                    for activation in &restarted.components {
                        let of = |component: &&str| activation.contains(*component);
                        for component in heard.keys().copied().filter(|c| of(c)).collect::<Vec<_>>() {
                            let dropped = heard.remove(component).unwrap_or_default();
                            before.entry(component).or_default().extend(dropped);
                        }
                    }
                }
                _ => {}
            }
        }
        again
    }
}

/// The place of a journalled event, and what it is about.
fn journalled(events: &[RunEvent]) -> Vec<(i64, String)> {
    let events = events.iter().filter(|event| event.cursor.unwrap_or_default().sub == 0);
    events.map(|event| (event.cursor.unwrap_or_default().sequence, format!("{:?}", event.event))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_miss_nothing_and_see_nothing_twice() {
    let (model, _serving) = slow_model().await;
    let models = tempfile::tempdir().unwrap();
    let slow = json!({ "slow": {
        "label": "slow", "modelId": "slow", "provider": "OpenAI", "features": ["text"], "tokens": 8000,
        "completionTokens": 4000, "enabled": true, "baseURL": model, "credentials": { "apiKey": "none" },
    }});
    std::fs::write(models.path().join("models.json"), slow.to_string()).unwrap();
    let options = Options::default()
        .set("models.path", models.path().display())
        .set("egress.allow", format!("[\"{}\"]", model.trim_start_matches("http://").trim_end_matches("/v1")))
        .set("journal.session_ttl_ms", 1_000);
    let suite = Suite::start("watchers", Mode::Split, options).await;
    let mut owner = Gateway::start(&suite, "gateway-b").await;
    let third = Gateway::start(&suite, "gateway-c").await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &watched()).await.unwrap();

    let addresses = [suite.address("edge"), owner.address().to_owned(), third.address().to_owned()];
    let mut proxies = Vec::new();
    let mut ways = Vec::new();
    for address in &addresses {
        let proxy = Proxy::start(address).await;
        let (tls, at) = (suite.identities().tls("user/dev"), proxy.address().to_owned());
        ways.push(Way { connect: Box::new(move || Client::new(tls.channel(&at))) });
        proxies.push(proxy);
    }
    let ways = Arc::new(ways);

    // Whoever is asked to start a run owns it.
    let to_owner = owner.client(&suite, "user/dev");
    let mut runs = Vec::new();
    for n in 0..RUNS {
        runs.push(to_owner.start(AGENT, "go", &json!({ "text": format!("text {n}") })).await.unwrap().name);
    }
    let mut watchers = JoinSet::new();
    for run in &runs {
        for first in 0..WATCHERS_OF_A_RUN {
            let (ways, run) = (Arc::clone(&ways), run.clone());
            watchers.spawn(async move { (run.clone(), follow(ways, run, first).await) });
        }
    }
    let cuts = Arc::new(AtomicUsize::new(0));
    let mut cutting = JoinSet::new();
    let counted = Arc::clone(&cuts);
    cutting.spawn(async move {
        let mut ticks = tokio::time::interval(CUT_EVERY);
        for turn in 0.. {
            ticks.tick().await;
            if counted.load(Ordering::Relaxed) < CUTS {
                // The next that has a connection.
                let any = (0..proxies.len()).any(|n| proxies[(turn + n) % proxies.len()].cut());
                counted.fetch_add(usize::from(any), Ordering::Relaxed);
            }
        }
    });

    tokio::time::sleep(Duration::from_millis(1_500)).await;
    owner.crash();
    let mut seen: Vec<(String, Watched)> = Vec::new();
    while let Some(watched) = watchers.join_next().await {
        seen.push(watched.unwrap());
    }
    drop(cutting);

    let mut heard_again = 0;
    for run in &runs {
        let ended = dev.get_run(run).await.unwrap();
        assert_eq!(ended.state(), RunState::Done, "{ended:?}");
        let expected = journalled(&dev.watch(run).await.unwrap());
        assert!(expected.len() > 14, "{expected:?}");
        assert!(expected.iter().any(|(_, event)| event.contains("ActivationRestarted")), "{expected:?}");
        for (_, watched) in seen.iter().filter(|(watched, _)| watched == run) {
            assert_eq!(journalled(&watched.events), expected, "{}", run_id(run));
            let cursors: Vec<EventCursor> = watched.events.iter().filter_map(|event| event.cursor).collect();
            let places: Vec<(i64, i32)> =
                cursors.iter().map(|cursor| (cursor.sequence, cursor.sub)).collect();
            assert!(places.is_sorted_by(|one, next| one < next), "cursors go back: {places:?}");
            heard_again += watched.tokens_heard_again();
        }
    }
    for (run, watched) in &seen {
        let heard = |event: &&RunEvent| matches!(event.event, Some(Event::Content(_)));
        println!(
            "{}: {} events, {} tokens, {} streams",
            run_id(run),
            watched.events.len(),
            watched.events.iter().filter(heard).count(),
            watched.streams
        );
    }
    let streams: usize = seen.iter().map(|(_, watched)| watched.streams).sum();
    // On an idle machine it is ten times as many.
    assert!(streams > 3 * seen.len(), "only {streams} streams: the connections were not cut");
    assert!(cuts.load(Ordering::Relaxed) > 3 * seen.len(), "only {cuts:?} cuts");
    // Whether somebody listens to the one owner and then to the other is chance; that nobody hears a token twice
    // without having heard why is checked above, for each who does.
    println!("{heard_again} tokens were heard twice");
    third.stop();
    // The suite's own gateway did nothing wrong either.
    suite.stop().await;
}
