//! The run journal: what running agents decided and did is here before it counts.
//!
//! `service.rs` speaks gRPC; this file puts the parts together: the journal's store (`connectors/`), payloads
//! (`blobs.rs`), the command streams of engines (`commands.rs`), followers of runs (`feed.rs`) and the
//! housekeeping (`upkeep.rs`).

mod blobs;
mod commands;
mod connectors;
mod convert;
mod error;
mod feed;
mod ids;
mod model;
mod rate;
mod service;
mod settings;
mod time;
mod upkeep;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use connectors::{Journal, MIGRATIONS, SqliteJournal};
pub use error::JournalError;
pub use service::RuntimeContextService;
pub use settings::JournalSettings;
pub use time::{Clock, SystemClock};

use blobs::{Blobs, Upload};
use commands::{CommandStream, Commands};
use feed::{Feed, Follower};
use ids::{Digest, RunId, SessionId};
use model::{
    Append, Claim, Claimed, NewRecord, Opened, Opening, Page, Parked, Parking, ReadFrom, Reaped, Run,
    RunFilter, Session, Signal, Signalled, Summary,
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
    /// The journal over its store, with payloads below `blobs`.
    pub async fn open(
        journal: Arc<dyn Journal>,
        blobs: &Path,
        clock: Arc<dyn Clock>,
        settings: Arc<JournalSettings>,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        Ok(Self {
            journal,
            blobs: Blobs::open(blobs, settings.blob_limit_bytes).await?,
            commands: Commands::default(),
            feed: Feed::default(),
            summaries: Arc::new(RateCap::new(settings.summaries_per_second, settings.summaries_burst)),
            clock,
            settings,
            rescheduled: Arc::new(Notify::new()),
            shutdown,
        })
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
        let session = self.journal.open_session(time_to_live, host).await?;
        self.rescheduled.notify_one();
        Ok(session)
    }

    async fn renew_session(&self, id: SessionId) -> Result<Session> {
        self.journal.renew_session(id).await?.ok_or(JournalError::SessionNotFound)
    }

    async fn close_session(&self, id: SessionId) -> Result<()> {
        let released = self.journal.close_session(id).await?;
        self.commands.lost(&[id]);
        if released > 0 {
            self.commands.hint();
        }
        Ok(())
    }

    async fn open_run(&self, opening: Opening) -> Result<Opened> {
        self.require_blobs(opening.head.id, &opening.records).await?;
        let owned = opening.session.is_some();
        let opened = self.journal.open_run(opening).await?;
        if !opened.attached && !owned {
            self.commands.hint();
            self.rescheduled.notify_one();
        }
        Ok(opened)
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
        let runs: Vec<RunId> = present.iter().map(|append| append.owner.run).collect();
        let mut outcomes = self.journal.append(present).await?;
        for (run, outcome) in runs.iter().zip(&outcomes) {
            if outcome.is_ok() {
                self.feed.changed(*run);
            }
        }
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
        let run = parking.owner.run;
        self.require_blobs(run, &parking.records).await?;
        let parked = self.journal.park(parking).await?;
        self.feed.changed(run);
        self.rescheduled.notify_one();
        Ok(parked)
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed> {
        let claimed = self.journal.claim(claim).await?;
        self.announce(&claimed.reaped);
        Ok(claimed)
    }

    /// Tells whom it concerns what was found dead.
    fn announce(&self, reaped: &Reaped) {
        self.commands.lost(&reaped.sessions);
        for run in &reaped.poisoned {
            tracing::warn!(%run, "a run failed: claimed again and again without progress");
            self.feed.changed(*run);
        }
        if !reaped.sessions.is_empty() {
            tracing::warn!(
                sessions = reaped.sessions.len(),
                runs = reaped.released,
                "sessions of engines expired"
            );
        }
        if reaped.released > 0 {
            self.commands.hint();
        }
    }

    async fn signal(&self, run: RunId, signal: Signal) -> Result<Signalled> {
        let signalled = self.journal.signal(run, signal.clone()).await?;
        match signalled {
            Signalled::Kept { owner: Some(owner), .. } => self.commands.deliver(owner, run, signal),
            Signalled::Kept { woken: true, .. } => self.commands.hint(),
            _ => {}
        }
        Ok(signalled)
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

    async fn list(&self, filter: RunFilter) -> Result<Vec<Run>> {
        self.journal.list(filter).await
    }

    async fn delete(&self, run: RunId) -> Result<()> {
        self.journal.delete(run).await?;
        self.feed.changed(run);
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

    async fn blob(&self, run: RunId, digest: Digest) -> Result<tokio::fs::File> {
        self.blobs.read(run, digest).await
    }
}

#[cfg(test)]
mod tests;
