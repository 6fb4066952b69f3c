//! Opening, reading, ending, deleting.

use std::time::Duration;

use bytes::Bytes;
use sre_proto::memory::v1::{RecordKind, RunKind, RunState};

use super::{Bench, empty, new_id, opening, record, signal};
use crate::runtime_context::JournalError;
use crate::runtime_context::ids::Digest;
use crate::runtime_context::model::{
    Append, Blob, NewRecord, Opening, Owner, ReadFrom, Request, RunFilter, RunHead, Summary,
};
use crate::runtime_context::time::UnixMs;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn a_run_is_opened_with_its_records(bench: &Bench) {
    let blob = Blob { digest: Digest::of(b"x"), size_bytes: 1 };
    let with_blob = NewRecord { blob: Some(blob), ..record(RecordKind::Finished, "a") };
    let asked =
        Opening { records: vec![record(RecordKind::Opened, "opened"), with_blob.clone()], ..opening() };
    let opened = bench.attach(asked.clone()).await;
    assert!(!opened.attached);
    let run = bench.get(asked.head.id).await;
    assert_eq!(run, opened.run);
    assert_eq!(run.head, asked.head);
    assert_eq!((run.state, run.epoch, run.next_sequence), (RunState::Ready, 0, 3));
    let page = bench.journal.read(asked.head.id, ReadFrom::After(1)).await.unwrap();
    assert_eq!(page.records[0].content, with_blob);
    assert_eq!(page.records[0].sequence, 2);

    let session = bench.session().await;
    let run = bench.get(bench.owned(session).await.run).await;
    assert_eq!((run.state, run.epoch, run.session), (RunState::Leased, 1, Some(session)));
    assert!(matches!(bench.journal.run(new_id()).await, Err(JournalError::RunNotFound)));
}

pub(crate) async fn a_request_id_attaches_for_a_day(bench: &Bench) {
    let asks = |caller: &str, input: &str| {
        let mut asked = opening();
        asked.head.caller = caller.to_owned();
        asked.request = Some(Request { id: "r1".to_owned(), input_digest: input.to_owned() });
        asked
    };
    let first = bench.attach(asks("user/alice", "i1")).await.run.head.id;
    let again = bench.attach(asks("user/alice", "i1")).await;
    assert!(again.attached);
    assert_eq!(again.run.head.id, first);
    assert_eq!(again.run.head.spec, Bytes::from_static(b"spec"));
    let other = bench.journal.open_run(asks("user/alice", "i2")).await;
    assert!(matches!(other, Err(JournalError::AlreadyExists(_))));
    assert!(!bench.attach(asks("user/bob", "i2")).await.attached);
    (bench.advance)(DAY);
    let next_day = bench.attach(asks("user/alice", "i2")).await;
    assert!(!next_day.attached);
    assert!(bench.attach(asks("user/alice", "i2")).await.attached);
}

pub(crate) async fn a_request_id_finds_its_run(bench: &Bench) {
    let mut asked = opening();
    asked.request = Some(Request { id: "r1".to_owned(), input_digest: "i1".to_owned() });
    let run = bench.attach(asked).await.run;
    let find = |caller: &str, id: &str| bench.journal.find(caller.to_owned(), id.to_owned());
    assert_eq!(find("user/alice", "r1").await.unwrap(), run);
    for (caller, id) in [("user/bob", "r1"), ("user/alice", "r2")] {
        assert!(matches!(find(caller, id).await, Err(JournalError::RunNotFound)));
    }
    (bench.advance)(DAY);
    assert!(matches!(find("user/alice", "r1").await, Err(JournalError::RunNotFound)));
}

pub(crate) async fn runs_are_listed_by_parent_and_kind(bench: &Bench) {
    let parent = bench.ready().await;
    let mut ids = Vec::new();
    for (n, kind) in [RunKind::Job, RunKind::Skill, RunKind::Job, RunKind::Debug].into_iter().enumerate() {
        let mut asked = opening();
        asked.head.kind = kind;
        asked.head.parent = (n < 3).then_some(parent);
        ids.push(bench.attach(asked).await.run.head.id);
    }
    let filter = || RunFilter { team: "red".to_owned(), limit: 10, ..RunFilter::default() };
    let list = async |filter: RunFilter| {
        let mut found: Vec<_> =
            bench.journal.list(filter).await.unwrap().into_iter().map(|run| run.head.id).collect();
        found.sort_unstable_by_key(|id| ids.iter().position(|other| other == id));
        found
    };
    let of = |kind| RunFilter { kind: Some(kind), ..filter() };
    assert_eq!(list(RunFilter { parent: Some(parent), ..filter() }).await, ids[..3]);
    assert_eq!(list(of(RunKind::Job)).await, [ids[0], ids[2]]);
    assert_eq!(list(of(RunKind::Debug)).await, [ids[3]]);
    assert_eq!(list(RunFilter { parent: Some(parent), ..of(RunKind::Skill) }).await, [ids[1]]);
    assert_eq!(list(RunFilter { parent: Some(ids[0]), ..filter() }).await, []);
}

pub(crate) async fn an_idempotency_key_attaches(bench: &Bench) {
    let parent = bench.ready().await;
    let child = |parent, key: &str| {
        let mut asked = opening();
        asked.head.parent = Some(parent);
        asked.head.idempotency_key = key.to_owned();
        asked
    };
    let first = bench.attach(child(parent, "k")).await;
    let again = bench.attach(child(parent, "k")).await;
    assert!(!first.attached && again.attached);
    assert_eq!(again.run, first.run);
    assert!(!bench.attach(child(parent, "k2")).await.attached);
    assert!(!bench.attach(child(bench.ready().await, "k")).await.attached);
}

pub(crate) async fn a_run_id_attaches_or_is_refused(bench: &Bench) {
    let asked = opening();
    bench.attach(asked.clone()).await;
    assert!(bench.attach(asked.clone()).await.attached);
    let other = RunHead { team: "blue".to_owned(), ..asked.head.clone() };
    let refused = bench.journal.open_run(Opening { head: other, ..asked.clone() }).await;
    assert!(matches!(refused, Err(JournalError::AlreadyExists(_))));
    assert_eq!(bench.steps(asked.head.id).await, ["opened"]);
}

pub(crate) async fn records_are_read_in_order_and_from_the_checkpoint(bench: &Bench) {
    let owner = bench.owned(bench.session().await).await;
    let mut records: Vec<NewRecord> =
        (2..=2500).map(|n| record(RecordKind::Finished, &n.to_string())).collect();
    records[1997] = record(RecordKind::Checkpoint, "1999");
    let last = bench.journal.append(vec![Append { records, ..empty(owner) }]).await.unwrap();
    assert_eq!(*last[0].as_ref().unwrap(), 2500);
    let mut seen = Vec::new();
    loop {
        let after = seen.last().copied().unwrap_or(0);
        let page = bench.journal.read(owner.run, ReadFrom::After(after)).await.unwrap();
        assert_eq!((page.next_sequence, page.state), (2501, RunState::Leased));
        seen.extend(page.records.iter().map(|record| record.sequence));
        if page.records.is_empty() {
            break;
        }
    }
    assert_eq!(seen, (1..=2500).collect::<Vec<i64>>());
    let page = bench.journal.read(owner.run, ReadFrom::LastCheckpoint(0)).await.unwrap();
    assert_eq!(page.records[0].sequence, 1999);
    assert_eq!(page.records[0].content.kind, RecordKind::Checkpoint);
    let page = bench.journal.read(owner.run, ReadFrom::LastCheckpoint(2300)).await.unwrap();
    assert_eq!(page.records[0].sequence, 2301);
}

pub(crate) async fn a_closed_run_is_closed(bench: &Bench) {
    let owner = bench.owned(bench.session().await).await;
    bench.close(owner).await;
    let run = bench.get(owner.run).await;
    assert_eq!((run.state, run.session, run.due), (RunState::Done, None, None));
    assert_eq!(run.outcome, Bytes::from_static(b"42"));
    assert!(run.ended.is_some());
    assert!(matches!(bench.append(owner, "late").await, Err(JournalError::Fenced)));
    assert!(bench.claim(bench.session().await, 16).await.runs.is_empty());
}

pub(crate) async fn runs_are_listed_newest_first(bench: &Bench) {
    let mut ids = Vec::new();
    for n in 0..5 {
        let mut asked = opening();
        asked.head.team = if n == 4 { "blue" } else { "red" }.to_owned();
        asked.head.agent = format!("a{}", n % 2);
        ids.push(bench.attach(asked).await.run.head.id);
    }
    ids.sort_unstable_by(|a, b| b.cmp(a));
    let blue = ids.remove(0);
    let red = RunFilter { team: "red".to_owned(), limit: 3, ..RunFilter::default() };
    let list = async |filter: RunFilter| {
        let runs = bench.journal.list(filter).await.unwrap();
        assert!(runs.iter().all(|run| run.head.spec.is_empty() && run.head.acl.is_empty()));
        runs.into_iter().map(|run| run.head.id).collect::<Vec<_>>()
    };
    assert_eq!(list(red.clone()).await, ids[..3]);
    assert_eq!(list(RunFilter { before: Some(ids[2]), ..red.clone() }).await, ids[3..]);
    assert_eq!(list(RunFilter { agent: Some("a1".to_owned()), ..red.clone() }).await.len(), 2);
    assert_eq!(list(RunFilter { caller: Some("user/bob".to_owned()), ..red.clone() }).await, []);
    assert_eq!(list(RunFilter { state: Some(RunState::Done), ..red.clone() }).await, []);
    assert_eq!(list(RunFilter { team: "blue".to_owned(), ..red }).await, [blue]);
}

pub(crate) async fn only_ended_runs_are_deleted(bench: &Bench) {
    let owner = bench.owned(bench.session().await).await;
    assert!(matches!(bench.journal.delete(owner.run).await, Err(JournalError::NotEnded)));
    bench.close(owner).await;
    bench.journal.delete(owner.run).await.unwrap();
    assert!(matches!(bench.journal.delete(owner.run).await, Err(JournalError::RunNotFound)));
    assert!(matches!(
        bench.journal.read(owner.run, ReadFrom::After(0)).await,
        Err(JournalError::RunNotFound)
    ));
    assert_eq!(bench.journal.existing(vec![owner.run, new_id()]).await.unwrap(), [owner.run]);
}

pub(crate) async fn retention_differs_by_kind(bench: &Bench) {
    let session = bench.session().await;
    let mut ids = Vec::new();
    for kind in [RunKind::Skill, RunKind::Job, RunKind::Turn, RunKind::Debug, RunKind::Job] {
        let mut asked = Opening { session: Some(session), ..opening() };
        asked.head.kind = kind;
        let run = bench.attach(asked).await.run;
        ids.push(run.head.id);
        if ids.len() < 5 {
            let owner = crate::runtime_context::model::Owner { run: run.head.id, session, epoch: run.epoch };
            bench.close(owner).await;
        }
    }
    assert_eq!(bench.journal.expire().await.unwrap(), 0);
    (bench.advance)(Duration::from_secs(5 * 60));
    assert_eq!(bench.journal.expire().await.unwrap(), 1);
    assert!(matches!(bench.journal.run(ids[3]).await, Err(JournalError::RunNotFound)));
    (bench.advance)(DAY);
    assert_eq!(bench.journal.expire().await.unwrap(), 1);
    assert!(matches!(bench.journal.run(ids[1]).await, Err(JournalError::RunNotFound)));
    (bench.advance)(6 * DAY);
    assert_eq!(bench.journal.expire().await.unwrap(), 2);
    // The last one goes on, however old it is.
    bench.get(ids[4]).await;
}

pub(crate) async fn a_deleted_run_leaves_nothing(bench: &Bench) {
    let owner = bench.owned(bench.session().await).await;
    let records = (0..1500).map(|n| record(RecordKind::Finished, &n.to_string())).collect();
    bench.journal.append(vec![Append { records, ..empty(owner) }]).await.unwrap();
    bench.journal.signal(owner.run, signal("s")).await.unwrap();
    bench.close(owner).await;
    bench.journal.delete(owner.run).await.unwrap();
    let first = bench.journal.purge().await.unwrap();
    assert!(first.more && first.emptied.is_empty(), "{first:?}");
    let second = bench.journal.purge().await.unwrap();
    assert!(!second.more);
    assert_eq!(second.emptied[0].payloads_of, Some(owner.run));
    bench.journal.purged(vec![second.emptied[0].key]).await.unwrap();
    assert!(bench.journal.existing(vec![owner.run]).await.unwrap().is_empty());

    // Another run under the same id has nothing of the old one, and keeps its payloads.
    let mut anew = opening();
    anew.head.id = owner.run;
    bench.attach(anew.clone()).await;
    assert_eq!(bench.steps(owner.run).await, ["opened"]);
}

pub(crate) async fn summaries_are_written_once(bench: &Bench) {
    let now = bench.get(bench.ready().await).await.created;
    let summary = |n: i64| Summary {
        head: opening().head,
        state: RunState::Done,
        created: UnixMs(now.0 - n),
        ended: now,
        outcome: Bytes::from_static(b"1"),
    };
    let three = vec![summary(1), summary(2), summary(3)];
    assert_eq!(bench.journal.write_summaries(three.clone()).await.unwrap(), 3);
    assert_eq!(bench.journal.write_summaries(three.clone()).await.unwrap(), 0);
    let run = bench.get(three[1].head.id).await;
    assert_eq!((run.state, run.created, run.ended), (RunState::Done, three[1].created, Some(now)));
    assert_eq!((run.head, run.outcome), (three[1].head.clone(), three[1].outcome.clone()));
    assert!(bench.journal.read(three[1].head.id, ReadFrom::After(0)).await.unwrap().records.is_empty());
    assert_eq!(bench.claim(bench.session().await, 16).await.runs.len(), 1);
}

pub(crate) async fn what_records_use_is_kept_until_it_is_shipped(bench: &Bench) {
    let using = |step: &str, usage: &'static [u8]| NewRecord {
        usage: Bytes::from_static(usage),
        ..record(RecordKind::Finished, step)
    };
    let session = bench.session().await;
    let asked = Opening {
        session: Some(session),
        records: vec![using("opened", b"one"), record(RecordKind::Finished, "uses nothing")],
        ..opening()
    };
    let run = bench.attach(asked).await.run;
    let owner = Owner { run: run.head.id, session, epoch: run.epoch };
    let append = Append {
        records: vec![using("a", b"two"), using("b", b"three")],
        expected_sequence: Some(3),
        ..Append::of(owner)
    };
    assert_eq!(bench.journal.append(vec![append.clone()]).await.unwrap()[0].as_ref().unwrap(), &4);
    let repeated = bench.journal.append(vec![append]).await.unwrap();
    assert_eq!(repeated[0].as_ref().unwrap(), &4, "a repeat is one, and adds nothing");
    let zombie = Owner { epoch: run.epoch + 1, ..owner };
    let refused = Append { records: vec![using("z", b"never")], ..Append::of(zombie) };
    assert!(bench.journal.append(vec![refused]).await.unwrap()[0].is_err());
    let page = bench.journal.read(run.head.id, ReadFrom::After(0)).await.unwrap();
    assert!(page.records.iter().all(|record| record.content.usage.is_empty()), "readers do not get it");

    let waiting = bench.journal.unshipped(10).await.unwrap();
    let events: Vec<&[u8]> = waiting.iter().map(|waiting| &waiting.events[..]).collect();
    // What records of one append add may be one.
    assert_eq!((events[0], events.concat().as_slice()), (b"one".as_slice(), b"onetwothree".as_slice()));
    assert_eq!(bench.journal.unshipped(1).await.unwrap(), waiting[..1]);
    bench.journal.shipped(vec![waiting[0].id]).await.unwrap();
    assert_eq!(bench.journal.unshipped(10).await.unwrap(), waiting[1..]);
    bench.journal.shipped(waiting[1..].iter().map(|waiting| waiting.id).collect()).await.unwrap();
    assert_eq!(bench.journal.unshipped(10).await.unwrap(), []);
}
