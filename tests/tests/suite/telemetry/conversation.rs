//! Spans of a turn that uses tools, and of texts that become vectors.

use futures::StreamExt as _;
use opentelemetry_proto::tonic::trace::v1::Span;
use sre_proto::gateway::v1::conversation_event::Event;
use sre_proto::gateway::v1::{ConversationEvent, CreateConversationRequest, PromptRequest, RunState};
use sre_proto::llm::v1::EmbedRequest;
use tonic::Request;

use super::{TEXT, has_all, tree};
use crate::conversations::provider::Provider;
use crate::conversations::{AGENT, talker};
use crate::harness::otlp::{Collector, attributes};
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(turns);

const OF_TURN: &[&str] = &[
    "agent.id",
    "agent.name",
    "team.id",
    "conv.id",
    "process.id",
    "session.id",
    "org.tier",
    "agent.debug",
    "gen_ai.operation.name",
    "gen_ai.conversation.id",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "llm.model",
    "enduser.pseudo.id",
    "output.size",
    "output.has_error",
];
const OF_CALL: &[&str] = &["agent.id", "conv.id", "team.id", "request.id", "llm.model"];
const OF_EMBEDDING: &[&str] = &[
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.embeddings.dimension.count",
    "texts",
];

/// Asked twice: first it calls both tools, then it answers.
const GOLDEN: &str = "\
Agent.Conv ok
  Agent.Skill use ok
    Component.APICall call ok
    Component.APIEndpoint use ok
    Component.APIOutput answer ok
  Agent.Skill use ok
    Component.APICall call ok
    Component.APIEndpoint use ok
    Component.APIOutput answer ok
  Conv.GenAI ok
  Conv.GenAI ok
  Conv.GenAI.TTFB ok
  Conv.GenAI.TTFB ok
  chat talker-1 ok
  chat talker-1 ok
";

async fn turns(mode: Mode) {
    let (provider, collector) = (Provider::start().await, Collector::start().await);
    provider.release();
    let models = tempfile::tempdir().unwrap();
    std::fs::write(models.path().join("models.json"), provider.models().to_string()).unwrap();
    let options = Options::default()
        .set("models.path", models.path().display())
        .set("egress.allow", format!("[\"{}\"]", provider.address))
        .set("telemetry.otlp_endpoint", collector.endpoint());
    let suite = Suite::start("telemetry-turns", mode, options).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &talker(&provider)).await.unwrap();
    let create = CreateConversationRequest { agent: AGENT.into(), ..CreateConversationRequest::default() };
    let conversation = dev.conversations().create_conversation(create).await.unwrap().into_inner();

    let (turn, vectors) = ("0af7651916cd43dd8448eb211c80319e", "0af7651916cd43dd8448eb211c80319f");
    let text = format!("use your tools: {TEXT}");
    let prompt = PromptRequest { name: conversation.name, text, ..PromptRequest::default() };
    let events = dev.conversations().prompt(below(turn, prompt)).await.unwrap().into_inner();
    let events: Vec<ConversationEvent> = events.map(|event| event.unwrap()).collect().await;
    let Some(Event::End(end)) = &events.last().unwrap().event else { panic!("{events:#?}") };
    assert_eq!(end.state(), RunState::Done, "{end:?}");

    let texts = vec![TEXT.to_owned(), "other".to_owned()];
    let embed = EmbedRequest { model: "hash-embedding".into(), texts, ..EmbedRequest::default() };
    dev.inference().embed(below(vectors, embed)).await.unwrap();

    // What is left is flushed at the end.
    suite.stop().await;
    let spans = collector.trace(turn);
    assert_eq!(tree(&spans), GOLDEN);
    for span in &spans {
        let expected = match span.name.as_str() {
            "Agent.Conv" => OF_TURN,
            name if name.starts_with("Conv.") => OF_CALL,
            _ => continue,
        };
        has_all(span, expected);
    }
    let spans = collector.trace(vectors);
    assert_eq!(tree(&spans), "embeddings hash-embedding ok\n");
    let embedding = spans.iter().find(|span| span.name.starts_with("embeddings ")).unwrap();
    has_all(embedding, OF_EMBEDDING);
    assert_eq!(attributes(embedding)["gen_ai.embeddings.dimension.count"], "384");
    assert!(!collector.holds(TEXT), "what was said was exported");
    assert_eq!(events_of(&collector.trace(turn), "Conv.GenAI"), ["llm.gen.content", "llm.gen.tool.calls"]);
}

fn below<T>(trace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", format!("00-{trace}-b7ad6b7169203331-01").parse().unwrap());
    request
}

/// How calls of the model ended, by the last event of each.
fn events_of(spans: &[Span], name: &str) -> Vec<String> {
    let calls = spans.iter().filter(|span| span.name == name);
    let mut last: Vec<String> = calls.map(|span| span.events.last().unwrap().name.clone()).collect();
    last.sort();
    last
}
