use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::runtime_context_server::RuntimeContext as Rpc;
use sre_store::{OpenOptions, Store};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request};

use super::commands::Command;
use super::ids::Digest;
use super::model::Signal;
use super::time::ManualClock;
use super::*;

pub(super) struct Bench {
    pub(super) context: RuntimeContext,
    pub(super) service: RuntimeContextService,
    clock: Arc<ManualClock>,
    _dir: tempfile::TempDir,
}

pub(super) async fn bench(settings: JournalSettings) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(OpenOptions::new(dir.path().join("memory.db"), "memory.store.dir", MIGRATIONS)).unwrap();
    let clock = ManualClock::new();
    let settings = Arc::new(settings);
    let journal = Arc::new(SqliteJournal::new(store, clock.clone(), Arc::clone(&settings)));
    let context = RuntimeContext::open(
        journal,
        Arc::new(BlobFiles::open(&dir.path().join("blobs")).await.unwrap()),
        clock.clone(),
        settings,
        CancellationToken::new(),
    )
    .await
    .unwrap();
    Bench { service: RuntimeContextService::new(context.clone()), context, clock, _dir: dir }
}

pub(super) fn open_request(session: &str) -> pb::OpenRunRequest {
    pb::OpenRunRequest {
        run: Some(pb::RunRecord {
            run_id: sre_proto::ids::new_id(),
            team: "red".to_owned(),
            agent: "a1".to_owned(),
            caller: "user/alice".to_owned(),
            kind: pb::RunKind::Skill as i32,
            record_format: 1,
            acl: Some(sre_proto::types::v1::Acl { etag: "e".to_owned(), ..Default::default() }),
            ..Default::default()
        }),
        session: session.to_owned(),
        records: vec![written(pb::RecordKind::Opened, "opened")],
        ..Default::default()
    }
}

pub(super) fn written(kind: pb::RecordKind, step: &str) -> pb::JournalRecord {
    pb::JournalRecord { kind: kind as i32, step: step.to_owned(), ..Default::default() }
}

impl Bench {
    pub(super) async fn session(&self) -> String {
        let request = Request::new(pb::OpenSessionRequest::default());
        self.service.open_session(request).await.unwrap().into_inner().id
    }

    pub(super) async fn open(&self, session: &str) -> pb::RunRecord {
        let answer = self.service.open_run(Request::new(open_request(session))).await.unwrap();
        answer.into_inner().run.unwrap()
    }

    pub(super) async fn append(
        &self,
        run: &pb::RunRecord,
        step: &str,
        close: pb::RunState,
    ) -> std::result::Result<i64, tonic::Status> {
        let request = pb::AppendRequest {
            run_id: run.run_id.clone(),
            session: run.session.clone(),
            epoch: run.epoch,
            records: vec![written(pb::RecordKind::Finished, step)],
            close_state: close as i32,
            ..Default::default()
        };
        Ok(self.service.append(Request::new(request)).await?.into_inner().last_sequence)
    }

    pub(super) async fn signal(&self, run: &pb::RunRecord, id: &str) -> pb::SignalResponse {
        let signal =
            pb::PendingSignal { signal_id: id.to_owned(), kind: "cancel".to_owned(), ..Default::default() };
        let request = pb::SignalRequest { run_id: run.run_id.clone(), signal: Some(signal) };
        self.service.signal(Request::new(request)).await.unwrap().into_inner()
    }
}

#[tokio::test]
async fn a_run_goes_through_the_service() {
    let bench = bench(JournalSettings::default()).await;
    let session = bench.session().await;
    let run = bench.open(&session).await;
    assert_eq!((run.epoch, run.next_sequence), (1, 2));
    assert_eq!(run.acl.as_ref().unwrap().etag, "e");
    assert_eq!(bench.append(&run, "a", pb::RunState::Unspecified).await.unwrap(), 2);
    assert_eq!(bench.append(&run, "b", pb::RunState::Done).await.unwrap(), 3);
    let late = bench.append(&run, "c", pb::RunState::Done).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert_eq!(sre_proto::error::reason(&late), Some(sre_proto::error::Reason::Fenced));

    let load = pb::LoadRequest { run_id: run.run_id.clone(), ..Default::default() };
    let pages: Vec<_> = bench.service.load(Request::new(load)).await.unwrap().into_inner().collect().await;
    let steps: Vec<_> =
        pages.into_iter().flat_map(|page| page.unwrap().records).map(|record| record.step).collect();
    assert_eq!(steps, ["opened", "a", "b"]);

    let request = pb::GetRunRequest { run_id: sre_proto::ids::new_id(), ..Default::default() };
    assert_eq!(bench.service.get_run(Request::new(request)).await.unwrap_err().code(), Code::NotFound);
    let list = |page_token: &str| pb::ListRunsRequest {
        team: "red".to_owned(),
        page_size: 1,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    let other = bench.open("").await;
    let first = bench.service.list_runs(Request::new(list(""))).await.unwrap().into_inner();
    assert_eq!(first.runs[0].run_id, other.run_id);
    let second =
        bench.service.list_runs(Request::new(list(&first.next_page_token))).await.unwrap().into_inner();
    assert_eq!((second.runs[0].run_id.as_str(), second.next_page_token.as_str()), (run.run_id.as_str(), ""));
}

#[tokio::test]
async fn wrong_requests_name_the_field() {
    let bench = bench(JournalSettings::default()).await;
    let mut no_team = open_request("");
    no_team.run.as_mut().unwrap().team.clear();
    let mut not_opened = open_request("");
    not_opened.records[0].kind = pb::RecordKind::Finished as i32;
    let mut large = open_request("");
    large.records[0].body = Bytes::from(vec![0; 64 * 1024 + 1]);
    for (request, words) in [(no_team, "run.team"), (not_opened, "records"), (large, "records.body")] {
        let status = bench.service.open_run(Request::new(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(words), "{}", status.message());
    }
    let mut blobless = open_request("");
    let blob = sre_proto::types::v1::BlobRef { digest: Digest::of(b"x").to_string(), size_bytes: 1 };
    blobless.records[0].blob = Some(blob);
    assert_eq!(bench.service.open_run(Request::new(blobless)).await.unwrap_err().code(), Code::NotFound);
    let ttl = prost_types::Duration { seconds: 0, nanos: 1 };
    let request = pb::OpenSessionRequest { time_to_live: Some(ttl), ..Default::default() };
    let status = bench.service.open_session(Request::new(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_follower_sees_each_record_once_and_the_end() {
    let bench = bench(JournalSettings::default()).await;
    let run = bench.open(&bench.session().await).await;
    let request = pb::TailRequest { run_id: run.run_id.clone(), after_sequence: 0 };
    let mut tail = bench.service.tail(Request::new(request)).await.unwrap().into_inner();
    let mut next = async || {
        let answer = tail.next().await?.unwrap();
        let steps: Vec<_> = answer.records.iter().map(|record| record.step.clone()).collect();
        Some((steps, answer.state()))
    };
    assert_eq!(next().await, Some((vec!["opened".to_owned()], pb::RunState::Leased)));
    // The follower waits; the append wakes it.
    let (seen, written) = tokio::join!(next(), bench.append(&run, "a", pb::RunState::Unspecified));
    written.unwrap();
    assert_eq!(seen, Some((vec!["a".to_owned()], pb::RunState::Leased)));
    bench.append(&run, "b", pb::RunState::Unspecified).await.unwrap();
    bench.append(&run, "c", pb::RunState::Failed).await.unwrap();
    assert_eq!(next().await, Some((vec!["b".to_owned(), "c".to_owned()], pb::RunState::Failed)));
    assert_eq!(next().await, None);
    let absent = pb::TailRequest { run_id: sre_proto::ids::new_id(), after_sequence: 0 };
    assert_eq!(bench.service.tail(Request::new(absent)).await.err().unwrap().code(), Code::NotFound);
}

#[tokio::test]
async fn an_owner_gets_signals_at_once_and_those_that_waited() {
    let bench = bench(JournalSettings::default()).await;
    let session = bench.session().await;
    let run = bench.open(&session).await;
    bench.signal(&run, "before").await;
    let mut stream = bench.context.attach(session.parse().unwrap());
    assert_eq!(stream.next().await.unwrap().unwrap(), Command::Attached);
    let id = |command: Command| match command {
        Command::Signal(run_id, Signal { id, .. }) => {
            assert_eq!(run_id.to_string(), run.run_id);
            id
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(id(stream.next().await.unwrap().unwrap()), "before");
    assert_eq!(stream.next().await.unwrap().unwrap(), Command::ClaimHint);
    let (command, _) = tokio::join!(stream.next(), bench.signal(&run, "now"));
    assert_eq!(id(command.unwrap().unwrap()), "now");

    // More than the queue holds: the inbox is read instead, and nothing is lost.
    for n in 0..600 {
        bench.signal(&run, &format!("s{n}")).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 602 {
        seen.insert(id(stream.next().await.unwrap().unwrap()));
    }

    // A newer stream of the session ends this one.
    let mut newer = bench.context.attach(session.parse().unwrap());
    assert!(stream.next().await.is_none());
    drop(stream);
    assert_eq!(newer.next().await.unwrap().unwrap(), Command::Attached);
    bench.context.close_session(session.parse().unwrap()).await.unwrap();
    while newer.next().await.unwrap().unwrap() != Command::SessionLost {}
    assert!(newer.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn hints_are_coalesced() {
    let bench = bench(JournalSettings::default()).await;
    let mut stream = bench.context.attach(bench.session().await.parse().unwrap());
    stream.next().await.unwrap().unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), Command::ClaimHint);
    let first = tokio::time::Instant::now();
    for _ in 0..50 {
        bench.context.commands.hint();
    }
    assert_eq!(stream.next().await.unwrap().unwrap(), Command::ClaimHint);
    assert!(first.elapsed() >= Duration::from_millis(20));
    // The fifty became one.
    let more = tokio::time::timeout(Duration::from_secs(5), stream.next()).await;
    assert!(more.is_err());
}

#[tokio::test]
async fn a_dead_session_is_reaped_and_others_are_told() {
    let bench = bench(JournalSettings::default()).await;
    let (dead, alive) = (bench.session().await, bench.session().await);
    let run = bench.open(&dead).await;
    let mut dying = bench.context.attach(dead.parse().unwrap());
    let mut watching = bench.context.attach(alive.parse().unwrap());
    for stream in [&mut dying, &mut watching] {
        assert_eq!(stream.next().await.unwrap().unwrap(), Command::Attached);
        assert_eq!(stream.next().await.unwrap().unwrap(), Command::ClaimHint);
    }
    bench.clock.advance(Duration::from_secs(9));
    bench.context.renew_session(alive.parse().unwrap()).await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    let upkeep = tokio::task::JoinSet::from_iter([bench.context.clone().wake_due()]);
    assert_eq!(dying.next().await.unwrap().unwrap(), Command::SessionLost);
    assert_eq!(watching.next().await.unwrap().unwrap(), Command::ClaimHint);
    drop(upkeep);
    // The barren owner's run waits half a second.
    bench.clock.advance(Duration::from_secs(1));
    let request = pb::ClaimRequest { session: alive, limit: 0, max_record_format: 1 };
    let claimed = bench.service.claim(Request::new(request)).await.unwrap().into_inner();
    let taken = claimed.runs[0].run.as_ref().unwrap();
    assert_eq!((taken.run_id.as_str(), taken.epoch), (run.run_id.as_str(), 2));
}

#[tokio::test]
async fn payloads_go_with_their_run_and_orphans_go_too() {
    let settings = JournalSettings { orphaned_blobs: Duration::ZERO, ..JournalSettings::default() };
    let bench = bench(settings).await;
    let run = bench.open(&bench.session().await).await;
    let id = run.run_id.parse().unwrap();
    let orphan = sre_proto::ids::new_id().parse().unwrap();
    for id in [id, orphan] {
        let mut upload = bench.context.upload(id, Digest::of(b"abc")).await.unwrap();
        upload.write(Bytes::from_static(b"abc")).await.unwrap();
        upload.finish().await.unwrap();
    }
    let get = async |run: RunId| {
        let request = pb::GetBlobRequest { run_id: run.to_string(), digest: Digest::of(b"abc").to_string() };
        let pieces = bench.service.get_blob(Request::new(request)).await?.into_inner();
        let pieces: Vec<_> = pieces.collect().await;
        Ok::<_, tonic::Status>(pieces.into_iter().flat_map(|piece| piece.unwrap().data).collect::<Vec<u8>>())
    };
    assert_eq!(get(id).await.unwrap(), b"abc");
    bench.context.sweep_once().await.unwrap();
    assert_eq!(get(id).await.unwrap(), b"abc");
    assert_eq!(get(orphan).await.unwrap_err().code(), Code::NotFound);
    bench.append(&run, "end", pb::RunState::Done).await.unwrap();
    bench
        .service
        .delete_run(Request::new(pb::DeleteRunRequest { run_id: run.run_id.clone() }))
        .await
        .unwrap();
    assert_eq!(get(id).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn summaries_are_capped_per_team() {
    let settings =
        JournalSettings { summaries_burst: 2, summaries_per_second: 1, ..JournalSettings::default() };
    let bench = bench(settings).await;
    let summary = |team: &str| {
        let mut run = open_request("").run.unwrap();
        run.team = team.to_owned();
        run.state = pb::RunState::Done as i32;
        run.create_time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        run.end_time = run.create_time;
        run
    };
    let runs = vec![summary("red"), summary("red"), summary("red"), summary("blue")];
    let request = Request::new(pb::WriteSummariesRequest { runs });
    let answer = bench.service.write_summaries(request).await.unwrap().into_inner();
    assert_eq!((answer.written, answer.dropped), (3, 1));
}
