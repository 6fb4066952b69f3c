//! Spans of runs at a collector that speaks OTLP: their tree, their attributes, and what is not in them.

mod conversation;

use std::collections::{BTreeMap, HashMap};

use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};
use tonic::Request;

use crate::harness::agents::{api_call, component, document, endpoint, output};
use crate::harness::clients::run_request;
use crate::harness::http_server::HttpServer;
use crate::harness::otlp::{Collector, attributes, hex};
use crate::harness::{CANARY, Mode, Options, Suite, in_both_modes};
use crate::usage::provider::Provider;

in_both_modes!(spans);

const AGENT: &str = "teams/default/agents/traced";
/// What the runs get. It is no secret, and content is off: no span holds it either.
const TEXT: &str = "content-that-no-span-shows";
const HEADER: &str = "request-header-that-no-span-shows";

/// Asks a model, makes something of its answer, and tells a server, with the secret.
fn traced(server: &HttpServer) -> Value {
    let ask = json!({ "model": "charging", "prompt": "{{text}}", "passthrough": true });
    let digest = |algorithm: &str| json!({ "algorithm": algorithm, "encoding": "hex" });
    let headers = json!({ "x-canary": "{{KEY(canary)}}" });
    document(
        "traced",
        json!({}),
        &[
            endpoint("ask", "POST", &[("text", "Text")]),
            component("model", "GenAILLM", ask, &["text"], &["Reply"]),
            component("sha", "FHash", digest("sha256"), &["Data"], &["Hash"]),
            api_call("tell", &server.url("/echo"), headers, json!({ "text": "{{text}}" }), &["text"]),
            output("answer", &["digest", "told"]),
            endpoint("break", "POST", &[("text", "Text")]),
            component("wrong", "FHash", digest("none"), &["Data"], &["Hash"]),
            output("never", &["digest"]),
        ],
        &[
            "ask.text > model.text",
            "ask.text > tell.text",
            "model.Reply > sha.Data",
            "sha.Hash > answer.digest",
            "tell.Response > answer.told",
            "break.text > wrong.Data",
            "wrong.Hash > never.digest",
        ],
    )
}

/// Attributes that each kind of span has.
const OF_SKILL: &[&str] = &[
    "agent.id",
    "agent.name",
    "agent.version",
    "team.id",
    "process.id",
    "session.id",
    "org.tier",
    "agent.debug",
    "gen_ai.operation.name",
    "gen_ai.agent.id",
    "sre.skill",
    "sre.run.epoch",
    "enduser.pseudo.id",
    "sre.subject.role",
    "sre.actor.service",
    "output.size",
    "output.has_error",
];
const OF_COMPONENT: &[&str] = &[
    "agent.id",
    "agent.name",
    "team.id",
    "process.id",
    "session.id",
    "org.tier",
    "agent.debug",
    "event.id",
    "cmp.id",
    "cmp.type",
    "cmp.name",
    "workflow.step",
    "output.size",
    "output.has_error",
];
const OF_MODEL: &[&str] = &[
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.request.max_tokens",
    "gen_ai.response.id",
    "gen_ai.response.model",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "llm.model",
    "process.id",
    "event.id",
    "server.address",
    "server.port",
];
const OF_CALL: &[&str] =
    &["rpc.system.name", "rpc.service", "rpc.method", "sre.role", "rpc.response.status_code"];

const GOLDEN: &str = "\
Agent.Skill ask ok
  Component.APICall tell ok
  Component.APIEndpoint ask ok
  Component.APIOutput answer ok
  Component.FHash sha ok
  Component.GenAILLM model ok
    chat charging-1 ok
";
const GOLDEN_OF_FAILURE: &str = "\
Agent.Skill break failed
  Component.APIEndpoint break ok
  Component.FHash wrong failed
";

async fn spans(mode: Mode) {
    let (server, provider, collector) =
        (HttpServer::start().await, Provider::start().await, Collector::start().await);
    provider.release();
    let models = tempfile::tempdir().unwrap();
    std::fs::write(models.path().join("models.json"), provider.models().to_string()).unwrap();
    let options = Options::default()
        .set("egress.allow", format!("[\"{}\"]", server.address()))
        .set("models.path", models.path().display())
        .set("telemetry.otlp_endpoint", collector.endpoint());
    let suite = Suite::start("telemetry", mode, options).await;
    let dev = suite.client("user/dev");
    dev.put_canary().await;
    dev.put(AGENT, &traced(&server)).await.unwrap();

    let ok = "0af7651916cd43dd8448eb211c80319c";
    let failing = "1bf7651916cd43dd8448eb211c80319d";
    for (skill, trace) in [("ask", ok), ("break", failing)] {
        let mut request = Request::new(run_request(AGENT, skill, &json!({ "text": TEXT })));
        request
            .metadata_mut()
            .insert("traceparent", format!("00-{trace}-b7ad6b7169203331-01").parse().unwrap());
        request.metadata_mut().insert("x-not-shown", HEADER.parse().unwrap());
        dev.runs().run_skill(request).await.unwrap();
    }
    assert_eq!(server.seen("/echo")[0].header("x-canary"), CANARY, "the secret was used");

    // What is left is flushed at the end.
    suite.stop().await;
    let (ok_spans, failed_spans) = (collector.trace(ok), collector.trace(failing));
    assert_eq!(tree(&ok_spans), GOLDEN);
    assert_eq!(tree(&failed_spans), GOLDEN_OF_FAILURE);
    for span in ok_spans.iter().chain(&failed_spans) {
        has_its_attributes(span);
    }
    for absent in [CANARY, HEADER, TEXT] {
        assert!(!collector.holds(absent), "{absent} was exported");
    }
    assert!(collector.holds("Component.GenAILLM"), "the search works");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_is_shown_for_teams_that_want_it_and_secrets_for_nobody() {
    let (server, provider, collector) =
        (HttpServer::start().await, Provider::start().await, Collector::start().await);
    provider.release();
    let models = tempfile::tempdir().unwrap();
    std::fs::write(models.path().join("models.json"), provider.models().to_string()).unwrap();
    let options = Options::default()
        .set("egress.allow", format!("[\"{}\"]", server.address()))
        .set("models.path", models.path().display())
        .set("telemetry.content.teams", "[\"default\"]")
        .set("telemetry.otlp_endpoint", collector.endpoint());
    let suite = Suite::start("telemetry-content", Mode::AllInOne, options).await;
    let dev = suite.client("user/dev");
    dev.put_canary().await;
    dev.put(AGENT, &traced(&server)).await.unwrap();
    let key = suite.dev_key();
    let asked = reqwest::Client::new()
        .post(format!("http://{}/api/ask", suite.address("http")))
        .bearer_auth(&key)
        .header("x-agent-id", "traced")
        .header("x-plain", HEADER)
        .header("x-session-token", "hidden-header-value")
        .header("content-type", "application/json")
        .body(json!({ "text": TEXT }).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 200);
    assert_eq!(server.seen("/echo")[0].header("x-canary"), CANARY, "the secret was used");
    suite.stop().await;
    for shown in [TEXT, HEADER] {
        assert!(collector.holds(shown), "{shown} is not shown");
    }
    for absent in [CANARY, key.as_str(), "hidden-header-value"] {
        assert!(!collector.holds(absent), "{absent} was exported");
    }
}

fn is_kept(span: &Span) -> bool {
    ["Agent.", "Component.", "Conv.", "chat ", "embeddings "]
        .iter()
        .any(|prefix| span.name.starts_with(prefix))
}

/// The tree of the runs' own spans; calls between services in between are passed over. Siblings by name.
fn tree(spans: &[Span]) -> String {
    let by_id: HashMap<&[u8], &Span> = spans.iter().map(|span| (span.span_id.as_slice(), span)).collect();
    let parent_of = |span: &Span| {
        let mut above = by_id.get(span.parent_span_id.as_slice());
        while let Some(parent) = above.filter(|parent| !is_kept(parent)) {
            above = by_id.get(parent.parent_span_id.as_slice());
        }
        above.map(|parent| parent.span_id.clone()).unwrap_or_default()
    };
    let mut children: BTreeMap<Vec<u8>, Vec<&Span>> = BTreeMap::new();
    for span in spans.iter().filter(|span| is_kept(span)) {
        children.entry(parent_of(span)).or_default().push(span);
    }
    fn write(children: &BTreeMap<Vec<u8>, Vec<&Span>>, above: &[u8], depth: usize, out: &mut String) {
        let mut below = children.get(above).cloned().unwrap_or_default();
        below.sort_by_key(|span| (span.name.clone(), attributes(span).get("cmp.id").cloned()));
        for span in below {
            let attributes = attributes(span);
            let title = attributes.get("cmp.id").or_else(|| attributes.get("sre.skill"));
            let title = title.map(|title| format!(" {title}")).unwrap_or_default();
            let state = match span.status.as_ref().map_or(0, |status| status.code) {
                1 => "ok",
                2 => "failed",
                _ => "unset",
            };
            out.push_str(&format!("{}{}{title} {state}\n", "  ".repeat(depth), span.name));
            write(children, &span.span_id, depth + 1, out);
        }
    }
    let mut out = String::new();
    write(&children, &[], 0, &mut out);
    out
}

fn has_its_attributes(span: &Span) {
    let expected = match span.name.as_str() {
        "Agent.Skill" => OF_SKILL,
        name if name.starts_with("Component.") => OF_COMPONENT,
        name if name.starts_with("chat ") => OF_MODEL,
        _ => OF_CALL,
    };
    has_all(span, expected);
}

/// Each of these attributes is there and says something.
fn has_all(span: &Span, expected: &[&str]) {
    let attributes = attributes(span);
    for key in expected {
        let value = attributes.get(*key);
        assert!(
            value.is_some_and(|value| !value.is_empty()),
            "{} {}: no {key} in {attributes:?}",
            span.name,
            hex(&span.span_id)
        );
    }
}
