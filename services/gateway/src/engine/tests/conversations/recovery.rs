//! Turns whose owner dies.

use sre_proto::gateway::v1::{EventCursor, RunState, WatchTurnRequest};
use sre_proto::memory::v1::RecordKind;

use super::super::llm::{calls, says};
use super::super::world::World;
use super::*;

async fn watch(
    world: &World,
    engine: usize,
    conversation: &Conversation,
    turn: &str,
    after: Option<EventCursor>,
) -> Vec<ConversationEvent> {
    let request = WatchTurnRequest { name: conversation.name.clone(), turn: turn.into(), after };
    let stream = world.conversations("user/dev").watch_turn(at(engine, request)).await.unwrap().into_inner();
    all(stream).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_loop_goes_on_after_the_last_finished_tool() {
    let world = World::new().await;
    world.server.hold("/tool/b");
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    let two = [("c1", "go", r#"{"x":"a"}"#), ("c2", "go", r#"{"x":"b"}"#)];
    world.llm.answer([calls(&two), says("both")]);
    let mut stream = ask(&world, 0, &agent, prompt(&conversation, "use them")).await.unwrap();
    let mut seen = Vec::new();
    while !seen.iter().any(|event| word(event) == "toolResult") {
        seen.push(stream.message().await.unwrap().unwrap());
    }
    world.server.called("/tool/b", 1).await;
    world.kill(0).await;
    let turn = seen[0].turn.clone();
    let cursor = seen.last().unwrap().cursor;
    world.server.release("/tool/b");
    let rest = watch(&world, 1, &conversation, &turn, cursor).await;
    assert_eq!((end(&rest).state(), end(&rest).text.as_str()), (RunState::Done, "both"));
    assert_eq!(world.server.count("/tool/a"), 1, "what was finished is not called again");
    assert_eq!(world.llm.asked().len(), 2, "the model is not asked again for what it answered");
    // The two parts are the whole, once and in order.
    let whole = watch(&world, 0, &conversation, &turn, None).await;
    let cursors = |events: &[ConversationEvent]| -> Vec<i64> {
        let journalled = events.iter().filter(|event| event.cursor.unwrap().sub == 0);
        journalled.map(|event| event.cursor.unwrap().sequence).collect()
    };
    assert_eq!([cursors(&seen), cursors(&rest)].concat(), cursors(&whole));
    assert_eq!(messages(&world, &conversation).await.len(), 3);
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_the_model_that_nobody_heard_is_made_again() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    world.llm.hold();
    world.llm.answer([says("lost"), says("heard")]);
    let stream = ask(&world, 0, &agent, prompt(&conversation, "hi")).await.unwrap();
    let killing = async {
        world.llm.was_asked(1).await;
        world.kill(0).await;
        world.llm.was_asked(2).await;
        world.llm.release();
    };
    let (events, ()) = tokio::join!(all(stream), killing);
    assert_eq!(end(&events).text, "heard");
    assert!(words(&events).contains(&"restarted"), "{:?}", words(&events));
    let run = events[0].turn.clone();
    assert_eq!(world.count(&run, RecordKind::Opened).await, 1);
    let history = messages(&world, &conversation).await;
    assert_eq!(history.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), ["hi", "heard"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_waits_for_a_tool_leaves_memory() {
    let world = World::new().await;
    world.server.hold("/tool/a");
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    world.llm.answer([calls(&[("c1", "go", r#"{"x":"a"}"#)]), says("late")]);
    let stream = ask(&world, 0, &agent, prompt(&conversation, "use it")).await.unwrap();
    let waiting = async {
        world.server.called("/tool/a", 1).await;
        let active = sre_proto::gateway::v1::GetConversationRequest { name: conversation.name.clone() };
        let found = world.conversations("user/dev").get_conversation(active).await.unwrap().into_inner();
        world.until(&found.active_turn, RunState::Waiting).await;
        assert!(world.nothing_lives(&found.active_turn).await);
        world.server.release("/tool/a");
    };
    let (events, ()) = tokio::join!(all(stream), waiting);
    assert_eq!(end(&events).text, "late");
    assert_eq!(world.server.count("/tool/a"), 1);
}
