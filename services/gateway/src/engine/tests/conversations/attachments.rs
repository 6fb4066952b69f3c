//! Files that came along with prompts: kept as long as their conversation is in use, gone with it, and missed in words.

use std::time::{Duration, SystemTime};

use sre_proto::gateway::v1::prompt_file::Source;
use sre_proto::gateway::v1::{DeleteConversationRequest, PromptFile, RunState};
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::update_file_request::Expiry;
use sre_proto::io::v1::{DeleteFileRequest, File, GetFileRequest, UpdateFileRequest};
use sre_proto::llm::v1::media::Source as Told;
use sre_proto::llm::v1::{ChatMessage, part};
use sre_service::accounts::TeamRole;
use sre_service::{Link, Role};
use tonic::Code;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn of_the_agent(world: &World) -> StorageClient<Link> {
    StorageClient::new(world.suite.link_as("agent/chatty", Role::Io))
}

async fn file(world: &World, name: &str) -> Option<File> {
    let get = GetFileRequest { name: name.to_owned() };
    match of_the_agent(world).get_file(get).await {
        Ok(file) => Some(file.into_inner()),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status}");
            None
        }
    }
}

fn left(file: &File) -> Duration {
    let ends = SystemTime::try_from(file.expire_time.expect("it ends some time")).unwrap();
    ends.duration_since(SystemTime::now()).unwrap()
}

/// Addresses of the files that the user's messages show the model.
fn shown(messages: &[ChatMessage]) -> Vec<String> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    let media = parts.filter_map(|part| match &part.part {
        Some(part::Part::Media(media)) => media.source.clone(),
        _ => None,
    });
    media
        .map(|source| match source {
            Told::File(uri) => uri,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_along_with_a_prompt_lives_with_its_conversation() {
    let world = World::with_files().await;
    world.suite.stand_in().set_member("agent/chatty", "default", TeamRole::Member);
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    let source = Some(Source::Data(b"\x89PNG\r\n\x1a\n".as_slice().into()));
    let cat = PromptFile { name: "cat.png".into(), mimetype: "image/png".into(), source };
    let asked = PromptRequest { files: vec![cat.clone(), cat], ..prompt(&conversation, "look") };
    all(ask(&world, 0, &agent, asked).await.unwrap()).await;
    let id = conversation.name.rsplit('/').next().unwrap();
    let addresses = shown(&world.llm.asked()[0].messages);
    let folder = format!("smythfs://chatty.agent/_prompts/{id}/");
    assert!(addresses.len() == 2 && addresses.iter().all(|uri| uri.starts_with(&folder)), "{addresses:?}");
    let name = |uri: &str| uri.replace("smythfs://chatty.agent/", &format!("{agent}/files/"));
    let (first, second) = (name(&addresses[0]), name(&addresses[1]));
    assert!(left(&file(&world, &first).await.unwrap()) > 179 * DAY);

    // It would end soon, and the conversation goes on.
    let expiry = Some(Expiry::TimeToLive(DAY.try_into().unwrap()));
    let ending = UpdateFileRequest { name: first.clone(), expiry, ..UpdateFileRequest::default() };
    of_the_agent(&world).update_file(ending).await.unwrap();
    told(&world, &agent, &conversation, "and now?").await;
    assert_eq!(shown(&world.llm.asked()[1].messages), addresses);
    assert!(left(&file(&world, &first).await.unwrap()) > 179 * DAY, "it is looked at, so it stays");

    // One is gone: the model is told so, and still sees the other one.
    let delete = DeleteFileRequest { name: first.clone(), ..DeleteFileRequest::default() };
    of_the_agent(&world).delete_file(delete).await.unwrap();
    let events = told(&world, &agent, &conversation, "still there?").await;
    assert_eq!(end(&events).state(), RunState::Done);
    let sent = &world.llm.asked()[2].messages;
    assert_eq!(shown(sent), addresses[1..]);
    assert!(sent[1].text.contains("A file cat.png (image/png) was part of this message"), "{}", sent[1].text);
    all_valid(&world);

    // Of another conversation nothing is touched.
    let other = opened(&world, &agent).await;
    let asked = PromptRequest {
        files: vec![PromptFile {
            name: "dog.png".into(),
            mimetype: "image/png".into(),
            source: Some(Source::Data(b"\x89PNG".as_slice().into())),
        }],
        ..prompt(&other, "look")
    };
    all(ask(&world, 0, &agent, asked).await.unwrap()).await;
    let others = name(&shown(&world.llm.asked()[3].messages)[0]);
    let delete = DeleteConversationRequest { name: conversation.name.clone() };
    world.conversations("user/dev").delete_conversation(delete).await.unwrap();
    assert_eq!(file(&world, &second).await, None, "with the conversation go its files");
    assert!(file(&world, &others).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_service_for_files_conversations_without_files_go_on() {
    let world = World::new().await;
    let agent = agent(&world).await;
    let conversation = opened(&world, &agent).await;
    told(&world, &agent, &conversation, "hi").await;
    let delete = DeleteConversationRequest { name: conversation.name.clone() };
    world.conversations("user/dev").delete_conversation(delete).await.unwrap();
}
