//! What every store of conversations must do. A backend's tests call `contract::every_case!(fresh)`, where `fresh` is
//! an async function that makes a [`Bench`].

use bytes::Bytes;
use sre_proto::memory::v1::RecordKind;

use super::{
    ConversationAppend, ConversationFilter, ConversationId, Conversations, NewConversation, NewMessage,
};
use crate::runtime_context::JournalError;
use crate::runtime_context::connectors::contract as journal;
use crate::runtime_context::ids::RunId;
use crate::runtime_context::model::{Append, NewRecord, Owner};

/// A store with the journal beside it.
pub(crate) struct Bench {
    pub(crate) store: std::sync::Arc<dyn Conversations>,
    pub(crate) journal: journal::Bench,
}

macro_rules! every_case {
    ($fresh:path) => {
        crate::llm_context::contract::every_case!(@ $fresh,
            a_conversation_is_opened_once_and_found, lists_are_latest_first_and_by_owner,
            messages_are_appended_where_the_version_is_right, messages_are_read_in_order_and_from_the_newest,
            turns_hold_a_conversation_in_their_order, a_turn_commits_its_messages_with_its_record,
            a_zombie_commits_no_message, a_repeated_append_commits_once, a_fork_has_the_messages_up_to_a_version,
            a_deleted_conversation_takes_nothing, settings_and_title_change_apart,
        );
    };
    (@ $fresh:path, $($case:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let bench: Option<crate::llm_context::contract::Bench> = $fresh().await.into();
            let Some(bench) = bench else { return };
            crate::llm_context::contract::$case(&bench).await;
        }
    )*};
}
pub(crate) use every_case;

fn new(owner: &str) -> NewConversation {
    NewConversation {
        id: journal::new_id(),
        team: "red".into(),
        agent: "a".into(),
        owner: owner.into(),
        title: "t".into(),
        acl: Bytes::from_static(b"acl"),
        settings: Bytes::from_static(b"settings"),
    }
}

fn said(text: &str) -> NewMessage {
    NewMessage { role: 2, json: Bytes::from(text.to_owned()), run: None }
}

async fn texts(bench: &Bench, id: ConversationId, after: i64) -> Vec<(i64, String)> {
    let found = bench.store.read(id, after).await.unwrap();
    let text = |json: &Bytes| String::from_utf8(json.to_vec()).unwrap();
    found.iter().map(|message| (message.sequence, text(&message.content.json))).collect()
}

/// Appends a record that brings these messages.
async fn commit(
    bench: &Bench,
    owner: Owner,
    id: ConversationId,
    said: &[NewMessage],
    at: Option<i64>,
) -> Result<i64, JournalError> {
    let conversation = Some(ConversationAppend { conversation: id, messages: said.to_vec() });
    let record = NewRecord { conversation, ..journal::record(RecordKind::TurnStep, "s") };
    let append = Append { records: vec![record], expected_sequence: at, ..Append::of(owner) };
    bench.journal.journal.append(vec![append]).await.unwrap().pop().unwrap()
}

pub(crate) async fn a_conversation_is_opened_once_and_found(bench: &Bench) {
    let asked = new("user/alice");
    let opened = bench.store.create(asked.clone()).await.unwrap();
    assert_eq!((&opened.head, opened.version, opened.active), (&asked, 0, None));
    let again = bench.store.create(NewConversation { title: "other".into(), ..asked.clone() }).await.unwrap();
    assert_eq!(again, opened);
    assert_eq!(bench.store.get(asked.id).await.unwrap(), opened);
    let missing = bench.store.get(journal::new_id()).await.unwrap_err();
    assert!(matches!(missing, JournalError::ConversationNotFound));
}

pub(crate) async fn lists_are_latest_first_and_by_owner(bench: &Bench) {
    let mut ids = Vec::new();
    for owner in ["user/alice", "user/bob", "user/alice"] {
        ids.push(bench.store.create(new(owner)).await.unwrap().head.id);
    }
    let other = NewConversation { agent: "b".into(), ..new("user/alice") };
    bench.store.create(other).await.unwrap();
    let filter = |owner: Option<&str>, before: Option<RunId>, limit: u32| ConversationFilter {
        team: "red".into(),
        agent: "a".into(),
        owner: owner.map(str::to_owned),
        before,
        limit,
    };
    let listed = async |filter| {
        let found = bench.store.list(filter).await.unwrap();
        found.iter().map(|found| found.head.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(filter(None, None, 9)).await, [ids[2], ids[1], ids[0]]);
    assert_eq!(listed(filter(Some("user/alice"), None, 9)).await, [ids[2], ids[0]]);
    assert_eq!(listed(filter(None, None, 1)).await, [ids[2]]);
    assert_eq!(listed(filter(None, Some(ids[2]), 1)).await, [ids[1]]);
}

pub(crate) async fn messages_are_appended_where_the_version_is_right(bench: &Bench) {
    let id = bench.store.create(new("user/alice")).await.unwrap().head.id;
    assert_eq!(bench.store.append(id, 0, vec![said("a"), said("b")]).await.unwrap(), 2);
    let stale = bench.store.append(id, 0, vec![said("c")]).await.unwrap_err();
    assert!(matches!(stale, JournalError::ConversationMoved { version: 2 }), "{stale:?}");
    assert_eq!(texts(bench, id, 0).await, [(1, "a".into()), (2, "b".into())]);
    // Of many writers that expect the same, one wins.
    let tries = (0..8).map(|at| bench.store.append(id, 2, vec![said(&at.to_string())]));
    let outcomes = futures::future::join_all(tries).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(bench.store.get(id).await.unwrap().version, 3);
}

pub(crate) async fn messages_are_read_in_order_and_from_the_newest(bench: &Bench) {
    let id = bench.store.create(new("user/alice")).await.unwrap().head.id;
    let big = "x".repeat(300_000);
    let messages = (0..8).map(|_| said(&big)).collect();
    bench.store.append(id, 0, messages).await.unwrap();
    let first = bench.store.read(id, 0).await.unwrap();
    assert!(first.len() < 8, "a page is bounded");
    let mut seen = first.len() as i64;
    while seen < 8 {
        let page = bench.store.read(id, seen).await.unwrap();
        assert_eq!(page[0].sequence, seen + 1);
        seen += page.len() as i64;
    }
    assert!(bench.store.read(id, 8).await.unwrap().is_empty());
    for (bytes, before) in [(0, 7), (299_999, 7), (600_000, 6), (899_999, 6), (10_000_000, 0)] {
        assert_eq!(bench.store.before_newest(id, bytes).await.unwrap(), before, "{bytes}");
    }
    let empty = bench.store.create(new("user/alice")).await.unwrap().head.id;
    assert_eq!(bench.store.before_newest(empty, 5).await.unwrap(), 0);
}

pub(crate) async fn turns_hold_a_conversation_in_their_order(bench: &Bench) {
    let id = bench.store.create(new("user/alice")).await.unwrap().head.id;
    let session = bench.journal.session().await;
    let mut owners = Vec::new();
    for _ in 0..3 {
        owners.push(bench.journal.owned(session).await);
    }
    let [first, second, third] = [owners[0], owners[1], owners[2]];
    let before = async |owner: Owner| bench.store.enter(id, owner.run).await.unwrap().before;
    assert_eq!(before(first).await, None);
    assert_eq!(before(second).await, Some(first.run));
    assert_eq!(before(third).await, Some(second.run));
    assert_eq!(before(first).await, None, "repeating it is harmless");
    assert_eq!(bench.store.get(id).await.unwrap().active, Some(first.run));
    let refused = bench.store.append(id, 0, vec![said("x")]).await.unwrap_err();
    assert!(matches!(refused, JournalError::ConversationHeld), "{refused:?}");
    bench.journal.close(second).await;
    assert_eq!(before(third).await, Some(first.run), "who ended is passed over");
    bench.journal.close(first).await;
    assert_eq!(bench.store.get(id).await.unwrap().active, Some(third.run));
    assert_eq!(before(third).await, None);
    // A run that was never opened holds nothing.
    bench.store.enter(id, journal::new_id()).await.unwrap();
    bench.journal.close(third).await;
    let late = bench.journal.owned(session).await;
    assert_eq!(before(late).await, None);
}

pub(crate) async fn a_turn_commits_its_messages_with_its_record(bench: &Bench) {
    let id = bench.store.create(new("user/alice")).await.unwrap().head.id;
    let session = bench.journal.session().await;
    let owner = bench.journal.owned(session).await;
    let of_turn = |text: &str| NewMessage { run: Some(owner.run), ..said(text) };
    commit(bench, owner, id, &[of_turn("a"), of_turn("b")], None).await.unwrap();
    commit(bench, owner, id, &[of_turn("c")], None).await.unwrap();
    assert_eq!(texts(bench, id, 0).await, [(1, "a".into()), (2, "b".into()), (3, "c".into())]);
    assert_eq!(bench.store.read(id, 2).await.unwrap()[0].content.run, Some(owner.run));
    let known = bench.store.get(id).await.unwrap();
    assert_eq!(known.version, 3);
}

pub(crate) async fn a_zombie_commits_no_message(bench: &Bench) {
    let id = bench.store.create(new("user/alice")).await.unwrap().head.id;
    let session = bench.journal.session().await;
    let owner = bench.journal.owned(session).await;
    let zombie = Owner { epoch: owner.epoch + 1, ..owner };
    let refused = commit(bench, zombie, id, &[said("a")], None).await.unwrap_err();
    assert!(matches!(refused, JournalError::Fenced), "{refused:?}");
    assert_eq!(bench.store.get(id).await.unwrap().version, 0);
}

pub(crate) async fn a_repeated_append_commits_once(bench: &Bench) {
    let id = bench.store.create(new("user/alice")).await.unwrap().head.id;
    let session = bench.journal.session().await;
    let owner = bench.journal.owned(session).await;
    let next = bench.journal.get(owner.run).await.next_sequence;
    let first = commit(bench, owner, id, &[said("a")], Some(next)).await.unwrap();
    let again = commit(bench, owner, id, &[said("a")], Some(next)).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(texts(bench, id, 0).await, [(1, "a".into())]);
}

pub(crate) async fn a_fork_has_the_messages_up_to_a_version(bench: &Bench) {
    let id = bench.store.create(new("user/alice")).await.unwrap().head.id;
    bench.store.append(id, 0, vec![said("a"), said("b"), said("c")]).await.unwrap();
    let forked = bench.store.fork(id, 2, new("user/bob")).await.unwrap();
    assert_eq!((forked.version, forked.head.owner.as_str()), (2, "user/bob"));
    bench.store.append(forked.head.id, 2, vec![said("d")]).await.unwrap();
    assert_eq!(texts(bench, forked.head.id, 0).await, [(1, "a".into()), (2, "b".into()), (3, "d".into())]);
    assert_eq!(bench.store.get(id).await.unwrap().version, 3);
}

pub(crate) async fn a_deleted_conversation_takes_nothing(bench: &Bench) {
    let id = bench.store.create(new("user/alice")).await.unwrap().head.id;
    let session = bench.journal.session().await;
    let owner = bench.journal.owned(session).await;
    commit(bench, owner, id, &[said("a")], None).await.unwrap();
    bench.store.delete(id).await.unwrap();
    assert!(matches!(bench.store.delete(id).await.unwrap_err(), JournalError::ConversationNotFound));
    assert!(matches!(bench.store.read(id, 0).await.unwrap_err(), JournalError::ConversationNotFound));
    // Its turn still comes to its own end.
    commit(bench, owner, id, &[said("b")], None).await.unwrap();
    bench.journal.close(owner).await;
}

pub(crate) async fn settings_and_title_change_apart(bench: &Bench) {
    let id = bench.store.create(new("user/alice")).await.unwrap().head.id;
    let named = bench.store.update(id, Some("x".into()), None).await.unwrap();
    assert_eq!((named.head.title.as_str(), &named.head.settings[..]), ("x", &b"settings"[..]));
    let led = bench.store.update(id, None, Some(Bytes::from_static(b"s2"))).await.unwrap();
    assert_eq!((led.head.title.as_str(), &led.head.settings[..]), ("x", &b"s2"[..]));
    assert_eq!(bench.store.get(id).await.unwrap(), led);
}
