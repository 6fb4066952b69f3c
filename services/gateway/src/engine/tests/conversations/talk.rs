//! Prompts without tools, and who may prompt.

use sre_proto::error::{Reason, reason};
use sre_proto::gateway::v1::conversations_client::ConversationsClient;
use sre_proto::gateway::v1::{
    ConversationSettings, CreateConversationRequest, GetConversationRequest, PromptRequest, RunState,
    UpdateConversationRequest,
};
use sre_proto::llm::v1::{ChatRole, FinishReason};
use tonic::{Code, Status};

use super::super::llm::says;
use super::super::world::World;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prompt_is_answered_and_the_next_one_sees_it() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    world.llm.answer([says("hello there"), says("again")]);
    let events = told(&world, &agent, &conversation, "hi").await;
    assert_eq!(words(&events), ["start", "requested", "answer", "usage", "end"]);
    let content: String = turns(&events)
        .filter_map(|event| match event {
            Turn::Content(content) => Some(content.text.as_str()),
            _ => None,
        })
        .collect();
    // Pieces come while the model speaks, where the watcher was there in time; the answer has all of it.
    assert!("hello there".ends_with(&content), "{content}");
    let end = end(&events);
    assert_eq!((end.state(), end.text.as_str()), (RunState::Done, "hello there"));
    assert!(!end.request_id.is_empty());
    told(&world, &agent, &conversation, "and now?").await;
    let asked = world.llm.asked();
    let texts: Vec<(ChatRole, &str)> =
        asked[1].messages.iter().map(|message| (message.role(), message.text.as_str())).collect();
    assert_eq!(
        texts,
        [
            (ChatRole::System, "Assistant Name : Chatty\n\nb"),
            (ChatRole::User, "hi"),
            (ChatRole::Assistant, "hello there"),
            (ChatRole::User, "and now?"),
        ]
    );
    assert_eq!(asked[0].tools.len(), 1);
    assert_eq!(asked[0].conversation_id, conversation.name.rsplit('/').next().unwrap());
    let history = messages(&world, &conversation).await;
    assert_eq!(
        history.iter().map(|message| message.role.as_str()).collect::<Vec<_>>(),
        ["user", "assistant", "user", "assistant"]
    );
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_a_failed_prompt_stays_in_the_history() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    world.llm.fail(sre_proto::error::status(Code::Unavailable, Reason::ProviderFailed, "500 mock error"));
    let events = told(&world, &agent, &conversation, "first").await;
    assert_eq!(words(&events), ["start", "requested", "error", "end"]);
    let failure = end(&events).failure.clone().unwrap();
    assert_eq!((failure.reason.as_str(), failure.message.as_str()), ("PROVIDER_FAILED", "500 mock error"));
    told(&world, &agent, &conversation, "second").await;
    let sent = &world.llm.asked()[1].messages;
    assert_eq!(sent[1].text, "first\n\nsecond");
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_answer_is_interrupted_and_d3_a_finished_one_is_not() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    let mut cut = says("half");
    cut.finish_reason = FinishReason::Length.into();
    world.llm.answer([cut]);
    let events = told(&world, &agent, &conversation, "go on").await;
    assert_eq!(words(&events), ["start", "requested", "answer", "usage", "interrupted", "end"]);
    assert!(turns(&events).any(|event| matches!(event, Turn::Interrupted(it) if it.reason == "length")));
    assert_eq!(end(&events).state(), RunState::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d33_d38_a_prompt_of_ones_own_counts_and_a_change_of_the_model_keeps_the_history() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    told(&world, &agent, &conversation, "one").await;
    let change = UpdateConversationRequest {
        name: conversation.name.clone(),
        model: Some("other".into()),
        ..UpdateConversationRequest::default()
    };
    let changed = world.conversations("user/dev").update_conversation(change).await.unwrap().into_inner();
    assert_eq!((changed.settings.unwrap().model.as_str(), changed.version), ("other", 2));
    let settings =
        ConversationSettings { system_prompt: "be brief".into(), without_tools: true, ..Default::default() };
    let change = UpdateConversationRequest {
        name: conversation.name.clone(),
        settings: Some(ConversationSettings { model: "other".into(), ..settings }),
        ..UpdateConversationRequest::default()
    };
    world.conversations("user/dev").update_conversation(change).await.unwrap();
    told(&world, &agent, &conversation, "two").await;
    let asked = &world.llm.asked()[1];
    // The prompt of the conversation counts, and without tools it is plain chat.
    assert_eq!((asked.model.as_str(), asked.messages.len(), asked.tools.len()), ("other", 4, 0));
    assert!(asked.messages[0].text.ends_with("be brief"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_is_whose_it_is() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    assert_eq!(conversation.owner, "user/dev");
    let refused = |result: Result<_, Status>| result.map(|_: tonic::Response<_>| ()).unwrap_err().code();
    // Alice may run the agent, but it is not her conversation.
    let mut alice = ConversationsClient::new(world.running_as(&agent, "user/alice"));
    assert_eq!(refused(alice.prompt(prompt(&conversation, "x")).await), Code::PermissionDenied);
    let get = GetConversationRequest { name: conversation.name.clone() };
    let code = world.conversations("user/alice").get_conversation(get).await.unwrap_err().code();
    assert_eq!(code, Code::PermissionDenied);
    let own = CreateConversationRequest { agent: agent.clone(), ..CreateConversationRequest::default() };
    let hers = alice.create_conversation(own).await.unwrap().into_inner();
    assert_eq!(hers.owner, "user/alice");
    let list = |who: &'static str| {
        let request =
            sre_proto::gateway::v1::ListConversationsRequest { parent: agent.clone(), ..Default::default() };
        let mut client = world.conversations(who);
        async move { client.list_conversations(request).await.unwrap().into_inner().conversations.len() }
    };
    assert_eq!((list("user/alice").await, list("user/dev").await), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_is_refused() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    for (request, field) in [
        (prompt(&conversation, "  "), "text"),
        (prompt(&conversation, &"x".repeat((256 << 10) + 1)), "text"),
        (PromptRequest { name: "x".into(), ..PromptRequest::default() }, "name"),
    ] {
        let refused = ask(&world, 0, &agent, request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains(field) || !refused.details().is_empty(), "{refused}");
    }
    world.llm.window(1_100);
    let events = told(&world, &agent, &conversation, &"long ".repeat(2_000)).await;
    assert_eq!(end(&events).failure.as_ref().unwrap().reason, "CONTEXT_LENGTH");
    assert!(world.llm.asked().is_empty(), "the model is not asked in vain");
    let settings = ConversationSettings { max_rounds: 1000, ..ConversationSettings::default() };
    let create =
        CreateConversationRequest { agent: agent.clone(), settings: Some(settings), ..Default::default() };
    let mut client = ConversationsClient::new(world.running_as(&agent, "user/dev"));
    let refused = client.create_conversation(create).await.unwrap_err();
    assert_eq!(reason(&refused), Some(Reason::InvalidArgument));
}
