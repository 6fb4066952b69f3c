//! Histories: forked, exported, deleted, summed up.

use sre_proto::gateway::v1::{
    CompactionPolicy, DeleteConversationRequest, ExportConversationRequest, ForkConversationRequest,
    GetConversationRequest,
};
use tonic::Code;

use super::super::llm::says;
use super::super::world::World;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_is_forked_exported_and_deleted() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    world.llm.answer([says("one"), says("two"), says("other")]);
    told(&world, &agent, &conversation, "first").await;
    told(&world, &agent, &conversation, "second").await;
    let mut client = world.conversations("user/dev");
    let fork = ForkConversationRequest { name: conversation.name.clone(), version: 2, title: "f".into() };
    let forked = client.fork_conversation(fork).await.unwrap().into_inner();
    assert_eq!((forked.version, forked.title.as_str()), (2, "f"));
    told(&world, &agent, &forked, "differently").await;
    let texts = async |conversation| {
        messages(&world, conversation).await.into_iter().map(|message| message.text).collect::<Vec<_>>()
    };
    assert_eq!(texts(&forked).await, ["first", "one", "differently", "other"]);
    assert_eq!(texts(&conversation).await, ["first", "one", "second", "two"]);

    let export = ExportConversationRequest { name: conversation.name.clone() };
    let mut pieces = client.export_conversation(export).await.unwrap().into_inner();
    let mut text = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        text.extend_from_slice(&piece.data);
    }
    let exported: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
    assert_eq!(exported.len(), 4);
    assert_eq!((exported[0]["role"].as_str(), exported[1]["content"].as_str()), (Some("user"), Some("one")));
    let data = |place: usize| &exported[place]["__smyth_data__"];
    assert_eq!(data(1)["prev"], data(0)["message_id"]);
    assert_eq!(data(1)["next"][0], data(2)["message_id"]);
    assert!(exported.iter().all(|message| message.get("__sre__").is_none()), "that is ours alone");

    let delete = DeleteConversationRequest { name: conversation.name.clone() };
    client.delete_conversation(delete).await.unwrap();
    let get = GetConversationRequest { name: conversation.name.clone() };
    assert_eq!(client.get_conversation(get).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(texts(&forked).await.len(), 4, "the fork is its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_window_is_summed_up_where_that_is_wished() {
    let world = World::new().await;
    world.llm.window(3_000);
    let agent = agent(&world).await;
    let settings = ConversationSettings {
        compaction: CompactionPolicy::Summarize.into(),
        ..ConversationSettings::default()
    };
    let conversation = opened_with(&world, &agent, settings).await;
    let long = "word ".repeat(500);
    world.llm.answer([says(&long), says(&long)]);
    told(&world, &agent, &conversation, &format!("remember 42. {long}")).await;
    told(&world, &agent, &conversation, "more").await;
    world.llm.answer([says("the number is 42"), says("42")]);
    let events = told(&world, &agent, &conversation, "which number?").await;
    assert!(words(&events).contains(&"compacted"), "{:?}", words(&events));
    assert_eq!(end(&events).text, "42");
    let asked = world.llm.asked();
    let last = asked.last().unwrap();
    assert!(last.messages[0].text.contains("the number is 42"), "{:?}", last.messages[0]);
    assert_eq!(last.messages.last().unwrap().text, "which number?");
    all_valid(&world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_begins_where_the_one_before_it_began_as_long_as_it_can() {
    let world = World::new().await;
    world.llm.window(2_000);
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    for number in 0..12 {
        world.llm.answer([says(&"answer ".repeat(40))]);
        told(&world, &agent, &conversation, &format!("[{number}] {}", "question ".repeat(20))).await;
    }
    let firsts: Vec<String> =
        world.llm.asked().iter().map(|request| request.messages[1].text.chars().take(4).collect()).collect();
    let begins: std::collections::BTreeSet<&String> = firsts.iter().collect();
    assert!(begins.len() > 1, "it overflows: {firsts:?}");
    assert!(begins.len() <= 5, "it moves in blocks: {firsts:?}");
    all_valid(&world);
}
