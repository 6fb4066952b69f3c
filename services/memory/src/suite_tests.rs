//! The service as its callers find it: through the layer, over a link.

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use sre_proto::error::{Reason, reason};
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::cache_client::CacheClient;
use sre_proto::memory::v1::llm_context_client::LlmContextClient;
use sre_proto::memory::v1::runtime_context_client::RuntimeContextClient;
use sre_proto::types::v1 as types;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::{Code, Status};

async fn suite() -> TestSuite {
    TestSuite::builder()
        .role(Role::Memory, crate::start)
        .member("user/alice", "red", TeamRole::Member)
        .member("user/bob", "red", TeamRole::Member)
        .member("user/eve", "blue", TeamRole::Admin)
        .build()
        .await
        .unwrap()
}

fn cache(suite: &TestSuite, principal: &str) -> CacheClient<Link> {
    CacheClient::new(suite.link_as(principal, Role::Memory))
}

fn journal(suite: &TestSuite, principal: &str) -> RuntimeContextClient<Link> {
    RuntimeContextClient::new(suite.link_as(principal, Role::Memory))
}

const NAME: &str = "teams/red/users/alice/cache/a/b";

fn set(name: &str, value: &'static str) -> pb::SetEntryRequest {
    pb::SetEntryRequest {
        name: name.to_owned(),
        value: Bytes::from_static(value.as_bytes()),
        ..Default::default()
    }
}

async fn get(client: &mut CacheClient<Link>, name: &str) -> Result<pb::GetEntryResponse, Status> {
    Ok(client
        .get_entry(pb::GetEntryRequest { name: name.to_owned(), ..Default::default() })
        .await?
        .into_inner())
}

#[tokio::test]
async fn an_entry_is_its_creators_until_shared() {
    let suite = suite().await;
    let [mut alice, mut bob, mut eve] = ["user/alice", "user/bob", "user/eve"].map(|who| cache(&suite, who));
    assert!(!get(&mut alice, NAME).await.unwrap().found);
    let stored = alice.set_entry(set("teams/-/users/alice/cache/a/b", "1")).await.unwrap().into_inner();
    let found = get(&mut alice, NAME).await.unwrap();
    assert_eq!((found.found, &found.value[..], &found.etag), (true, &b"1"[..], &stored.etag));
    assert!(found.ttl_ms.unwrap() > 3_500_000);

    for other in [&mut bob, &mut eve] {
        assert_eq!(get(other, NAME).await.unwrap_err().code(), Code::PermissionDenied);
        let there = other.set_entry(set(NAME, "2")).await.unwrap_err();
        let absent = other.set_entry(set("teams/red/users/alice/cache/none", "2")).await.unwrap_err();
        assert_eq!((there.code(), there.message()), (Code::PermissionDenied, absent.message()));
    }

    let name = NAME.to_owned();
    let list = alice
        .get_entry_acl(pb::GetEntryAclRequest { name: name.clone(), ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    let mut shared = list.clone();
    let bob_id = types::Candidate { role: types::Role::User as i32, id: "bob".to_owned() };
    shared.entries.push(types::AclEntry { candidate: Some(bob_id), levels: vec![types::Level::Read as i32] });
    let change = |acl: &types::Acl| pb::SetEntryAclRequest {
        name: name.clone(),
        acl: Some(acl.clone()),
        ..Default::default()
    };
    alice.set_entry_acl(change(&shared)).await.unwrap();
    assert_eq!(get(&mut bob, NAME).await.unwrap().value, "1");
    assert_eq!(bob.set_entry(set(NAME, "2")).await.unwrap_err().code(), Code::PermissionDenied);
    let stale = alice.set_entry_acl(change(&list)).await.unwrap_err();
    assert_eq!(reason(&stale), Some(Reason::VersionConflict));
    let ownerless = alice.set_entry_acl(change(&types::Acl::default())).await.unwrap_err();
    assert_eq!(ownerless.code(), Code::InvalidArgument);
    let audited = suite.audit_records().await;
    assert!(audited.iter().any(|record| record.method.ends_with("SetEntryAcl")), "{audited:?}");
}

#[tokio::test]
async fn conditions_counters_and_ends_travel() {
    let suite = suite().await;
    let mut alice = cache(&suite, "user/alice");
    let if_absent =
        |value| pb::SetEntryRequest { condition: pb::SetCondition::IfAbsent as i32, ..set(NAME, value) };
    let first = alice.set_entry(if_absent("1")).await.unwrap().into_inner();
    assert!(first.stored);
    assert!(!alice.set_entry(if_absent("2")).await.unwrap().into_inner().stored);
    let if_match = pb::SetEntryRequest {
        condition: pb::SetCondition::IfMatch as i32,
        etag: first.etag,
        ..set(NAME, "41")
    };
    assert!(alice.set_entry(if_match).await.unwrap().into_inner().stored);
    let add = pb::IncrementEntryRequest { name: NAME.to_owned(), delta: 1, ..Default::default() };
    assert_eq!(alice.increment_entry(add).await.unwrap().into_inner().value, 42);
    let touch =
        |ttl_ms| pb::TouchEntryRequest { name: NAME.to_owned(), ttl_ms: Some(ttl_ms), ..Default::default() };
    assert!(alice.touch_entry(touch(-1)).await.unwrap().into_inner().found);
    assert_eq!(get(&mut alice, NAME).await.unwrap().ttl_ms, Some(-1));
    assert!(alice.touch_entry(touch(5_000)).await.unwrap().into_inner().found);
    assert!(get(&mut alice, NAME).await.unwrap().ttl_ms.unwrap() <= 5_000);
    assert_eq!(alice.touch_entry(touch(0)).await.unwrap_err().code(), Code::InvalidArgument);
    let delete = pb::DeleteEntryRequest { name: NAME.to_owned(), ..Default::default() };
    assert!(alice.delete_entry(delete.clone()).await.unwrap().into_inner().deleted);
    assert!(!alice.delete_entry(delete).await.unwrap().into_inner().deleted);
    for wrong in ["teams/red/users/alice/files/x", "cache/x", "teams/red/users/alice/cache/../x", ""] {
        assert_eq!(get(&mut alice, wrong).await.unwrap_err().code(), Code::InvalidArgument, "{wrong:?}");
    }
    let large = pb::SetEntryRequest { value: Bytes::from(vec![0; (4 << 20) - 100]), ..set(NAME, "") };
    assert!(alice.set_entry(large).await.is_ok());
}

/// Values over what a message holds travel in streams, up to 8 MiB.
#[tokio::test]
async fn large_values_are_streamed() {
    let suite = suite().await;
    let mut alice = cache(&suite, "user/alice");
    let value: Bytes = (0..8 << 20).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let write = |size: usize| {
        let value = value.clone();
        let header = pb::write_entry_request::Part::Header(set(NAME, "\u{0}"));
        let data = (1..size)
            .step_by(1 << 20)
            .map(move |at| pb::write_entry_request::Part::Data(value.slice(at..size.min(at + (1 << 20)))));
        let parts = std::iter::once(header).chain(data);
        stream::iter(parts.map(|part| pb::WriteEntryRequest { part: Some(part) }).collect::<Vec<_>>())
    };
    let written = alice.write_entry(write(8 << 20)).await.unwrap().into_inner();
    assert!(written.stored);
    let large = get(&mut alice, NAME).await.unwrap_err();
    assert_eq!((large.code(), reason(&large)), (Code::FailedPrecondition, Some(Reason::TooLarge)));
    let read = pb::ReadEntryRequest { name: NAME.to_owned(), ..Default::default() };
    let parts: Vec<_> = alice.read_entry(read.clone()).await.unwrap().into_inner().collect().await;
    let mut read_back = Vec::new();
    for (n, part) in parts.into_iter().enumerate() {
        match part.unwrap().part.unwrap() {
            pb::read_entry_response::Part::Info(info) => {
                assert_eq!((n, info.size_bytes, &info.etag), (0, 8 << 20, &written.etag));
            }
            pb::read_entry_response::Part::Data(data) => read_back.extend_from_slice(&data),
        }
    }
    assert!(read_back == value);
    let take = pb::TakeEntryRequest { name: NAME.to_owned(), ..Default::default() };
    assert_eq!(alice.take_entry(take).await.unwrap_err().code(), Code::FailedPrecondition);
    let header = pb::write_entry_request::Part::Header(set(NAME, "1"));
    let data = value.chunks(1 << 20).map(Bytes::copy_from_slice).map(pb::write_entry_request::Part::Data);
    let too_large = std::iter::once(header).chain(data);
    let too_large: Vec<_> = too_large.map(|part| pb::WriteEntryRequest { part: Some(part) }).collect();
    let too_large = stream::iter(too_large);
    let refused = alice.write_entry(too_large).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::InvalidArgument, Some(Reason::TooLarge)));
    let headless = stream::iter(vec![pb::WriteEntryRequest::default()]);
    assert_eq!(alice.write_entry(headless).await.unwrap_err().code(), Code::InvalidArgument);
    let mut bob = cache(&suite, "user/bob");
    assert_eq!(bob.write_entry(write(10)).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(bob.read_entry(read).await.unwrap_err().code(), Code::PermissionDenied);
}

/// Taking reads and writes; notes change and the rest stays; what is refused says why.
#[tokio::test]
async fn taking_and_noting_need_their_levels() {
    let suite = suite().await;
    let mut alice = cache(&suite, "user/alice");
    let list = |levels: &[types::Level]| types::Acl {
        entries: vec![types::AclEntry {
            candidate: Some(types::Candidate { role: types::Role::User as i32, id: "bob".to_owned() }),
            levels: levels.iter().map(|level| *level as i32).collect(),
        }],
        ..Default::default()
    };
    let shared = |levels: &[types::Level]| pb::SetEntryRequest {
        acl: Some(list(levels)),
        metadata: [("color".to_owned(), "red".to_owned())].into(),
        ..set(NAME, "1")
    };
    let take = pb::TakeEntryRequest { name: NAME.to_owned(), ..Default::default() };
    let delete = pb::DeleteEntryRequest { name: NAME.to_owned(), ..Default::default() };
    let mut bob = cache(&suite, "user/bob");
    for levels in [&[types::Level::Read][..], &[types::Level::Write][..]] {
        alice.set_entry(shared(levels)).await.unwrap();
        assert_eq!(bob.take_entry(take.clone()).await.unwrap_err().code(), Code::PermissionDenied);
        assert_eq!(get(&mut alice, NAME).await.unwrap().value, "1");
        alice.delete_entry(delete.clone()).await.unwrap();
    }
    alice.set_entry(shared(&[types::Level::Read, types::Level::Write])).await.unwrap();
    let note = |name: &str| pb::UpdateEntryMetadataRequest {
        name: NAME.to_owned(),
        set: [(name.to_owned(), "x".to_owned())].into(),
        remove: vec!["color".to_owned()],
        ..Default::default()
    };
    let noted = bob.update_entry_metadata(note("shape")).await.unwrap().into_inner();
    assert!(noted.found && noted.metadata.len() == 1 && noted.metadata["shape"] == "x", "{noted:?}");
    // The reference took the access list from notes of this name.
    assert_eq!(bob.update_entry_metadata(note("acl")).await.unwrap_err().code(), Code::InvalidArgument);
    let info = pb::GetEntryInfoRequest { name: NAME.to_owned(), ..Default::default() };
    let info = bob.get_entry_info(info).await.unwrap().into_inner();
    assert_eq!((info.found, info.size_bytes, info.metadata), (true, 1, noted.metadata));
    let taken = bob.take_entry(take.clone()).await.unwrap().into_inner();
    assert_eq!((taken.found, &taken.value[..]), (true, &b"1"[..]));
    assert!(!alice.take_entry(take).await.unwrap().into_inner().found);
    // D1: one that is not configured is an error, not a silence.
    let nowhere = pb::GetEntryRequest { name: NAME.to_owned(), instance: "nowhere".to_owned() };
    assert_eq!(alice.get_entry(nowhere).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn the_journal_is_the_engines_alone() {
    let suite = suite().await;
    let session = |_: ()| pb::OpenSessionRequest::default();
    for other in ["user/alice", "service/io", "service/edge"] {
        let refused = journal(&suite, other).open_session(session(())).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{other}");
    }
    let mut engine = journal(&suite, "service/engine");
    let session = engine.open_session(session(())).await.unwrap().into_inner();
    let run_id = sre_proto::ids::new_id();

    // A payload comes before the record that names it, so before its run.
    let content = vec![7u8; 600_000];
    let digest = format!("b3:{}", blake3::hash(&content).to_hex());
    let mut pieces: Vec<pb::PutBlobRequest> = content
        .chunks(100_000)
        .map(|piece| pb::PutBlobRequest { data: Bytes::copy_from_slice(piece), ..Default::default() })
        .collect();
    pieces[0].run_id.clone_from(&run_id);
    pieces[0].digest.clone_from(&digest);
    let blob = engine.put_blob(stream::iter(pieces)).await.unwrap().into_inner();
    assert_eq!((blob.digest.as_str(), blob.size_bytes), (digest.as_str(), 600_000));

    let opened =
        pb::JournalRecord { kind: pb::RecordKind::Opened as i32, blob: Some(blob), ..Default::default() };
    let run = pb::RunRecord {
        run_id: run_id.clone(),
        team: "red".to_owned(),
        agent: "a".to_owned(),
        caller: "user/alice".to_owned(),
        kind: pb::RunKind::Skill as i32,
        ..Default::default()
    };
    let open = pb::OpenRunRequest {
        run: Some(run),
        session: session.id.clone(),
        records: vec![opened],
        ..Default::default()
    };
    engine.open_run(open).await.unwrap();
    let request = pb::GetBlobRequest { run_id: run_id.clone(), digest };
    let pieces: Vec<_> = engine.get_blob(request).await.unwrap().into_inner().collect().await;
    let read: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.unwrap().data).collect();
    assert_eq!(read, content);

    let mut commands = engine.attach(pb::AttachRequest { session: session.id }).await.unwrap().into_inner();
    use pb::attach_response::Command;
    assert!(matches!(commands.message().await.unwrap().unwrap().command, Some(Command::Attached(_))));
    assert!(matches!(commands.message().await.unwrap().unwrap().command, Some(Command::ClaimHint(_))));
    let signal = pb::PendingSignal { signal_id: "s".into(), kind: "cancel".into(), ..Default::default() };
    let signal = pb::SignalRequest { run_id: run_id.clone(), signal: Some(signal) };
    journal(&suite, "service/edge").signal(signal).await.unwrap();
    let Some(Command::Signal(delivered)) = commands.message().await.unwrap().unwrap().command else {
        panic!()
    };
    assert_eq!(delivered.run_id, run_id);
    drop(commands);
    assert!(suite.stop().await);
}

#[tokio::test]
async fn a_conversation_is_led_by_the_engine_alone() {
    let suite = suite().await;
    let client = |who| LlmContextClient::new(suite.link_as(who, Role::Memory));
    let get = pb::GetConversationRequest { conversation_id: sre_proto::ids::new_id() };
    let refused = client("user/alice").get_conversation(get.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut engine = client("service/engine");
    let missing = engine.get_conversation(get).await.unwrap_err();
    assert_eq!((missing.code(), reason(&missing)), (Code::NotFound, Some(Reason::NotFound)));
    let conversation = pb::Conversation {
        team: "red".to_owned(),
        agent: "a".to_owned(),
        owner: "user/alice".to_owned(),
        ..Default::default()
    };
    let create = pb::CreateConversationRequest { conversation: Some(conversation) };
    let id = engine.create_conversation(create).await.unwrap().into_inner().conversation_id;
    let message = |json: String| pb::StoredMessage {
        role: pb::MessageRole::User.into(),
        json: json.into(),
        ..Default::default()
    };
    let append = |json: String| pb::AppendMessagesRequest {
        conversation_id: id.clone(),
        expected_version: 0,
        messages: vec![message(json)],
    };
    let large = engine.append_messages(append("x".repeat((1 << 20) + 1))).await.unwrap_err();
    assert_eq!(reason(&large), Some(Reason::TooLarge));
    assert!(large.message().contains("files"), "it says what to do: {}", large.message());
    assert_eq!(engine.append_messages(append("{}".to_owned())).await.unwrap().into_inner().version, 1);
    let stale = engine.append_messages(append("{}".to_owned())).await.unwrap_err();
    assert_eq!(reason(&stale), Some(Reason::VersionConflict));
    let read = pb::ReadMessagesRequest { conversation_id: id, ..Default::default() };
    let mut pages = engine.read_messages(read).await.unwrap().into_inner();
    let page = pages.message().await.unwrap().unwrap();
    assert_eq!((page.messages.len(), page.messages[0].sequence), (1, 1));
    assert!(pages.message().await.unwrap().is_none());
}
