//! The memory service as the engine uses it. Calls go under the engine's own name and carry no token.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use sre_proto::error::{Reason, status};
use sre_proto::memory::v1::runtime_context_client::RuntimeContextClient;
use sre_proto::memory::v1::{
    AppendBatchRequest, AppendOutcome, AppendRequest, AttachRequest, AttachResponse, ClaimRequest,
    ClaimedRun, CloseSessionRequest, DecideRunApprovalRequest, DeleteRunRequest, GetBlobRequest,
    GetRunApprovalRequest, GetRunRequest, JournalRecord, ListRunApprovalsRequest, ListRunApprovalsResponse,
    ListRunsRequest, ListRunsResponse, LoadRequest, LoadResponse, OpenRunRequest, OpenRunResponse,
    OpenSessionRequest, ParkRequest, ParkResponse, PutBlobRequest, RenewSessionRequest, RunApproval,
    RunRecord, Session, SignalRequest, SignalResponse, TailRequest, TailResponse, TakeRunRequest,
    WriteSummariesRequest, WriteSummariesResponse,
};
use sre_proto::types::v1::BlobRef;
use sre_service::Link;
use tonic::{Code, Status};

use super::clock::StoreClock;
use super::formats;
use super::queue::AppendStore;
use crate::engine::session::Leases;
use crate::engine::summary::SummaryStore;
use crate::engine::usage;

const CHUNK: usize = 256 << 10;

/// The journal.
#[derive(Clone)]
pub struct JournalStore {
    link: Link,
    time_to_live: Duration,
    blob_threshold: usize,
    clock: StoreClock,
}

impl JournalStore {
    /// The journal behind a link. Sessions live so long; content above the threshold is kept apart.
    pub fn new(link: Link, time_to_live: Duration, blob_threshold: usize) -> Self {
        Self { link, time_to_live, blob_threshold, clock: StoreClock::default() }
    }

    /// The store's clock.
    pub fn clock(&self) -> &StoreClock {
        &self.clock
    }

    fn client(&self) -> RuntimeContextClient<Link> {
        RuntimeContextClient::new(self.link.clone())
    }

    /// Opens a run; durable when it answers.
    pub async fn open(&self, mut request: OpenRunRequest) -> Result<OpenRunResponse, Status> {
        // A run that is there already keeps its own records, and with them what it adds to the ledger.
        if let (Some(run), Some(first)) = (&request.run, request.records.first_mut())
            && first.usage.is_empty()
        {
            first.usage = usage::opened(run, "").unwrap_or_default();
        }
        Ok(self.client().open_run(request).await?.into_inner())
    }

    /// Claims runs that nobody owns.
    pub async fn claim(&self, session: &str, limit: usize) -> Result<Vec<ClaimedRun>, Status> {
        let request = ClaimRequest {
            session: session.to_owned(),
            limit: i32::try_from(limit).unwrap_or(i32::MAX),
            max_record_format: formats::NEWEST,
        };
        Ok(self.client().claim(request).await?.into_inner().runs)
    }

    /// A run.
    pub async fn run(&self, run_id: &str) -> Result<RunRecord, Status> {
        Ok(self
            .client()
            .get_run(GetRunRequest { run_id: run_id.to_owned(), ..GetRunRequest::default() })
            .await?
            .into_inner())
    }

    /// A run, or none.
    pub async fn find(&self, run_id: &str) -> Result<Option<RunRecord>, Status> {
        match self.run(run_id).await {
            Ok(run) => Ok(Some(run)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// The run that somebody opened with a request id, or none.
    pub async fn find_named(&self, caller: &str, request_id: &str) -> Result<Option<RunRecord>, Status> {
        let request = GetRunRequest {
            caller: caller.to_owned(),
            request_id: request_id.to_owned(),
            ..GetRunRequest::default()
        };
        match self.client().get_run(request).await {
            Ok(run) => Ok(Some(run.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Runs, newest first.
    pub async fn list(&self, request: ListRunsRequest) -> Result<ListRunsResponse, Status> {
        Ok(self.client().list_runs(request).await?.into_inner())
    }

    /// Deletes an ended run.
    pub async fn delete(&self, run_id: &str) -> Result<(), Status> {
        self.client().delete_run(DeleteRunRequest { run_id: run_id.to_owned() }).await?;
        Ok(())
    }

    /// Puts a signal into a run's inbox.
    pub async fn signal(&self, request: SignalRequest) -> Result<SignalResponse, Status> {
        Ok(self.client().signal(request).await?.into_inner())
    }

    /// Gives up a run until a moment or a signal.
    pub async fn park(&self, request: ParkRequest) -> Result<ParkResponse, Status> {
        Ok(self.client().park(request).await?.into_inner())
    }

    /// Takes one run that nobody works on, whatever it waits for.
    pub async fn take(&self, session: &str, run_id: &str) -> Result<ClaimedRun, Status> {
        let request = TakeRunRequest {
            session: session.to_owned(),
            run_id: run_id.to_owned(),
            max_record_format: formats::NEWEST,
        };
        Ok(self.client().take_run(request).await?.into_inner())
    }

    /// Approvals of a team, newest first.
    pub async fn approvals(
        &self,
        request: ListRunApprovalsRequest,
    ) -> Result<ListRunApprovalsResponse, Status> {
        Ok(self.client().list_run_approvals(request).await?.into_inner())
    }

    /// An approval, or none.
    pub async fn approval(&self, run_id: &str, id: &str) -> Result<Option<RunApproval>, Status> {
        let request = GetRunApprovalRequest { run_id: run_id.to_owned(), id: id.to_owned() };
        match self.client().get_run_approval(request).await {
            Ok(found) => Ok(Some(found.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Decides an approval.
    pub async fn decide(&self, request: DecideRunApprovalRequest) -> Result<RunApproval, Status> {
        Ok(self.client().decide_run_approval(request).await?.into_inner())
    }

    /// All records of a run, with the content that is kept apart.
    pub async fn load(&self, run_id: &str) -> Result<Vec<JournalRecord>, Status> {
        self.read(LoadRequest { run_id: run_id.to_owned(), ..LoadRequest::default() }).await
    }

    /// The last checkpoint of a run and what follows; all of its records where it has none.
    pub async fn load_tail(&self, run_id: &str) -> Result<Vec<JournalRecord>, Status> {
        let request = LoadRequest { run_id: run_id.to_owned(), after_sequence: 0, from_checkpoint: true };
        self.read(request).await
    }

    /// One record of a run.
    pub async fn record(&self, run_id: &str, sequence: i64) -> Result<Option<JournalRecord>, Status> {
        let mut pages = self.pages(run_id, sequence - 1).await?;
        while let Some(page) = pages.next().await {
            if let Some(record) = page?.records.into_iter().next() {
                return Ok(Some(self.whole(run_id, record).await?));
            }
        }
        Ok(None)
    }

    async fn read(&self, request: LoadRequest) -> Result<Vec<JournalRecord>, Status> {
        let run_id = request.run_id.clone();
        let mut pages = self.client().load(request).await?.into_inner();
        let mut records = Vec::new();
        while let Some(page) = pages.message().await? {
            for record in page.records {
                records.push(self.whole(&run_id, record).await?);
            }
        }
        Ok(records)
    }

    /// The records of a run after a sequence, page by page, their large content still apart.
    pub async fn pages(
        &self,
        run_id: &str,
        after: i64,
    ) -> Result<BoxStream<'static, Result<LoadResponse, Status>>, Status> {
        let request =
            LoadRequest { run_id: run_id.to_owned(), after_sequence: after, from_checkpoint: false };
        Ok(self.client().load(request).await?.into_inner().boxed())
    }

    /// Follows a run's records until it ended.
    pub async fn tail(
        &self,
        run_id: &str,
        after: i64,
    ) -> Result<BoxStream<'static, Result<TailResponse, Status>>, Status> {
        let request = TailRequest { run_id: run_id.to_owned(), after_sequence: after };
        Ok(self.client().tail(request).await?.into_inner().boxed())
    }

    /// Commands for this engine's session.
    pub async fn attach(
        &self,
        session: &str,
    ) -> Result<BoxStream<'static, Result<AttachResponse, Status>>, Status> {
        let request = AttachRequest { session: session.to_owned() };
        Ok(self.client().attach(request).await?.into_inner().boxed())
    }

    /// A record as it may be appended: large content is stored apart first.
    pub async fn apart(&self, run_id: &str, mut record: JournalRecord) -> Result<JournalRecord, Status> {
        if record.body.len() > self.blob_threshold {
            record.blob = Some(self.put_blob(run_id, std::mem::take(&mut record.body)).await?);
        }
        Ok(record)
    }

    /// Whether a record's content must be stored apart.
    pub fn is_large(&self, record: &JournalRecord) -> bool {
        record.body.len() > self.blob_threshold
    }

    /// A record with its content.
    pub async fn whole(&self, run_id: &str, mut record: JournalRecord) -> Result<JournalRecord, Status> {
        if let Some(blob) = record.blob.take() {
            record.body = self.get_blob(run_id, &blob).await?;
        }
        Ok(record)
    }

    async fn put_blob(&self, run_id: &str, content: Bytes) -> Result<BlobRef, Status> {
        let digest = format!("b3:{}", blake3::hash(&content).to_hex());
        let mut first = Some(PutBlobRequest { run_id: run_id.to_owned(), digest, data: content.slice(..0) });
        let mut rest = content;
        let parts = stream::iter(std::iter::from_fn(move || {
            if let Some(mut part) = first.take() {
                part.data = rest.split_to(rest.len().min(CHUNK));
                return Some(part);
            }
            let data = rest.split_to(rest.len().min(CHUNK));
            (!data.is_empty()).then(|| PutBlobRequest { data, ..Default::default() })
        }));
        Ok(self.client().put_blob(parts).await?.into_inner())
    }

    async fn get_blob(&self, run_id: &str, blob: &BlobRef) -> Result<Bytes, Status> {
        let request = GetBlobRequest { run_id: run_id.to_owned(), digest: blob.digest.clone() };
        let mut parts = self.client().get_blob(request).await?.into_inner();
        let mut content =
            Vec::with_capacity(usize::try_from(blob.size_bytes).unwrap_or_default().min(16 << 20));
        while let Some(part) = parts.message().await? {
            content.extend_from_slice(&part.data);
        }
        Ok(content.into())
    }
}

#[async_trait]
impl AppendStore for JournalStore {
    async fn append_batch(&self, appends: Vec<AppendRequest>) -> Result<Vec<AppendOutcome>, Status> {
        Ok(self.client().append_batch(AppendBatchRequest { appends }).await?.into_inner().outcomes)
    }

    async fn position(&self, run_id: &str) -> Result<(i64, i64), Status> {
        let run = self.run(run_id).await?;
        Ok((run.next_sequence, run.epoch))
    }
}

#[async_trait]
impl Leases for JournalStore {
    async fn open(&self) -> Result<(String, Duration), Status> {
        let request = OpenSessionRequest {
            time_to_live: self.time_to_live.try_into().ok(),
            host: format!("process {}", std::process::id()),
        };
        let sent = SystemTime::now();
        let session = self.client().open_session(request).await?.into_inner();
        let time_to_live = self.lifetime(&session, sent)?;
        Ok((session.id, time_to_live))
    }

    async fn renew(&self, id: &str) -> Result<Duration, Status> {
        let sent = SystemTime::now();
        let session =
            self.client().renew_session(RenewSessionRequest { id: id.to_owned() }).await?.into_inner();
        self.lifetime(&session, sent)
    }

    async fn close(&self, id: &str) -> Result<(), Status> {
        self.client().close_session(CloseSessionRequest { id: id.to_owned() }).await?;
        Ok(())
    }
}

#[async_trait]
impl SummaryStore for JournalStore {
    async fn write(&self, runs: Vec<RunRecord>) -> Result<WriteSummariesResponse, Status> {
        Ok(self.client().write_summaries(WriteSummariesRequest { runs }).await?.into_inner())
    }
}

impl JournalStore {
    /// How long a session lives from now. It says what time the store has, too.
    fn lifetime(&self, session: &Session, sent: SystemTime) -> Result<Duration, Status> {
        let time = session.time_to_live.and_then(|time| Duration::try_from(time).ok());
        let time = time.filter(|time| !time.is_zero()).ok_or_else(|| {
            status(Code::Internal, Reason::Internal, "memory answered a session without its time to live")
        })?;
        let ends = session.expire_time.and_then(|ends| SystemTime::try_from(ends).ok());
        if let Some(there) = ends.and_then(|ends| ends.checked_sub(time)) {
            self.clock.learn(there, sent);
        }
        Ok(time)
    }
}
