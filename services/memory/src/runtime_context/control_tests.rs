//! Approvals, pauses, taking and the ends of jobs, through the service.

use bytes::Bytes;
use sre_proto::error::{Reason, reason};
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::runtime_context_server::RuntimeContext as Rpc;
use tonic::{Code, Request, Status};

use super::commands::Command;
use super::tests::{Bench, bench, open_request, written};
use super::*;

fn asked(id: &str) -> pb::RunApproval {
    pb::RunApproval {
        id: id.to_owned(),
        component: "c1".to_owned(),
        kind: "approval".to_owned(),
        title: "pay?".to_owned(),
        details_json: Bytes::from_static(b"{}"),
        approvers: vec!["admins".to_owned()],
        ..Default::default()
    }
}

fn park(run: &pb::RunRecord) -> pb::ParkRequest {
    pb::ParkRequest {
        run_id: run.run_id.clone(),
        session: run.session.clone(),
        epoch: run.epoch,
        records: vec![written(pb::RecordKind::Waiting, "wait")],
        ..Default::default()
    }
}

async fn decide(
    bench: &Bench,
    run: &pb::RunRecord,
    decision: pb::ApprovalState,
) -> std::result::Result<pb::RunApproval, Status> {
    let request = pb::DecideRunApprovalRequest {
        run_id: run.run_id.clone(),
        id: "a".to_owned(),
        decision: decision as i32,
        decided_by: "user/bob".to_owned(),
        comment: "fine".to_owned(),
        decision_json: Bytes::new(),
    };
    Ok(bench.service.decide_run_approval(Request::new(request)).await?.into_inner())
}

async fn list(bench: &Bench, page_token: &str) -> pb::ListRunApprovalsResponse {
    let request = pb::ListRunApprovalsRequest {
        team: "red".to_owned(),
        page_size: 1,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    bench.service.list_run_approvals(Request::new(request)).await.unwrap().into_inner()
}

#[tokio::test]
async fn an_approval_goes_through_the_service() {
    let bench = bench(JournalSettings::default()).await;
    let run = bench.open(&bench.session().await).await;
    let request = pb::ParkRequest { approvals: vec![asked("a"), asked("b")], ..park(&run) };
    assert!(bench.service.park(Request::new(request)).await.unwrap().into_inner().parked);
    let first = list(&bench, "").await;
    let second = list(&bench, &first.next_page_token).await;
    assert_eq!((&*first.approvals[0].id, &*second.approvals[0].id), ("b", "a"));
    assert_eq!(second.next_page_token, "");
    let pending = &second.approvals[0];
    assert_eq!((&*pending.run_id, &*pending.team, &*pending.agent), (&*run.run_id, "red", "a1"));
    assert_eq!((pending.state(), &*pending.title), (pb::ApprovalState::Pending, "pay?"));

    let decided = decide(&bench, &run, pb::ApprovalState::Approved).await.unwrap();
    assert_eq!(decide(&bench, &run, pb::ApprovalState::Approved).await.unwrap(), decided);
    let other = decide(&bench, &run, pb::ApprovalState::Rejected).await.unwrap_err();
    assert_eq!((other.code(), reason(&other)), (Code::FailedPrecondition, Some(Reason::AlreadyDecided)));
    assert_eq!(other.message(), "user/bob has approved it before");
    let wrong = decide(&bench, &run, pb::ApprovalState::Expired).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let get =
        |id: &str| Request::new(pb::GetRunApprovalRequest { run_id: run.run_id.clone(), id: id.to_owned() });
    assert_eq!(bench.service.get_run_approval(get("a")).await.unwrap().into_inner(), decided);
    assert_eq!(bench.service.get_run_approval(get("x")).await.unwrap_err().code(), Code::NotFound);
    let token = pb::ListRunApprovalsRequest { page_token: "x".to_owned(), ..Default::default() };
    let wrong = bench.service.list_run_approvals(Request::new(token)).await.unwrap_err();
    assert!(wrong.message().starts_with("page_token"), "{wrong}");
}

#[tokio::test]
async fn a_run_is_taken_and_parked_by_turns() {
    let bench = bench(JournalSettings::default()).await;
    let session = bench.session().await;
    let mut open = open_request(&session);
    open.run.as_mut().unwrap().kind = pb::RunKind::Debug as i32;
    (open.request_id, open.input_digest) = ("r".to_owned(), "d".to_owned());
    let run = bench.service.open_run(Request::new(open)).await.unwrap().into_inner().run.unwrap();
    let find = pb::GetRunRequest {
        caller: "user/alice".to_owned(),
        request_id: "r".to_owned(),
        ..Default::default()
    };
    assert_eq!(bench.service.get_run(Request::new(find)).await.unwrap().into_inner().run_id, run.run_id);

    let take = |session: &str, max_record_format| {
        Request::new(pb::TakeRunRequest {
            session: session.to_owned(),
            run_id: run.run_id.clone(),
            max_record_format,
        })
    };
    let busy = bench.service.take_run(take(&session, 1)).await.unwrap_err();
    assert_eq!((busy.code(), reason(&busy)), (Code::FailedPrecondition, Some(Reason::RunBusy)));
    let paused = pb::ParkRequest { paused: true, ..park(&run) };
    assert!(bench.service.park(Request::new(paused)).await.unwrap().into_inner().parked);
    let older = bench.service.take_run(take(&session, 0)).await.unwrap_err();
    assert_eq!(reason(&older), Some(Reason::RecordFormat));
    bench.signal(&run, "s").await;
    let taken = bench.service.take_run(take(&session, 1)).await.unwrap().into_inner();
    assert_eq!(taken.signals[0].signal_id, "s");
    let taken = taken.run.unwrap();
    assert_eq!((taken.state(), taken.epoch), (pb::RunState::Leased, 2));
    bench.append(&taken, "end", pb::RunState::Done).await.unwrap();
    let ended = bench.service.take_run(take(&session, 1)).await.unwrap_err();
    assert_eq!(reason(&ended), Some(Reason::RunState));
    let request =
        pb::ListRunsRequest { team: "red".to_owned(), kind: pb::RunKind::Debug as i32, ..Default::default() };
    let listed = bench.service.list_runs(Request::new(request)).await.unwrap().into_inner().runs;
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn the_end_of_a_job_reaches_who_awaits_it() {
    let bench = bench(JournalSettings::default()).await;
    let session = bench.session().await;
    let (parent, job) = (bench.open(&session).await, bench.open(&session).await);
    let awaits = |run: &pb::RunRecord| pb::ParkRequest { wake_on_end: vec![job.run_id.clone()], ..park(run) };
    assert!(bench.service.park(Request::new(awaits(&parent))).await.unwrap().into_inner().parked);
    let mut stream = bench.context.attach(session.parse().unwrap());
    assert_eq!(stream.next().await.unwrap().unwrap(), Command::Attached);
    assert_eq!(stream.next().await.unwrap().unwrap(), Command::ClaimHint);
    let (command, ended) = tokio::join!(stream.next(), bench.append(&job, "end", pb::RunState::Done));
    ended.unwrap();
    assert_eq!(command.unwrap().unwrap(), Command::ClaimHint);
    let claim = pb::ClaimRequest { session: session.clone(), limit: 0, max_record_format: 1 };
    let claimed = bench.service.claim(Request::new(claim)).await.unwrap().into_inner().runs.remove(0);
    assert_eq!(claimed.signals[0].signal_id, format!("job_done/{}", job.run_id));
    assert_eq!(
        (&*claimed.signals[0].kind, &claimed.signals[0].body[..]),
        ("job_done", job.run_id.as_bytes())
    );
    // It has ended: whoever parks for it goes on at once.
    let parent = claimed.run.unwrap();
    let parked = bench.service.park(Request::new(awaits(&parent))).await.unwrap().into_inner();
    assert!(!parked.parked && parked.signals.len() == 1);
    let many = pb::ParkRequest { wake_on_end: vec![job.run_id.clone(); 1001], ..park(&parent) };
    let refused = bench.service.park(Request::new(many)).await.unwrap_err();
    assert!(refused.message().starts_with("wake_on_end"), "{refused}");
}

/// Another replica wrote the signal: its content is read from the inbox.
#[tokio::test]
async fn a_stream_reads_what_other_replicas_wrote() {
    let bench = bench(JournalSettings::default()).await;
    let session = bench.session().await;
    let run = bench.open(&session).await;
    let mut stream = bench.context.attach(session.parse().unwrap());
    bench.signal(&run, "s").await;
    let mut seen = 0;
    for _ in 0..2 {
        // Once as told here, once more as found in the inbox.
        loop {
            let next = stream.next().await.unwrap().unwrap();
            if matches!(next, Command::Signal(_, signal) if signal.id == "s") {
                seen += 1;
                break;
            }
        }
        bench.context.commands.read_inboxes(session.parse().unwrap());
    }
    assert_eq!(seen, 2);
}
