//! `sre.memory.v1.RuntimeContext`: for the engine, without a Candidate.

use anyhow::{bail, ensure};
use bytes::Bytes;
use sre_proto::memory::v1::*;
use sre_proto::types::v1::BlobRef;

use super::super::case::Case;
use super::super::world::World;

const ENGINE: &str = "service/engine";
/// A format that the running engine does not read, so that it leaves these runs alone.
const OURS: i32 = 9_999;
/// The id of what a run asks people.
const QUESTION: &str = "question";
const PAYLOAD: &[u8] = b"a payload of the matrix";

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let case = match method {
        "OpenSession" => Case::of(&open_session()).stores().answers(|session: Session| {
            ensure!(!session.id.is_empty() && session.expire_time.is_some(), "{session:?}");
            Ok(())
        }),
        "RenewSession" => {
            let id = session(world).await?;
            Case::of(&RenewSessionRequest { id: id.clone() }).answers(move |session: Session| {
                ensure!(session.id == id, "{session:?}");
                Ok(())
            })
        }
        "CloseSession" => {
            let id = session(world).await?;
            Case::of(&CloseSessionRequest { id: id.clone() }).then(move |world, _| {
                let renew = RenewSessionRequest { id: id.clone() };
                Box::pin(async move {
                    let renewed: anyhow::Result<Session> = world.ask(ENGINE, renew).await;
                    ensure!(renewed.is_err(), "a closed session was renewed");
                    Ok(())
                })
            })
        }
        "OpenRun" => Case::of(&open(&session(world).await?)).stores().answers(|answer: OpenRunResponse| {
            ensure!(!answer.attached && answer.run.is_some_and(|run| run.epoch > 0), "no owned run");
            Ok(())
        }),
        "Append" => Case::of(&append(world).await?).stores().answers(|answer: AppendResponse| {
            ensure!(answer.last_sequence == 2, "{answer:?}");
            Ok(())
        }),
        "AppendBatch" => {
            let request = AppendBatchRequest { appends: vec![append(world).await?] };
            Case::of(&request).stores().answers(|answer: AppendBatchResponse| {
                ensure!(answer.outcomes.iter().all(|outcome| outcome.reason.is_empty()), "{answer:?}");
                Ok(())
            })
        }
        "WriteSummaries" => {
            let now = Some(std::time::SystemTime::now().into());
            let run = RunRecord { state: RunState::Done.into(), create_time: now, end_time: now, ..record() };
            Case::of(&WriteSummariesRequest { runs: vec![run] }).stores().answers(
                |answer: WriteSummariesResponse| {
                    ensure!(answer.written == 1, "{answer:?}");
                    Ok(())
                },
            )
        }
        "Load" => {
            let request = LoadRequest { run_id: owned(world).await?.run_id, ..LoadRequest::default() };
            Case::of(&request).streams(|answers: Vec<LoadResponse>| {
                ensure!(answers.iter().any(|answer| !answer.records.is_empty()), "{answers:?}");
                Ok(())
            })
        }
        "Claim" => {
            let id = run(world, "").await?.run_id;
            let request =
                ClaimRequest { session: session(world).await?, limit: 256, max_record_format: OURS };
            Case::of(&request).stores().answers(move |answer: ClaimResponse| {
                let mut claimed = answer.runs.iter().filter_map(|run| run.run.as_ref());
                ensure!(claimed.any(|run| run.run_id == id), "{answer:?}");
                Ok(())
            })
        }
        "Signal" => {
            let signal = PendingSignal { signal_id: "s".into(), kind: "resume".into(), body: Bytes::new() };
            let request = SignalRequest { run_id: owned(world).await?.run_id, signal: Some(signal) };
            return Ok(Some(Case::of(&request).services("engine", "edge").stores()));
        }
        "Attach" => {
            let request = AttachRequest { session: session(world).await? };
            Case::of(&request).streams(|answers: Vec<AttachResponse>| {
                let first = answers.first().and_then(|answer| answer.command.as_ref());
                ensure!(matches!(first, Some(attach_response::Command::Attached(_))), "{answers:?}");
                Ok(())
            })
        }
        "Park" => {
            let owned = owned(world).await?;
            let hour = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
            let request = ParkRequest {
                run_id: owned.run_id,
                session: owned.session,
                epoch: owned.epoch,
                until: Some(hour.into()),
                ..ParkRequest::default()
            };
            Case::of(&request).stores().answers(|answer: ParkResponse| {
                ensure!(answer.parked, "{answer:?}");
                Ok(())
            })
        }
        "Tail" => {
            let request = TailRequest { run_id: owned(world).await?.run_id, after_sequence: 0 };
            Case::of(&request).streams(|answers: Vec<TailResponse>| {
                ensure!(answers.iter().any(|answer| !answer.records.is_empty()), "{answers:?}");
                Ok(())
            })
        }
        "TakeRun" => {
            let request = TakeRunRequest {
                session: session(world).await?,
                run_id: run(world, "").await?.run_id,
                max_record_format: OURS,
            };
            let expected = request.clone();
            Case::of(&request).stores().answers(move |taken: ClaimedRun| {
                let Some(run) = taken.run else { bail!("no run") };
                ensure!(run.run_id == expected.run_id && run.session == expected.session, "{run:?}");
                Ok(())
            })
        }
        "ListRunApprovals" => {
            let run_id = asking(world).await?;
            let request = ListRunApprovalsRequest {
                team: "default".into(),
                state: ApprovalState::Pending.into(),
                page_size: 1000,
                ..ListRunApprovalsRequest::default()
            };
            Case::of(&request).answers(move |list: ListRunApprovalsResponse| {
                ensure!(list.approvals.iter().any(|approval| approval.run_id == run_id), "{list:?}");
                Ok(())
            })
        }
        "GetRunApproval" => {
            let request = GetRunApprovalRequest { run_id: asking(world).await?, id: QUESTION.into() };
            Case::of(&request).answers(|approval: RunApproval| {
                ensure!(
                    approval.title == "may it?" && approval.state() == ApprovalState::Pending,
                    "{approval:?}"
                );
                Ok(())
            })
        }
        "DecideRunApproval" => {
            let request = DecideRunApprovalRequest {
                run_id: asking(world).await?,
                id: QUESTION.into(),
                decision: ApprovalState::Approved.into(),
                decided_by: "user/dev".into(),
                ..DecideRunApprovalRequest::default()
            };
            Case::of(&request).stores().answers(|approval: RunApproval| {
                ensure!(approval.state() == ApprovalState::Approved, "{approval:?}");
                ensure!(approval.decided_by == "user/dev", "{approval:?}");
                Ok(())
            })
        }
        "GetRun" => {
            let run_id = owned(world).await?.run_id;
            Case::of(&GetRunRequest { run_id: run_id.clone(), ..GetRunRequest::default() }).answers(
                move |run: RunRecord| {
                    ensure!(run.run_id == run_id, "{run:?}");
                    Ok(())
                },
            )
        }
        "ListRuns" => {
            let owned = owned(world).await?;
            let request =
                ListRunsRequest { team: owned.team, agent: owned.agent, ..ListRunsRequest::default() };
            Case::of(&request).answers(move |list: ListRunsResponse| {
                ensure!(list.runs.iter().any(|run| run.run_id == owned.run_id), "{list:?}");
                Ok(())
            })
        }
        "DeleteRun" => {
            let append = append(world).await?;
            let run_id = append.run_id.clone();
            let closed = AppendRequest { close_state: RunState::Done.into(), ..append };
            let _: AppendResponse = world.ask(ENGINE, closed).await?;
            Case::of(&DeleteRunRequest { run_id }).stores()
        }
        "PutBlob" => {
            let request = put_blob(&owned(world).await?.run_id);
            Case::of(&request).stores().answers(|blob: BlobRef| {
                ensure!(blob.size_bytes == PAYLOAD.len() as i64, "{blob:?}");
                Ok(())
            })
        }
        "GetBlob" => {
            let run_id = owned(world).await?.run_id;
            let put = put_blob(&run_id);
            let digest = put.digest.clone();
            let _: BlobRef = world.ask(ENGINE, put).await?;
            Case::of(&GetBlobRequest { run_id, digest }).streams(|parts: Vec<GetBlobResponse>| {
                let data: Vec<u8> = parts.iter().flat_map(|part| part.data.to_vec()).collect();
                ensure!(data == PAYLOAD, "another payload");
                Ok(())
            })
        }
        _ => return Ok(None),
    };
    Ok(Some(case.services("engine", "engine")))
}

fn open_session() -> OpenSessionRequest {
    // The longest there is: a session that ends during the matrix would change what is stored.
    let time_to_live = Some(prost_types::Duration { seconds: 300, nanos: 0 });
    OpenSessionRequest { time_to_live, host: "matrix".into() }
}

async fn session(world: &World) -> anyhow::Result<String> {
    let session: Session = world.ask(ENGINE, open_session()).await?;
    Ok(session.id)
}

fn record() -> RunRecord {
    RunRecord {
        run_id: sre_proto::ids::new_id(),
        team: "default".into(),
        agent: "journalled".into(),
        caller: "user/dev".into(),
        kind: RunKind::Skill.into(),
        spec: "opaque".into(),
        record_format: OURS,
        label: "matrix".into(),
        version: "v".into(),
        ..RunRecord::default()
    }
}

fn open(session: &str) -> OpenRunRequest {
    let opened =
        JournalRecord { kind: RecordKind::Opened.into(), body: "opaque".into(), ..JournalRecord::default() };
    OpenRunRequest {
        run: Some(record()),
        session: session.into(),
        records: vec![opened],
        ..OpenRunRequest::default()
    }
}

async fn run(world: &World, session: &str) -> anyhow::Result<RunRecord> {
    let answer: OpenRunResponse = world.ask(ENGINE, open(session)).await?;
    let Some(run) = answer.run else { bail!("OpenRun answered without a run") };
    Ok(run)
}

/// A run that a session of the matrix owns.
async fn owned(world: &World) -> anyhow::Result<RunRecord> {
    let session = session(world).await?;
    let run = run(world, &session).await?;
    Ok(RunRecord { session, ..run })
}

/// A run that asks people something; its id.
async fn asking(world: &World) -> anyhow::Result<String> {
    let append = append(world).await?;
    let hour = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    let approval = RunApproval {
        id: QUESTION.into(),
        component: "ask".into(),
        kind: "approval".into(),
        title: "may it?".into(),
        approvers: vec!["admins".into()],
        expire_time: Some(hour.into()),
        ..RunApproval::default()
    };
    let run_id = append.run_id.clone();
    let request = AppendRequest { approvals: vec![approval], ..append };
    let _: AppendResponse = world.ask(ENGINE, request).await?;
    Ok(run_id)
}

async fn append(world: &World) -> anyhow::Result<AppendRequest> {
    let owned = owned(world).await?;
    let finished =
        JournalRecord { kind: RecordKind::Finished.into(), step: "a".into(), ..JournalRecord::default() };
    Ok(AppendRequest {
        run_id: owned.run_id,
        session: owned.session,
        epoch: owned.epoch,
        records: vec![finished],
        ..AppendRequest::default()
    })
}

fn put_blob(run_id: &str) -> PutBlobRequest {
    PutBlobRequest {
        run_id: run_id.into(),
        digest: format!("b3:{}", blake3::hash(PAYLOAD).to_hex()),
        data: Bytes::from_static(PAYLOAD),
    }
}
