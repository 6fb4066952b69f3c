//! What a skill that a model calls sees of the conversation, and what the conversation's watchers see of the skill.

use sre_proto::gateway::v1::runs_client::RunsClient;
use sre_proto::gateway::v1::{RawRequest, RunSkillRequest, run_skill_request};
use sre_proto::llm::v1::ChatRole;

use super::super::llm::{calls, says};
use super::super::world::World;
use super::*;

/// An agent whose skill `go` asks a model, with the conversation before the prompt.
async fn asking(world: &World, settings: serde_json::Value) -> String {
    let mut model = json!({"model": "m", "prompt": "in one word: {{v}}"});
    model.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let mut agent = document(
        "asker",
        vec![
            endpoint(),
            component("ask", "GenAILLM", model, &["v"], &["Reply"]),
            component("out", "APIOutput", json!({"format": "minimal"}), &["v"], &["Output"]),
        ],
        &["go.x > ask.v", "ask.Reply > out.v"],
    );
    agent["defaultModel"] = "m".into();
    agent["name"] = "Asker".into();
    agent["behavior"] = "you are brief".into();
    world.put(&agent).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skill_is_lent_the_conversation_whose_model_called_it() {
    let world = World::new().await;
    let settings = json!({"useContextWindow": true, "useSystemPrompt": true, "maxContextWindowLength": 1000});
    let agent = asking(&world, settings).await;
    let conversation = opened(&world, &agent).await;
    world.llm.answer([says("hello there")]);
    told(&world, &agent, &conversation, "hi").await;
    world.llm.answer([calls(&[("c1", "go", r#"{"x":"sky"}"#)]), says("blue"), says("it is blue")]);
    let events = told(&world, &agent, &conversation, "what colour?").await;
    assert_eq!(end(&events).text, "it is blue");
    let asked = &world.llm.asked()[2];
    let shown: Vec<(ChatRole, &str)> =
        asked.messages.iter().map(|message| (message.role(), message.text.as_str())).collect();
    assert_eq!(
        shown,
        [
            (ChatRole::System, "Assistant Name : Asker\n\nyou are brief"),
            (ChatRole::User, "hi"),
            (ChatRole::Assistant, "hello there"),
            // What the person said last led to the skill: the prompt takes its place.
            (ChatRole::User, "in one word: sky"),
        ]
    );
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_skill_that_nobody_s_model_called_is_lent_nothing() {
    let world = World::new().await;
    let agent = asking(&world, json!({"useContextWindow": true, "useSystemPrompt": true})).await;
    let conversation = opened(&world, &agent).await;
    world.llm.answer([says("hello there"), says("alone")]);
    told(&world, &agent, &conversation, "hi").await;
    // A caller that claims to be part of it is not.
    let id = conversation.name.rsplit('/').next().unwrap().to_owned();
    let raw = RawRequest {
        path: "/api/go".into(),
        headers: [("x-conversation-id".to_owned(), id)].into(),
        body_json: r#"{"x":"sky"}"#.into(),
        ..RawRequest::default()
    };
    let call = Some(run_skill_request::Call::Raw(raw));
    let request = RunSkillRequest { agent: agent.clone(), call, ..RunSkillRequest::default() };
    RunsClient::new(world.running_as(&agent, "user/dev")).run_skill(request).await.unwrap();
    let asked = &world.llm.asked()[1];
    let texts: Vec<&str> = asked.messages.iter().map(|message| message.text.as_str()).collect();
    assert_eq!(texts, ["you are brief", "in one word: sky"]);
}

/// llm.md D28: in the reference what a tool passed through raced the end, which came 100 ms after the last word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d28_what_a_skill_passes_through_is_heard_before_its_result_and_the_end() {
    for passthrough in [true, false] {
        let world = World::new().await;
        // Pieces are heard where the skill runs on the engine of its turn: the other one has no slot for it.
        let taken = world.take_all_slots(1).await;
        let agent = asking(&world, json!({"passthrough": passthrough})).await;
        let conversation = opened(&world, &agent).await;
        world.llm.answer([calls(&[("c1", "go", r#"{"x":"sky"}"#)]), says("deep blue"), says("it is blue")]);
        let events = told(&world, &agent, &conversation, "what colour?").await;
        let passed: String = turns(&events)
            .filter_map(|event| match event {
                Turn::Content(content) if content.passed_through => Some(content.text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(passed, if passthrough { "deep blue" } else { "" });
        let result = turns(&events).find_map(|event| match event {
            Turn::ToolResult(answered) => Some(answered.result.clone()),
            _ => None,
        });
        assert!(result.unwrap().contains("deep blue"));
        let heard = |event: &Turn| matches!(event, Turn::Content(content) if content.passed_through);
        let last = turns(&events).collect::<Vec<_>>().iter().rposition(|event| heard(event));
        let answered = turns(&events).position(|event| matches!(event, Turn::ToolResult(_))).unwrap();
        assert!(last.is_none_or(|last| last < answered), "its result is the last that is heard of a skill");
        let words = words(&events);
        assert_eq!(words.iter().position(|word| *word == "end"), Some(words.len() - 1), "{words:?}");
        drop(taken);
    }
}

/// A component of another agent that passes its words through is heard in the conversation that all of it began in,
/// through a call of its skill and through a talk whose model called it as a tool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sub_agent_passes_through_is_heard_in_the_conversation_above() {
    for talks in [false, true] {
        // Pieces are not kept for a run that left memory.
        let world = World::with(|config| config.gateway.park_after_ms = 60_000).await;
        let taken = world.take_all_slots(1).await;
        let mut entry = endpoint();
        entry["id"] = json!("inner");
        entry["data"]["endpoint"] = json!("inner");
        let model = json!({"model": "m", "prompt": "{{v}}", "passthrough": true});
        let asks = component("own", "GenAILLM", model, &["v"], &["Reply"]);
        world.put(&document("helper", vec![entry, asks], &["inner.x > own.v"])).await;
        let call = match talks {
            false => {
                let data = json!({"skill": "inner", "agentId": "helper"});
                component("call", "CallSkill", data, &["x"], &["Result"])
            }
            true => {
                let data = json!({"agentId": "helper", "model": "m"});
                component("call", "AgentPlugin", data, &["Prompt"], &["Response"])
            }
        };
        let (input, output) = if talks { ("Prompt", "Response") } else { ("x", "Result") };
        let out = component("out", "APIOutput", json!({"format": "minimal"}), &["v"], &["Output"]);
        let links = [format!("go.x > call.{input}"), format!("call.{output} > out.v")];
        let links: Vec<&str> = links.iter().map(String::as_str).collect();
        let mut agent = document("asker", vec![endpoint(), call, out], &links);
        agent["defaultModel"] = "m".into();
        let agent = world.put(&agent).await;
        let conversation = opened(&world, &agent).await;
        let outer = calls(&[("c1", "go", r#"{"x":"sky"}"#)]);
        let inner = calls(&[("c2", "inner", r#"{"x":"sky"}"#)]);
        match talks {
            false => world.llm.answer([outer, says("deep blue"), says("it is blue")]),
            true => {
                world.llm.answer([outer, inner, says("deep blue"), says("blue, it says"), says("it is blue")])
            }
        }
        let events = told(&world, &agent, &conversation, "what colour?").await;
        assert_eq!(end(&events).text, "it is blue");
        let passed: String = turns(&events)
            .filter_map(|event| match event {
                Turn::Content(content) if content.passed_through => Some(content.text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(passed, "deep blue", "each word once, and none of the talk's own model; talks: {talks}");
        drop(taken);
    }
}
