//! `sre.gateway.v1.Conversations`, and below it `sre.memory.v1.LlmContext`.

use anyhow::ensure;
use sre_proto::AccessLevel;
use sre_proto::gateway::v1::*;
use sre_proto::memory::v1 as memory;

use super::super::case::{ADMIN, Case, OWNER, first};
use super::super::world::{World, agent_name};

const NOWHERE: &str = "teams/default/agents/nobody";
const ENGINE: &str = "service/engine";

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let id = world.fresh("talker");
    let mut document = crate::harness::agents::hasher(&id);
    document["defaultModel"] = "Echo".into();
    world.create_agent(&id, document.to_string()).await?;
    let agent = agent_name(&id);
    if method == "CreateConversation" {
        let request = |agent: &str| CreateConversationRequest { agent: agent.into(), ..Default::default() };
        return Ok(Some(
            Case::of(&request(&agent)).absent(&request(NOWHERE)).by_list(AccessLevel::Read).stores().answers(
                |created: Conversation| {
                    ensure!(created.version == 0 && !created.name.is_empty(), "{created:?}");
                    Ok(())
                },
            ),
        ));
    }
    let create = CreateConversationRequest { agent: agent.clone(), ..Default::default() };
    let conversation: Conversation = world.ask(OWNER, create).await?;
    let name = conversation.name;
    let absent = format!("{agent}/conversations/{}", sre_proto::ids::new_id());
    // A conversation is its opener's: no other level can be given.
    Ok(Some(match method {
        "GetConversation" => {
            let request = |name: &str| GetConversationRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(&absent)).answers(move |found: Conversation| {
                ensure!(found.name == name, "{found:?}");
                Ok(())
            })
        }
        "ListConversations" => {
            let request =
                |parent: &str| ListConversationsRequest { parent: parent.into(), ..Default::default() };
            // The team's admins own what its agents have.
            Case::of(&request(&agent)).absent(&request(NOWHERE)).exact(ADMIN).answers(
                move |list: ListConversationsResponse| {
                    ensure!(list.conversations.iter().any(|listed| listed.name == name), "{list:?}");
                    Ok(())
                },
            )
        }
        "UpdateConversation" => {
            let request = |name: &str| UpdateConversationRequest {
                name: name.into(),
                title: Some("another".into()),
                ..Default::default()
            };
            Case::of(&request(&name)).absent(&request(&absent)).stores().answers(|found: Conversation| {
                ensure!(found.title == "another", "{found:?}");
                Ok(())
            })
        }
        "DeleteConversation" => {
            let request = |name: &str| DeleteConversationRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(&absent)).stores()
        }
        "Prompt" => {
            let request =
                |name: &str| PromptRequest { name: name.into(), text: "hello".into(), ..Default::default() };
            Case::of(&request(&name)).absent(&request(&absent)).stores().streams(ends)
        }
        "WatchTurn" => {
            let turn = prompted(world, &name).await?;
            let request =
                |name: &str| WatchTurnRequest { name: name.into(), turn: turn.clone(), after: None };
            Case::of(&request(&name)).absent(&request(&absent)).streams(ends)
        }
        "CancelTurn" => {
            let turn = prompted(world, &name).await?;
            let request = |name: &str| CancelTurnRequest {
                name: name.into(),
                turn: turn.clone(),
                reason: "the matrix".into(),
            };
            // It ended before: an ended turn stays as it is.
            Case::of(&request(&name)).absent(&request(&absent)).answers(|turn: Turn| {
                ensure!(turn.state() == RunState::Done, "{turn:?}");
                Ok(())
            })
        }
        "ListMessages" => {
            prompted(world, &name).await?;
            let request = |name: &str| ListMessagesRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name)).absent(&request(&absent)).answers(|list: ListMessagesResponse| {
                ensure!(list.messages.len() == 2 && list.messages[0].text == "hello", "{list:?}");
                Ok(())
            })
        }
        "ForkConversation" => {
            prompted(world, &name).await?;
            let request = |name: &str| ForkConversationRequest { name: name.into(), ..Default::default() };
            Case::of(&request(&name)).absent(&request(&absent)).stores().answers(|forked: Conversation| {
                ensure!(forked.version == 2, "{forked:?}");
                Ok(())
            })
        }
        "ExportConversation" => {
            prompted(world, &name).await?;
            let request = |name: &str| ExportConversationRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(&absent)).streams(
                |pieces: Vec<ExportConversationResponse>| {
                    let bytes: Vec<u8> = pieces.iter().flat_map(|piece| piece.data.to_vec()).collect();
                    let list: Vec<serde_json::Value> = serde_json::from_slice(&bytes)?;
                    ensure!(list.len() == 2 && list[0]["content"] == "hello", "{list:?}");
                    Ok(())
                },
            )
        }
        _ => return Ok(None),
    }))
}

fn ends(events: Vec<ConversationEvent>) -> anyhow::Result<()> {
    let end = events.iter().filter_map(|event| match &event.event {
        Some(conversation_event::Event::End(end)) => Some(end),
        _ => None,
    });
    let ends: Vec<_> = end.collect();
    ensure!(ends.len() == 1 && ends[0].state() == RunState::Done, "{events:?}");
    Ok(())
}

/// A prompt that was answered: its turn.
async fn prompted(world: &World, name: &str) -> anyhow::Result<String> {
    let request = PromptRequest { name: name.into(), text: "hello".into(), ..Default::default() };
    let answers = world.all(OWNER, request).await?;
    let events: Vec<ConversationEvent> =
        answers.iter().map(|bytes| prost::Message::decode(bytes.clone())).collect::<Result<_, _>>()?;
    ends(events.clone())?;
    Ok(events[0].turn.clone())
}

/// `sre.memory.v1.LlmContext`: for the engine, without a Candidate.
pub async fn messages(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let conversation = memory::Conversation {
        team: "default".into(),
        agent: "worker".into(),
        owner: OWNER.into(),
        title: world.fresh("talk"),
        ..Default::default()
    };
    let message = memory::StoredMessage {
        role: memory::MessageRole::User.into(),
        json: "{}".into(),
        ..Default::default()
    };
    let create = memory::CreateConversationRequest { conversation: Some(conversation) };
    if method == "CreateConversation" {
        let case = Case::of(&create).stores().answers(|created: memory::Conversation| {
            ensure!(!created.conversation_id.is_empty(), "{created:?}");
            Ok(())
        });
        return Ok(Some(case.services("engine", "engine")));
    }
    let created: memory::Conversation = world.ask(ENGINE, create).await?;
    let id = created.conversation_id;
    let append = |expected_version| memory::AppendMessagesRequest {
        conversation_id: id.clone(),
        expected_version,
        messages: vec![message.clone()],
    };
    let case = match method {
        "GetConversation" => Case::of(&memory::GetConversationRequest { conversation_id: id.clone() }).then(
            move |_, answers| {
                let id = id.clone();
                Box::pin(async move {
                    let found: memory::Conversation = first(answers)?;
                    ensure!(found.conversation_id == id, "{found:?}");
                    Ok(())
                })
            },
        ),
        "ListConversations" => {
            let request = memory::ListConversationsRequest {
                team: "default".into(),
                agent: "worker".into(),
                ..Default::default()
            };
            Case::of(&request).answers(move |list: memory::ListConversationsResponse| {
                ensure!(list.conversations.iter().any(|listed| listed.conversation_id == id), "{list:?}");
                Ok(())
            })
        }
        "UpdateConversation" => {
            let request = memory::UpdateConversationRequest {
                conversation_id: id,
                title: Some("another".into()),
                settings: None,
            };
            Case::of(&request).stores()
        }
        "EnterConversation" => {
            let request =
                memory::EnterConversationRequest { conversation_id: id, run_id: sre_proto::ids::new_id() };
            Case::of(&request).stores().answers(|entered: memory::EnterConversationResponse| {
                ensure!(entered.holds, "{entered:?}");
                Ok(())
            })
        }
        "AppendMessages" => Case::of(&append(0)).stores(),
        "ReadMessages" => {
            let _: memory::AppendMessagesResponse = world.ask(ENGINE, append(0)).await?;
            let request = memory::ReadMessagesRequest { conversation_id: id, ..Default::default() };
            Case::of(&request).answers(|page: memory::ReadMessagesResponse| {
                ensure!(page.messages.len() == 1, "{page:?}");
                Ok(())
            })
        }
        "ForkConversation" => {
            let request = memory::ForkConversationRequest {
                conversation_id: id,
                owner: OWNER.into(),
                ..Default::default()
            };
            Case::of(&request).stores()
        }
        "DeleteConversation" => Case::of(&memory::DeleteConversationRequest { conversation_id: id }).stores(),
        _ => return Ok(None),
    };
    Ok(Some(case.services("engine", "engine")))
}
