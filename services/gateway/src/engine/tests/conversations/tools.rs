//! The tool loop.

use sre_proto::gateway::v1::{CancelTurnRequest, RunState, ToolAnswered};
use sre_proto::llm::v1::ChatRole;

use super::super::llm::{calls, says};
use super::super::world::World;
use super::*;

fn results(events: &[ConversationEvent]) -> Vec<&ToolAnswered> {
    turns(events)
        .filter_map(|event| match event {
            Turn::ToolResult(answered) => Some(answered),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_parallel_tools_keep_their_order_and_to_call_them_is_no_interruption() {
    let world = World::new().await;
    world.server.hold("/tool/a");
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    let three = [("c1", "go", r#"{"x":"a"}"#), ("c2", "go", r#"{"x":"b"}"#), ("c3", "go", r#"{"x":"c"}"#)];
    world.llm.answer([calls(&three), says("done")]);
    let (events, ()) = tokio::join!(told(&world, &agent, &conversation, "use them"), async {
        // The later two end while the first is held.
        world.server.called("/tool/a", 1).await;
        world.server.called("/tool/b", 1).await;
        world.server.called("/tool/c", 1).await;
        world.server.release("/tool/a");
    });
    assert_eq!(end(&events).text, "done");
    let order: Vec<&str> =
        results(&events).iter().map(|answered| answered.call.as_ref().unwrap().id.as_str()).collect();
    assert_eq!(order.len(), 3);
    let sent = &world.llm.asked()[1].messages;
    assert_eq!(sent[2].role(), ChatRole::Assistant);
    let ids: Vec<&str> = sent[3..].iter().map(|message| message.tool_call_id.as_str()).collect();
    assert_eq!(ids, ["c1", "c2", "c3"]);
    for (message, path) in sent[3..].iter().zip(["/tool/a", "/tool/b", "/tool/c"]) {
        assert!(message.text.contains(path), "{} is not of {path}", message.text);
        assert!(!message.tool_failed);
    }
    let info = turns(&events).find_map(|event| match event {
        Turn::ToolInfo(info) => Some(info),
        _ => None,
    });
    assert_eq!(info.unwrap().calls[0].status, "Calling go");
    assert!(!words(&events).contains(&"interrupted"), "to call tools is no interruption");
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_every_call_gets_exactly_one_result() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    let odd = [
        ("c1", "nowhere", "{}"),
        ("c2", "go", r#"{"error":"x"}"#),
        ("c3", "go", "no json at all"),
        ("", "go", r#"{"x":"a"}"#),
        ("c3", "go", r#"{"x":"b"}"#),
    ];
    world.llm.answer([calls(&odd), says("well")]);
    let events = told(&world, &agent, &conversation, "try").await;
    assert_eq!(end(&events).state(), RunState::Done);
    assert_eq!(results(&events).len(), 5);
    let sent = &world.llm.asked()[1].messages;
    assert!(sent[3].tool_failed && sent[3].text.contains("there is no tool \"nowhere\"; the tools are: go"));
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_defer_calls_and_the_model_answers_without_tools() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let settings = ConversationSettings { max_tool_calls: 2, ..ConversationSettings::default() };
    let conversation = opened_with(&world, &agent, settings).await;
    let three = [("c1", "go", r#"{"x":"a"}"#), ("c2", "go", r#"{"x":"b"}"#), ("c3", "go", r#"{"x":"c"}"#)];
    world.llm.answer([calls(&three), says("as far as I know")]);
    let events = told(&world, &agent, &conversation, "use them").await;
    let pending: Vec<bool> = results(&events).iter().map(|answered| answered.pending).collect();
    assert_eq!(pending.iter().filter(|pending| **pending).count(), 1);
    assert!(
        turns(&events).any(|event| matches!(event, Turn::Interrupted(it) if it.reason == "max_tool_calls"))
    );
    assert_eq!(world.server.count("/tool/c"), 0);
    let second = &world.llm.asked()[1];
    assert!(second.tools.is_empty());
    let note = second.messages.last().unwrap();
    assert!(note.role() == ChatRole::User && note.text.contains("2 calls of tools"), "{note:?}");
    let history = messages(&world, &conversation).await;
    assert_eq!(
        history.iter().map(|message| message.internal).collect::<Vec<_>>(),
        [false, false, true, false]
    );
    all_valid(&world);
    // The count is of one prompt.
    world.llm.answer([calls(&three[..1]), says("yes")]);
    let events = told(&world, &agent, &conversation, "once more").await;
    assert!(results(&events).iter().all(|answered| !answered.pending));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_call_over_and_over_is_answered_without_it() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let settings = ConversationSettings { max_repeated_calls: 2, max_rounds: 5, ..Default::default() };
    let conversation = opened_with(&world, &agent, settings).await;
    let again = || calls(&[("c", "go", r#"{"x":"a"}"#)]);
    world.llm.answer([again(), again(), again(), again(), again(), says("enough")]);
    let events = told(&world, &agent, &conversation, "loop").await;
    assert_eq!(world.server.count("/tool/a"), 2);
    assert_eq!(end(&events).text, "enough");
    assert!(turns(&events).any(|event| matches!(event, Turn::Interrupted(it) if it.reason == "max_rounds")));
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d39_a_cancelled_prompt_ends_and_its_history_is_whole() {
    let world = World::new().await;
    world.server.hold("/tool/b");
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    world.llm.answer([calls(&[("c1", "go", r#"{"x":"a"}"#), ("c2", "go", r#"{"x":"b"}"#)])]);
    let cancel = async {
        world.server.called("/tool/b", 1).await;
        let request = CancelTurnRequest {
            name: conversation.name.clone(),
            reason: "enough".into(),
            ..CancelTurnRequest::default()
        };
        // From the other engine.
        world.conversations("user/dev").cancel_turn(at(1, request)).await.unwrap().into_inner()
    };
    let (events, turn) = tokio::join!(told(&world, &agent, &conversation, "use them"), cancel);
    assert_eq!(turn.state(), RunState::Cancelled);
    let end = end(&events);
    assert_eq!((end.state(), end.failure.clone().unwrap().message.as_str()), (RunState::Cancelled, "enough"));
    assert!(words(&events).contains(&"aborted"));
    world.server.release("/tool/b");
    told(&world, &agent, &conversation, "and?").await;
    let sent = &world.llm.asked()[1].messages;
    let tools: Vec<&str> =
        sent.iter().filter(|m| m.role() == ChatRole::Tool).map(|m| m.text.as_str()).collect();
    assert_eq!(tools.len(), 2);
    assert!(tools[1].contains("interrupted"), "{tools:?}");
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_results_are_cut() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let settings = ConversationSettings { max_tool_result_bytes: 64, ..ConversationSettings::default() };
    let conversation = opened_with(&world, &agent, settings).await;
    let long = format!(r#"{{"x":"{}"}}"#, "a".repeat(300));
    world.llm.answer([calls(&[("c", "go", &long)]), says("seen")]);
    told(&world, &agent, &conversation, "look").await;
    let result = &world.llm.asked()[1].messages[3].text;
    assert!(result.len() <= 64 && result.contains("left out"), "{result}");
}
