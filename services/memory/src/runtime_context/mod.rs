//! The run journal: what running agents decided and did is here before it counts.
//!
//! `service.rs` speaks gRPC; this file puts the parts together: the journal's store (`connectors/`), payloads
//! (`blobs/`), the command streams of engines (`commands.rs`), followers of runs (`feed.rs`) and the
//! housekeeping (`upkeep.rs`).

mod approval;
mod blobs;
mod changes;
mod commands;
pub(crate) mod connectors;
pub(crate) mod convert;
pub(crate) mod error;
mod feed;
pub(crate) mod ids;
pub(crate) mod model;
mod rate;
mod service;
mod settings;
pub(crate) mod time;
mod upkeep;
mod usage_outbox;
mod usage_together;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use blobs::{BlobFiles, BlobStore};
pub use connectors::{
    Journal, MIGRATIONS, PG_MIGRATIONS, PG_SESSION, PostgresBlobs, PostgresJournal, SqliteJournal,
};
pub use error::JournalError;
pub use service::RuntimeContextService;
pub use settings::JournalSettings;
pub use time::{Clock, SystemClock};

use approval::{Approval, ApprovalFilter, Decision};
use blobs::{Blobs, Pieces, Upload};
use changes::Change;
use commands::{CommandStream, Commands};
use feed::{Feed, Follower};
use ids::{Digest, RunId, SessionId};
use model::{
    Append, Claim, Claimed, NewRecord, Opened, Opening, Page, Parked, Parking, ReadFrom, Reaped, Run,
    RunFilter, Session, Signal, Signalled, Summary, Take,
};
use rate::RateCap;

type Result<T> = std::result::Result<T, JournalError>;

/// The run journal of a deployment. Clones share it.
#[derive(Clone)]
pub struct RuntimeContext {
    journal: Arc<dyn Journal>,
    blobs: Blobs,
    commands: Commands,
    feed: Feed,
    summaries: Arc<RateCap>,
    clock: Arc<dyn Clock>,
    settings: Arc<JournalSettings>,
    /// Something changed that may bring the next wake-up forward.
    rescheduled: Arc<Notify>,
    shutdown: CancellationToken,
}

impl RuntimeContext {
    /// The journal over its store, with payloads in theirs.
    pub async fn open(
        journal: Arc<dyn Journal>,
        blobs: Arc<dyn BlobStore>,
        clock: Arc<dyn Clock>,
        settings: Arc<JournalSettings>,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let context = Self {
            journal,
            blobs: Blobs::new(blobs, settings.blob_limit_bytes),
            commands: Commands::default(),
            feed: Feed::default(),
            summaries: Arc::new(RateCap::new(settings.summaries_per_second, settings.summaries_burst)),
            clock,
            settings,
            rescheduled: Arc::new(Notify::new()),
            shutdown,
        };
        context.observe();
        context.journal.prepare().await?;
        Ok(context)
    }

    /// Passes on what the journal says that it changed, here or in another process.
    fn observe(&self) {
        let (commands, feed) = (self.commands.clone(), self.feed.clone());
        let rescheduled = Arc::clone(&self.rescheduled);
        self.journal.observe(Arc::new(move |change| match change {
            Change::Run(run) => feed.changed(run),
            Change::Signal { session, run, signal } => commands.deliver(session, run, signal),
            Change::Inbox(session) => commands.read_inboxes(session),
            Change::Claimable => commands.hint(),
            Change::Rescheduled => rescheduled.notify_one(),
            Change::SessionOver(session) => commands.lost(session),
            Change::Missed => {
                commands.read_all();
                feed.all_changed();
                rescheduled.notify_one();
            }
        }));
    }

    async fn open_session(&self, time_to_live: Option<Duration>, host: String) -> Result<Session> {
        let settings = &self.settings;
        let time_to_live = time_to_live.unwrap_or(settings.session_ttl);
        if !(settings.session_ttl_min..=settings.session_ttl_max).contains(&time_to_live) {
            let (min, max) = (settings.session_ttl_min.as_millis(), settings.session_ttl_max.as_secs());
            return Err(JournalError::invalid(
                "time_to_live",
                format!("must be between {min} ms and {max} s"),
            ));
        }
        self.journal.open_session(time_to_live, host).await
    }

    async fn renew_session(&self, id: SessionId) -> Result<Session> {
        self.journal.renew_session(id).await?.ok_or(JournalError::SessionNotFound)
    }

    async fn close_session(&self, id: SessionId) -> Result<()> {
        self.journal.close_session(id).await.map(|_| ())
    }

    async fn open_run(&self, opening: Opening) -> Result<Opened> {
        self.require_blobs(opening.head.id, &opening.records).await?;
        self.journal.open_run(opening).await
    }

    async fn append(&self, append: Append) -> Result<i64> {
        let mut outcomes = self.append_batch(vec![append]).await?;
        outcomes.pop().unwrap_or(Err(JournalError::Fenced))
    }

    async fn append_batch(&self, appends: Vec<Append>) -> Result<Vec<Result<i64>>> {
        let mut missing = Vec::new();
        let mut present = Vec::with_capacity(appends.len());
        for (index, append) in appends.into_iter().enumerate() {
            match self.require_blobs(append.owner.run, &append.records).await {
                Ok(()) => present.push(append),
                Err(error) => missing.push((index, error)),
            }
        }
        let mut outcomes = self.journal.append(present).await?;
        for (index, error) in missing {
            outcomes.insert(index, Err(error));
        }
        Ok(outcomes)
    }

    /// A record may name a payload only when that is durable.
    async fn require_blobs(&self, run: RunId, records: &[NewRecord]) -> Result<()> {
        for blob in records.iter().filter_map(|record| record.blob) {
            if !self.blobs.contains(run, blob).await? {
                return Err(JournalError::BlobNotFound);
            }
        }
        Ok(())
    }

    async fn park(&self, parking: Parking) -> Result<Parked> {
        self.require_blobs(parking.owner.run, &parking.records).await?;
        self.journal.park(parking).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed> {
        let claimed = self.journal.claim(claim).await?;
        report(&claimed.reaped);
        Ok(claimed)
    }

    async fn take(&self, take: Take) -> Result<(Run, Vec<Signal>)> {
        self.journal.take(take).await
    }

    async fn signal(&self, run: RunId, signal: Signal) -> Result<Signalled> {
        self.journal.signal(run, signal).await
    }

    fn attach(&self, session: SessionId) -> CommandStream {
        let journal = Arc::clone(&self.journal);
        self.commands.attach(session, journal, self.settings.hint_interval, self.shutdown.clone())
    }

    async fn read(&self, run: RunId, from: ReadFrom) -> Result<Page> {
        self.journal.read(run, from).await
    }

    fn follow(&self, run: RunId) -> Follower {
        self.feed.follow(run)
    }

    async fn run(&self, run: RunId) -> Result<Run> {
        self.journal.run(run).await
    }

    async fn find(&self, caller: String, request_id: String) -> Result<Run> {
        self.journal.find(caller, request_id).await
    }

    async fn approval(&self, run: RunId, id: String) -> Result<Approval> {
        self.journal.approval(run, id).await
    }

    async fn approvals(&self, filter: ApprovalFilter) -> Result<Vec<Approval>> {
        self.journal.approvals(filter).await
    }

    async fn decide(&self, run: RunId, id: String, decision: Decision) -> Result<Approval> {
        self.journal.decide(run, id, decision).await
    }

    async fn list(&self, filter: RunFilter) -> Result<Vec<Run>> {
        self.journal.list(filter).await
    }

    async fn delete(&self, run: RunId) -> Result<()> {
        self.journal.delete(run).await?;
        self.purge_deleted().await
    }

    /// How many were written, and how many the rate cap left out.
    async fn write_summaries(&self, runs: Vec<Summary>) -> Result<(usize, usize)> {
        let asked = runs.len();
        let now = self.clock.now();
        let granted: Vec<Summary> =
            runs.into_iter().filter(|run| self.summaries.take(&run.head.team, now)).collect();
        let dropped = asked - granted.len();
        if granted.is_empty() {
            return Ok((0, dropped));
        }
        Ok((self.journal.write_summaries(granted).await?, dropped))
    }

    async fn upload(&self, run: RunId, digest: Digest) -> Result<Upload> {
        self.blobs.upload(run, digest).await
    }

    async fn blob(&self, run: RunId, digest: Digest) -> Result<Pieces> {
        self.blobs.read(run, digest).await
    }
}

/// Logs what was found dead.
fn report(reaped: &Reaped) {
    for run in &reaped.poisoned {
        tracing::warn!(%run, "a run failed: claimed again and again without progress");
    }
    if !reaped.sessions.is_empty() {
        tracing::warn!(
            sessions = reaped.sessions.len(),
            runs = reaped.released,
            "sessions of engines expired"
        );
    }
}

#[cfg(test)]
mod control_tests;
#[cfg(test)]
mod tests;
