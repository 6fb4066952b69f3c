//! The tonic adapter: parse, call, map. Every method is `system`: the layer has checked the peer.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, stream};
use sre_proto::error::Reason;
use sre_proto::memory::v1 as pb;
use sre_proto::memory::v1::runtime_context_server::RuntimeContext as Rpc;
use sre_proto::types::v1::BlobRef;
use tokio::time::MissedTickBehavior;
use tonic::{Request, Response, Status, Streaming};

use super::RuntimeContext;
use super::approval::{ApprovalFilter, Decision};
use super::commands::{Command, CommandStream};
use super::convert::{duration, id};
use super::error::JournalError;
use super::feed::Follower;
use super::ids::{Digest, RunId};
use super::model::{
    Append, Claim, Opening, Parked, ReadFrom, Run, RunFilter, Signal, Signalled, Summary, is_ended,
};

/// Appends or summaries in one request.
const BATCH: usize = 1000;

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// `sre.memory.v1.RuntimeContext`.
#[derive(Clone)]
pub struct RuntimeContextService {
    context: RuntimeContext,
}

impl RuntimeContextService {
    /// The service over the journal.
    pub fn new(context: RuntimeContext) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl Rpc for RuntimeContextService {
    async fn open_session(&self, request: Request<pb::OpenSessionRequest>) -> Answer<pb::Session> {
        let request = request.into_inner();
        let time_to_live = request.time_to_live.map(|value| duration("time_to_live", value)).transpose()?;
        Ok(Response::new(self.context.open_session(time_to_live, request.host).await?.into()))
    }

    async fn renew_session(&self, request: Request<pb::RenewSessionRequest>) -> Answer<pb::Session> {
        let session = self.context.renew_session(id("id", &request.into_inner().id)?).await?;
        Ok(Response::new(session.into()))
    }

    async fn close_session(&self, request: Request<pb::CloseSessionRequest>) -> Answer<()> {
        self.context.close_session(id("id", &request.into_inner().id)?).await?;
        Ok(Response::new(()))
    }

    async fn open_run(&self, request: Request<pb::OpenRunRequest>) -> Answer<pb::OpenRunResponse> {
        let opened = self.context.open_run(Opening::try_from(request.into_inner())?).await?;
        Ok(Response::new(pb::OpenRunResponse { run: Some(opened.run.into()), attached: opened.attached }))
    }

    async fn append(&self, request: Request<pb::AppendRequest>) -> Answer<pb::AppendResponse> {
        let last_sequence = self.context.append(Append::try_from(request.into_inner())?).await?;
        Ok(Response::new(pb::AppendResponse { last_sequence }))
    }

    async fn append_batch(
        &self,
        request: Request<pb::AppendBatchRequest>,
    ) -> Answer<pb::AppendBatchResponse> {
        let appends = request.into_inner().appends;
        batch("appends", appends.len())?;
        let mut outcomes: Vec<Option<pb::AppendOutcome>> = vec![None; appends.len()];
        let mut good = Vec::with_capacity(appends.len());
        let mut places = Vec::with_capacity(appends.len());
        for (place, append) in appends.into_iter().enumerate() {
            match Append::try_from(append) {
                Ok(append) => {
                    places.push(place);
                    good.push(append);
                }
                Err(error) => outcomes[place] = Some(outcome(Err(error))),
            }
        }
        let results = if good.is_empty() { Vec::new() } else { self.context.append_batch(good).await? };
        for (place, result) in places.into_iter().zip(results) {
            outcomes[place] = Some(outcome(result));
        }
        let outcomes = outcomes.into_iter().map(Option::unwrap_or_default).collect();
        Ok(Response::new(pb::AppendBatchResponse { outcomes }))
    }

    async fn write_summaries(
        &self,
        request: Request<pb::WriteSummariesRequest>,
    ) -> Answer<pb::WriteSummariesResponse> {
        let runs = request.into_inner().runs;
        batch("runs", runs.len())?;
        let runs = runs.into_iter().map(Summary::try_from).collect::<Result<Vec<_>, _>>()?;
        let (written, dropped) = self.context.write_summaries(runs).await?;
        Ok(Response::new(pb::WriteSummariesResponse { written: count(written), dropped: count(dropped) }))
    }

    type LoadStream = Answers<pb::LoadResponse>;

    async fn load(&self, request: Request<pb::LoadRequest>) -> Answer<Self::LoadStream> {
        let request = request.into_inner();
        let run: RunId = id("run_id", &request.run_id)?;
        let from = if request.from_checkpoint {
            ReadFrom::LastCheckpoint(request.after_sequence)
        } else {
            ReadFrom::After(request.after_sequence)
        };
        // A run that is not there is an error of the call, not of its stream.
        let first = self.context.read(run, from).await?;
        let context = self.context.clone();
        let pages = stream::try_unfold(Some(first), move |page| {
            let context = context.clone();
            async move {
                let Some(page) = page else { return Ok(None) };
                let Some(last) = page.records.last().map(|record| record.sequence) else { return Ok(None) };
                let rest = if last + 1 < page.next_sequence {
                    Some(context.read(run, ReadFrom::After(last)).await?)
                } else {
                    None
                };
                let records = page.records.into_iter().map(Into::into).collect();
                Ok::<_, Status>(Some((pb::LoadResponse { records }, rest)))
            }
        });
        Ok(Response::new(Box::pin(pages)))
    }

    async fn claim(&self, request: Request<pb::ClaimRequest>) -> Answer<pb::ClaimResponse> {
        let request = request.into_inner();
        let claim = Claim {
            session: id("session", &request.session)?,
            limit: limit("limit", request.limit, 16, 256)?,
            max_record_format: request.max_record_format,
        };
        let claimed = self.context.claim(claim).await?;
        Ok(Response::new(pb::ClaimResponse { runs: claimed.runs.into_iter().map(self::claimed).collect() }))
    }

    async fn signal(&self, request: Request<pb::SignalRequest>) -> Answer<pb::SignalResponse> {
        let request = request.into_inner();
        let signal = request.signal.ok_or_else(|| JournalError::invalid("signal", "is not set"))?;
        let run = id("run_id", &request.run_id)?;
        let (state, ended) = match self.context.signal(run, Signal::try_from(signal)?).await? {
            Signalled::Ended(state) => (state, true),
            Signalled::Kept { state, .. } => (state, false),
        };
        Ok(Response::new(pb::SignalResponse { state: state as i32, ended }))
    }

    type AttachStream = Answers<pb::AttachResponse>;

    async fn attach(&self, request: Request<pb::AttachRequest>) -> Answer<Self::AttachStream> {
        let commands = self.context.attach(id("session", &request.into_inner().session)?);
        let stream = stream::unfold(commands, async |mut commands: CommandStream| {
            let command = commands.next().await?;
            Some((command.map(Into::into).map_err(Status::from), commands))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn park(&self, request: Request<pb::ParkRequest>) -> Answer<pb::ParkResponse> {
        let answer = match self.context.park(request.into_inner().try_into()?).await? {
            Parked::Parked => pb::ParkResponse { parked: true, signals: Vec::new() },
            Parked::SignalsWait(signals) => {
                pb::ParkResponse { parked: false, signals: signals.into_iter().map(Into::into).collect() }
            }
        };
        Ok(Response::new(answer))
    }

    type TailStream = Answers<pb::TailResponse>;

    async fn tail(&self, request: Request<pb::TailRequest>) -> Answer<Self::TailStream> {
        let request = request.into_inner();
        let run: RunId = id("run_id", &request.run_id)?;
        let tail = Tail {
            follower: self.context.follow(run),
            context: self.context.clone(),
            run,
            after: request.after_sequence,
            told: false,
            ended: false,
        };
        self.context.run_exists(run).await?;
        let stream = stream::unfold(tail, async |mut tail| {
            let answer = tail.next().await?;
            tail.ended |= answer.is_err();
            Some((answer, tail))
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Answer<pb::RunRecord> {
        let request = request.into_inner();
        let run = if request.run_id.is_empty() && !request.request_id.is_empty() {
            self.context.find(request.caller, request.request_id).await?
        } else {
            self.context.run(id("run_id", &request.run_id)?).await?
        };
        Ok(Response::new(run.into()))
    }

    async fn take_run(&self, request: Request<pb::TakeRunRequest>) -> Answer<pb::ClaimedRun> {
        let (run, signals) = self.context.take(request.into_inner().try_into()?).await?;
        Ok(Response::new(claimed((run, signals))))
    }

    async fn list_run_approvals(
        &self,
        request: Request<pb::ListRunApprovalsRequest>,
    ) -> Answer<pb::ListRunApprovalsResponse> {
        let request = request.into_inner();
        let state = Some(request.state()).filter(|state| *state != pb::ApprovalState::Unspecified);
        let page_size = limit("page_size", request.page_size, 50, 1000)?;
        let before = some(request.page_token).map(|token| token.parse()).transpose();
        let filter = ApprovalFilter {
            team: request.team,
            agent: some(request.agent),
            run: some(request.run_id).map(|run| id("run_id", &run)).transpose()?,
            state,
            before: before
                .map_err(|_| JournalError::invalid("page_token", "is not from an earlier answer"))?,
            // One more tells whether there is a next page.
            limit: page_size + 1,
        };
        let mut approvals = self.context.approvals(filter).await?;
        let more = approvals.len() > page_size as usize;
        approvals.truncate(page_size as usize);
        let last = approvals.last().filter(|_| more);
        let next_page_token = last.map(|approval| approval.place.to_string()).unwrap_or_default();
        let approvals = approvals.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListRunApprovalsResponse { approvals, next_page_token }))
    }

    async fn get_run_approval(&self, request: Request<pb::GetRunApprovalRequest>) -> Answer<pb::RunApproval> {
        let request = request.into_inner();
        let approval = self.context.approval(id("run_id", &request.run_id)?, request.id).await?;
        Ok(Response::new(approval.into()))
    }

    async fn decide_run_approval(
        &self,
        request: Request<pb::DecideRunApprovalRequest>,
    ) -> Answer<pb::RunApproval> {
        let mut request = request.into_inner();
        let (run, asked) = (id("run_id", &request.run_id)?, std::mem::take(&mut request.id));
        Ok(Response::new(self.context.decide(run, asked, Decision::try_from(request)?).await?.into()))
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Answer<pb::ListRunsResponse> {
        let request = request.into_inner();
        let state = Some(request.state()).filter(|state| *state != pb::RunState::Unspecified);
        let page_size = limit("page_size", request.page_size, 50, 1000)?;
        let kind = Some(request.kind()).filter(|kind| *kind != pb::RunKind::Unspecified);
        let before = some(request.page_token).map(|token| id("page_token", &token)).transpose()?;
        let filter = RunFilter {
            team: request.team,
            agent: some(request.agent),
            caller: some(request.caller),
            state,
            parent: some(request.parent_run).map(|run| id("parent_run", &run)).transpose()?,
            kind,
            before,
            // One more tells whether there is a next page.
            limit: page_size + 1,
        };
        let mut runs = self.context.list(filter).await?;
        let more = runs.len() > page_size as usize;
        runs.truncate(page_size as usize);
        let last = runs.last().filter(|_| more);
        let next_page_token = last.map(|run| run.head.id.to_string()).unwrap_or_default();
        let runs = runs.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ListRunsResponse { runs, next_page_token }))
    }

    async fn delete_run(&self, request: Request<pb::DeleteRunRequest>) -> Answer<()> {
        self.context.delete(id("run_id", &request.into_inner().run_id)?).await?;
        Ok(Response::new(()))
    }

    async fn put_blob(&self, request: Request<Streaming<pb::PutBlobRequest>>) -> Answer<BlobRef> {
        let mut messages = request.into_inner();
        let first = messages.message().await?;
        let first = first.ok_or_else(|| JournalError::invalid("run_id", "the first message must name it"))?;
        let digest: Digest = id("digest", &first.digest)?;
        let mut upload = self.context.upload(id("run_id", &first.run_id)?, digest).await?;
        upload.write(first.data).await?;
        while let Some(message) = messages.message().await? {
            upload.write(message.data).await?;
        }
        Ok(Response::new(upload.finish().await?.into()))
    }

    type GetBlobStream = Answers<pb::GetBlobResponse>;

    async fn get_blob(&self, request: Request<pb::GetBlobRequest>) -> Answer<Self::GetBlobStream> {
        let request = request.into_inner();
        let pieces =
            self.context.blob(id("run_id", &request.run_id)?, id("digest", &request.digest)?).await?;
        let pieces = pieces.map(|piece| Ok(pb::GetBlobResponse { data: piece? }));
        Ok(Response::new(Box::pin(pieces)))
    }
}

/// One who follows a run's records.
struct Tail {
    context: RuntimeContext,
    follower: Follower,
    run: RunId,
    after: i64,
    /// Whether the state was told at least once.
    told: bool,
    ended: bool,
}

impl Tail {
    async fn next(&mut self) -> Option<Result<pb::TailResponse, Status>> {
        while !self.ended {
            self.follower.catch_up();
            let page = match self.context.read(self.run, ReadFrom::After(self.after)).await {
                Ok(page) => page,
                Err(error) => return Some(Err(error.into())),
            };
            if let Some(last) = page.records.last() {
                self.after = last.sequence;
            }
            let whole = self.after + 1 >= page.next_sequence;
            self.ended = whole && is_ended(page.state);
            if !page.records.is_empty() || self.ended || !self.told {
                self.told = true;
                let records = page.records.into_iter().map(Into::into).collect();
                return Some(Ok(pb::TailResponse { records, state: page.state as i32 }));
            }
            if !self.context.changed(&mut self.follower).await {
                return None;
            }
        }
        None
    }
}

impl RuntimeContext {
    /// Waits for a change of a followed run; false at shutdown.
    async fn changed(&self, follower: &mut Follower) -> bool {
        let poll = async {
            let Some(every) = self.journal.poll_interval() else { return std::future::pending().await };
            let mut ticks = tokio::time::interval(every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            ticks.tick().await;
        };
        tokio::select! {
            () = follower.changed() => true,
            () = poll => true,
            () = self.shutdown.cancelled() => false,
        }
    }

    async fn run_exists(&self, run: RunId) -> Result<(), JournalError> {
        self.run(run).await.map(|_| ())
    }
}

impl From<Command> for pb::AttachResponse {
    fn from(command: Command) -> Self {
        use pb::attach_response::Command as Sent;
        let command = match command {
            Command::Attached => Sent::Attached(pb::Attached {}),
            Command::ClaimHint => Sent::ClaimHint(pb::ClaimHint {}),
            Command::SessionLost => Sent::SessionLost(pb::SessionLost {}),
            Command::Signal(run, signal) => {
                Sent::Signal(pb::SignalDelivery { run_id: run.to_string(), signal: Some(signal.into()) })
            }
        };
        Self { command: Some(command) }
    }
}

fn outcome(result: Result<i64, JournalError>) -> pb::AppendOutcome {
    match result {
        Ok(last_sequence) => pb::AppendOutcome { last_sequence, reason: String::new() },
        Err(error) => {
            let reason: Reason = error.reason();
            pb::AppendOutcome { last_sequence: 0, reason: sre_proto::error::name(reason).to_owned() }
        }
    }
}

fn claimed((run, signals): (Run, Vec<Signal>)) -> pb::ClaimedRun {
    pb::ClaimedRun { run: Some(run.into()), signals: signals.into_iter().map(Into::into).collect() }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn batch(field: &'static str, length: usize) -> Result<(), JournalError> {
    if length > BATCH {
        return Err(JournalError::invalid(field, format!("holds {length}, {BATCH} at most")));
    }
    Ok(())
}

/// A page size: a default where 0, refused where negative, cut at the most.
fn limit(field: &'static str, asked: i32, default: u32, most: u32) -> Result<u32, JournalError> {
    match u32::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(asked) => Ok(asked.min(most)),
        Err(_) => Err(JournalError::invalid(field, "must not be negative")),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
