//! Conversations in a real suite: a gateway that dies in the middle of a tool loop (acceptance 5 of part 5), and
//! `sre chat` from a pipe.

pub mod provider;

use std::io::Write as _;
use std::process::Stdio;

use futures::StreamExt as _;
use serde_json::{Value, json};
use sre_proto::gateway::v1::conversation_event::Event;
use sre_proto::gateway::v1::turn_event::Event as Turn;
use sre_proto::gateway::v1::{
    ConversationEvent, CreateConversationRequest, ListMessagesRequest, PromptRequest, RunState,
    WatchTurnRequest,
};

use crate::harness::agents::{api_call, document, endpoint, output};
use crate::harness::gateways::Gateway;
use crate::harness::process;
use crate::harness::{Mode, Options, Suite};
use provider::Provider;

pub const AGENT: &str = "teams/default/agents/talker";

/// An agent whose skill calls a tool of the provider's by name.
pub fn talker(provider: &Provider) -> Value {
    let url = format!("http://{}/tool/{{{{which}}}}", provider.address);
    let mut agent = document(
        "talker",
        json!({}),
        &[
            endpoint("use", "POST", &[("which", "Text")]),
            api_call("call", &url, json!({}), json!({}), &["which"]),
            output("answer", &["said"]),
        ],
        &["use.which > call.which", "call.Response > answer.said"],
    );
    agent["defaultModel"] = "talker-model".into();
    agent
}

async fn started(name: &str, provider: &Provider) -> (Suite, tempfile::TempDir) {
    let models = tempfile::tempdir().unwrap();
    std::fs::write(models.path().join("models.json"), provider.models().to_string()).unwrap();
    let options = Options::default()
        .set("models.path", models.path().display())
        .set("egress.allow", format!("[\"{}\"]", provider.address))
        .set("journal.session_ttl_ms", 2_000)
        .set("journal.claim_interval_ms", 200);
    (Suite::start(name, Mode::Split, options).await, models)
}

fn is_result(event: &ConversationEvent) -> bool {
    matches!(&event.event, Some(Event::TurnEvent(event)) if matches!(event.event, Some(Turn::ToolResult(_))))
}

fn journalled(events: &[ConversationEvent]) -> Vec<i64> {
    let cursors = events.iter().filter_map(|event| event.cursor).filter(|cursor| cursor.sub == 0);
    cursors.map(|cursor| cursor.sequence).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_costs_no_finished_tool_and_no_event() {
    let provider = Provider::start().await;
    let (suite, _models) = started("conversation", &provider).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &talker(&provider)).await.unwrap();
    let create = CreateConversationRequest { agent: AGENT.into(), ..CreateConversationRequest::default() };
    let conversation = dev.conversations().create_conversation(create).await.unwrap().into_inner();

    let mut other = Gateway::start(&suite, "other-gateway").await;
    let through = other.client(&suite, "user/dev");
    let prompt = PromptRequest {
        name: conversation.name.clone(),
        text: "use your tools".into(),
        ..PromptRequest::default()
    };
    let mut stream = through.conversations().prompt(prompt).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while !seen.iter().any(is_result) {
        seen.push(stream.next().await.unwrap().unwrap());
    }
    provider.called("slow").await;
    other.crash();
    let watch = WatchTurnRequest {
        name: conversation.name.clone(),
        turn: seen[0].turn.clone(),
        after: seen.last().unwrap().cursor,
    };
    let stream = dev.conversations().watch_turn(watch.clone()).await.unwrap().into_inner();
    provider.release();
    let rest: Vec<ConversationEvent> = stream.map(|event| event.unwrap()).collect().await;
    let Some(Event::End(end)) = &rest.last().unwrap().event else { panic!("{rest:#?}") };
    assert_eq!((end.state(), end.text.as_str()), (RunState::Done, "well, done"));
    assert_eq!(provider.calls("fast"), 1, "what was finished is not called again");

    // Before and after the crash, the client saw every event once and in order.
    let whole = dev.conversations().watch_turn(WatchTurnRequest { after: None, ..watch }).await.unwrap();
    let whole: Vec<ConversationEvent> = whole.into_inner().map(|event| event.unwrap()).collect().await;
    assert_eq!([journalled(&seen), journalled(&rest)].concat(), journalled(&whole));

    // The model saw both results, in the order of its calls.
    let requests = provider.requests();
    assert_eq!(requests.len(), 2);
    let messages = requests[1]["messages"].as_array().unwrap();
    let results: Vec<&str> = messages
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| message["tool_call_id"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["call_fast", "call_slow"]);
    let list = ListMessagesRequest { name: conversation.name.clone(), ..ListMessagesRequest::default() };
    let history = dev.conversations().list_messages(list).await.unwrap().into_inner().messages;
    assert_eq!(history.len(), 3, "{history:?}");
    suite.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_can_be_led_from_a_pipe() {
    let provider = Provider::start().await;
    provider.release();
    let (suite, _models) = started("chat", &provider).await;
    suite.client("user/dev").put(AGENT, &talker(&provider)).await.unwrap();
    let folder = suite.folder().to_owned();
    let chat = tokio::task::spawn_blocking(move || {
        let mut command = process::sre(&folder);
        command.args(["chat", "talker"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"hello\nuse your tools\n/history\n/model\n").unwrap();
        child.wait_with_output().unwrap()
    });
    let chat = chat.await.unwrap();
    let (out, shown) = (String::from_utf8(chat.stdout).unwrap(), String::from_utf8(chat.stderr).unwrap());
    assert!(chat.status.success(), "{out}\n{shown}");
    assert!(out.starts_with("well, done\nwell, done\n"), "{out}");
    assert!(out.contains("user: hello\nassistant: well, done\nuser: use your tools\n"), "{out}");
    assert!(out.contains("model: the agent's own"), "{out}");
    for call in ["calling use({\"which\":\"fast\"})", "calling use({\"which\":\"slow\"})", "use answered:"] {
        assert!(shown.contains(call), "{shown}");
    }
    suite.stop().await;
}
