//! Several prompts of one conversation.

use sre_proto::error::{Reason, reason};
use sre_proto::gateway::v1::{ConcurrencyPolicy, RunState};

use super::super::llm::says;
use super::super::world::World;
use super::*;

fn with(conversation: &Conversation, text: &str, policy: ConcurrencyPolicy) -> PromptRequest {
    PromptRequest { concurrency: policy.into(), ..prompt(conversation, text) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prompts_wait_in_line_are_refused_or_take_the_place() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    world.llm.hold();
    world.llm.answer([says("one"), says("two")]);
    let first = ask(&world, 0, &agent, prompt(&conversation, "first")).await.unwrap();
    world.llm.was_asked(1).await;
    let refused =
        ask(&world, 1, &agent, with(&conversation, "x", ConcurrencyPolicy::Reject)).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::RunBusy), "{refused}");
    let mut second = ask(&world, 1, &agent, prompt(&conversation, "second")).await.unwrap();
    let queued = second.message().await.unwrap().unwrap();
    assert_eq!(word(&queued), "queued");
    assert_eq!(world.llm.asked().len(), 1, "it waits");
    world.llm.release();
    let (first, second) = tokio::join!(all(first), all(second));
    assert_eq!((end(&first).text.as_str(), end(&second).text.as_str()), ("one", "two"));
    let texts: Vec<String> =
        messages(&world, &conversation).await.into_iter().map(|message| message.text).collect();
    assert_eq!(texts, ["first", "one", "second", "two"]);

    world.llm.hold();
    world.llm.answer([says("never"), says("instead")]);
    let third = ask(&world, 0, &agent, prompt(&conversation, "third")).await.unwrap();
    world.llm.was_asked(3).await;
    let fourth =
        ask(&world, 1, &agent, with(&conversation, "fourth", ConcurrencyPolicy::Interrupt)).await.unwrap();
    let third = all(third).await;
    assert_eq!(end(&third).state(), RunState::Cancelled);
    world.llm.was_asked(4).await;
    world.llm.release();
    assert_eq!(end(&all(fourth).await).text, "instead");
    let sent = world.llm.asked()[3].messages.last().unwrap().text.clone();
    assert_eq!(sent, "third\n\nfourth", "what was asked is not lost");
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_id_follows_the_first_prompt() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    let request = |text: &str| PromptRequest { request_id: "r1".into(), ..prompt(&conversation, text) };
    let first = all(ask(&world, 0, &agent, request("hi")).await.unwrap()).await;
    let again = all(ask(&world, 1, &agent, request("hi")).await.unwrap()).await;
    assert_eq!(first[0].turn, again[0].turn);
    assert_eq!(words(&first), words(&again));
    assert_eq!((world.llm.asked().len(), messages(&world, &conversation).await.len()), (1, 2));
    let refused = ask(&world, 0, &agent, request("other")).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::AlreadyExists));
}

/// llm.md D27: in the reference a load of the store raced the first prompt and overwrote it. Here prompts of two engines
/// race for a conversation that nobody has loaded, and the history has all of them, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d27_prompts_that_race_overwrite_nothing() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    let prompts = (0..12).map(|number| {
        let (world, agent, conversation) = (&world, &agent, &conversation);
        async move {
            let request = prompt(conversation, &format!("[{number}]"));
            all(ask(world, number % 2, agent, request).await.unwrap()).await
        }
    });
    for events in futures::future::join_all(prompts).await {
        assert_eq!(end(&events).state(), RunState::Done);
    }
    let history = messages(&world, &conversation).await;
    assert_eq!(history.len(), 24);
    let mut asked: Vec<&str> = history.iter().step_by(2).map(|message| message.text.as_str()).collect();
    let mut expected: Vec<String> = (0..12).map(|number| format!("[{number}]")).collect();
    asked.sort_unstable();
    expected.sort_unstable();
    assert_eq!(asked, expected);
    for pair in history.chunks(2) {
        assert_eq!((pair[0].role.as_str(), pair[1].role.as_str()), ("user", "assistant"));
        assert_eq!(pair[0].turn, pair[1].turn);
    }
    all_valid(&world);
}
