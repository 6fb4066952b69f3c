//! Setting a run to work: one that was asked for a moment ago, or one found in the journal.

use std::sync::Arc;
use std::time::Duration;

use sre_engine::run::Observe;
use sre_engine::{Aborted, Answer, RequestData, RunOptions};
use sre_proto::error::Reason;
use sre_proto::memory::v1::{JournalRecord, RecordKind, RunKind, RunRecord};
use tonic::{Code, Status};

use super::admission::Slot;
use super::answers::{Closed, Ending};
use super::checkpoints;
use super::conversations::{self, drive::Began};
use super::core::Engine;
use super::drive::{Done, Drive, Recovered, Stopped};
use super::fold::{Folded, Unstartable, begin, fold, time_left};
use super::journal::opening::Opening;
use super::journal::queue::{AppendError, AppendStore as _};
use super::journal::records::record;
use super::journal::run::{FIRST_EPOCH, RunJournal};
use super::live::Entry;
use super::scope::RunScope;
use super::session::Lease;
use super::takeover::HandedBack;
use super::usage;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(200);

/// What can be claimed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimable {
    /// A job that this engine opened.
    Job,
    /// A run that this engine opened and had no slot for.
    Run,
}

/// A time as records hold it.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A number for a run's secret markers.
pub fn new_marker() -> String {
    // Random, not derived from the run's id, which its caller knows.
    format!("{:032x}", rand::random::<u128>())
}

/// A run that this engine owns, with its journal read.
pub struct Owned {
    /// Its row.
    pub run: RunRecord,
    /// Its records.
    pub records: Vec<JournalRecord>,
    /// The lease that owns it.
    pub lease: Lease,
    /// This engine's work on it.
    pub entry: Entry,
    /// The slot it takes.
    pub slot: Slot,
}

/// A run that nobody knows yet. It begins in memory, and is opened with what it did there when its first effect
/// is about to start, or when it has to wait.
pub struct Fresh {
    /// What its components share.
    pub scope: Arc<RunScope>,
    /// Its first record.
    pub first: JournalRecord,
    /// What it answers.
    pub request: RequestData,
    /// How it is opened.
    pub opening: Opening,
    /// The lease that will own it.
    pub lease: Lease,
    /// This engine's work on it.
    pub entry: Entry,
    /// The slot it takes.
    pub slot: Slot,
}

/// Works on a new run until it ended, or until it is somebody else's.
pub async fn fresh(engine: Engine, fresh: Fresh) {
    let Fresh { scope, first, request, opening, lease, entry, slot } = fresh;
    let run_id = scope.id.clone();
    let options = RunOptions { observe: Observe::Settled, ..RunOptions::default() };
    let run = match begin(&scope, request, options).await {
        Ok(run) => run,
        Err(status) => {
            // It is opened all the same, and gone on with when what it needs is back.
            tracing::debug!(run = run_id, %status, "a run cannot begin at once");
            drop(scope);
            return Box::pin(fresh_later(engine, first, opening, lease, entry, slot)).await;
        }
    };
    let mut journal =
        RunJournal::unopened(engine.journal.clone(), engine.appends.clone(), lease.clone(), opening);
    journal.push(first);
    let drive = Drive::journalled(scope, run, journal, Recovered::default());
    match Box::pin(drive.to_durable_end()).await {
        Ok(Done::Closed(state, closed)) => entry.closed(state, closed),
        Ok(Done::Parked) | Err(Stopped::SessionOver) => {}
        Err(Stopped::Journal(AppendError::Fenced | AppendError::Elsewhere)) => {}
        Err(Stopped::Journal(AppendError::Unwanted)) => {
            let ending = cancelled("its caller was told that it could not be opened");
            end(&engine, &run_id, &lease, FIRST_EPOCH, entry, ending).await;
        }
        Err(Stopped::Journal(error)) => {
            tracing::debug!(run = run_id, %error, "work on a new run stopped");
            // Whether it was opened is not known; where it was, it is gone on with like any other.
            if let Some(row) = row_of(&engine, &run_id, &lease).await {
                go_on(engine, row, lease, entry, slot).await;
            }
        }
    }
}

async fn fresh_later(
    engine: Engine,
    first: JournalRecord,
    opening: Opening,
    lease: Lease,
    entry: Entry,
    slot: Slot,
) {
    let run_id = opening.run_id().to_owned();
    let records = match engine.journal.apart(&run_id, first).await {
        Ok(first) => vec![first],
        Err(status) => return opening.refuse(status),
    };
    match opening.open(&engine.journal, &lease, records).await {
        Ok(()) => {
            if let Some(row) = row_of(&engine, &run_id, &lease).await {
                go_on(engine, row, lease, entry, slot).await;
            }
        }
        Err(AppendError::Unwanted) => {
            let ending = cancelled("its caller was told that it could not be opened");
            end(&engine, &run_id, &lease, FIRST_EPOCH, entry, ending).await;
        }
        Err(error) => tracing::debug!(run = run_id, %error, "a new run was not opened here"),
    }
}

/// Works on a run whose row this engine holds, from its journal on.
pub async fn go_on(engine: Engine, run: RunRecord, lease: Lease, entry: Entry, slot: Slot) {
    let mut owned = Owned { run, records: Vec::new(), lease, entry, slot };
    loop {
        owned.records = match records_of(&engine, &owned.run.run_id, &owned.lease).await {
            Some(records) => records,
            None => return,
        };
        match work(&engine, owned).await {
            Some(again) => owned = again,
            None => return,
        }
    }
}

async fn records_of(engine: &Engine, run_id: &str, lease: &Lease) -> Option<Vec<JournalRecord>> {
    loop {
        match checkpoints::records(&engine.journal, run_id).await {
            Ok(records) => return Some(records),
            Err(status) if lease.lost().is_cancelled() || status.code() == Code::NotFound => return None,
            Err(status) => {
                tracing::debug!(run = run_id, %status, "a claimed run cannot be read yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// The row of a run, if this lease owns it.
async fn row_of(engine: &Engine, run_id: &str, lease: &Lease) -> Option<RunRecord> {
    loop {
        match engine.journal.find(run_id).await {
            Ok(row) => return row.filter(|row| row.session == **lease.id()),
            Err(status) if lease.lost().is_cancelled() => {
                tracing::debug!(run = run_id, %status, "a run cannot be looked for any more");
                return None;
            }
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    }
}

/// Works on a run until it ended, waits, or is somebody else's. Gives it back where it is still this engine's
/// and must be read again.
async fn work(engine: &Engine, owned: Owned) -> Option<Owned> {
    let Owned { run, records, lease, entry, slot } = owned;
    let mut journal = RunJournal::new(
        engine.journal.clone(),
        engine.appends.clone(),
        run.run_id.clone(),
        lease.clone(),
        run.epoch,
        run.next_sequence,
    );
    if run.kind() == RunKind::Turn {
        let began = Began { run: &run, records: &records, live: entry.run(), slot: &slot };
        let done = Box::pin(conversations::drive::work(engine, began, journal)).await;
        return landed(engine, run, lease, entry, slot, done).await;
    }
    let done = match patiently(engine, &run, &records, &entry, &slot, &mut journal).await {
        Ok(Folded { scope, run, recovered }) => {
            drop(records);
            Box::pin(Drive::journalled(scope, run, journal, recovered).to_durable_end()).await
        }
        Err(Unstartable::Never(reason, message)) => {
            tracing::warn!(run = run.run_id, message, "a run cannot be gone on with");
            close(journal, &entry, Ending::Broken(reason, message), Some(&run)).await
        }
        Err(Unstartable::Later(status)) => {
            tracing::info!(run = run.run_id, %status, "a run could not be gone on with in time");
            let cancel = &entry.run().cancel;
            let ending = match cancel.token().is_cancelled() {
                true => cancelled(&cancel.reason()),
                false => Ending::TimedOut(time_left(engine, &run)),
            };
            close(journal, &entry, ending, Some(&run)).await
        }
    };
    landed(engine, run, lease, entry, slot, done).await
}

/// What work on a run came to, for others.
async fn landed(
    engine: &Engine,
    run: RunRecord,
    lease: Lease,
    entry: Entry,
    slot: Slot,
    done: Result<Done, Stopped>,
) -> Option<Owned> {
    match done {
        Ok(Done::Closed(state, closed)) => entry.closed(state, closed),
        Ok(Done::Parked) | Err(Stopped::SessionOver) => {}
        Err(Stopped::Journal(AppendError::Refused(why))) => {
            tracing::warn!(run = run.run_id, why, "the journal refuses what a run writes");
            let message = format!("what it did cannot be journalled: {why}");
            end(engine, &run.run_id, &lease, run.epoch, entry, Ending::Broken(Reason::Internal, message))
                .await;
        }
        Err(Stopped::Journal(error)) => {
            tracing::debug!(run = run.run_id, %error, "work on a run stopped");
            if let HandedBack::Not(signals) = engine.takeover.hand_back(&run, &lease).await {
                signals.into_iter().for_each(|signal| entry.run().signal(signal));
                let run = row_of(engine, &run.run_id, &lease).await?;
                return Some(Owned { run, records: Vec::new(), lease, entry, slot });
            }
        }
    }
    None
}

/// Folds, and tries again as long as some service is away. The run is kept meanwhile: giving it back would
/// count as a claim without progress.
async fn patiently(
    engine: &Engine,
    row: &RunRecord,
    records: &[JournalRecord],
    entry: &Entry,
    slot: &Slot,
    journal: &mut RunJournal,
) -> Result<Folded, Unstartable> {
    let until = tokio::time::Instant::now() + time_left(engine, row);
    let gone = journal.lease().lost().clone();
    let cancelled = entry.run().cancel.token().clone();
    let mut wait = FIRST_WAIT;
    loop {
        let status = match fold(engine, row, records, entry.run(), slot, journal).await {
            Err(Unstartable::Later(status)) => status,
            other => return other,
        };
        tracing::debug!(run = row.run_id, %status, "a run waits for a service that is away");
        if tokio::time::Instant::now() >= until || gone.is_cancelled() || cancelled.is_cancelled() {
            return Err(Unstartable::Later(status));
        }
        slot.lend(tokio::time::sleep(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn cancelled(reason: &str) -> Ending {
    let aborted = Some(Aborted::Cancelled { reason: reason.to_owned() });
    Ending::Answered(Answer { aborted, ..Answer::default() })
}

/// Ends a run that its owner cannot go on with, from where its journal is.
async fn end(engine: &Engine, run_id: &str, lease: &Lease, epoch: i64, entry: Entry, ending: Ending) {
    let position = loop {
        match engine.journal.position(run_id).await {
            Ok(position) => break position,
            Err(_) if lease.lost().is_cancelled() => return,
            Err(status) if status.code() == Code::NotFound => return,
            Err(_) => tokio::time::sleep(RETRY).await,
        }
    };
    let (next, found) = position;
    if found != epoch {
        return;
    }
    let (store, appends) = (engine.journal.clone(), engine.appends.clone());
    let journal = RunJournal::new(store, appends, run_id.to_owned(), lease.clone(), epoch, next);
    // What the ledger knows of a run is not worth more than its end.
    let row = engine.journal.find(run_id).await.ok().flatten();
    match close(journal, &entry, ending, row.as_ref()).await {
        Ok(Done::Closed(state, closed)) => entry.closed(state, closed),
        Ok(Done::Parked) => {}
        Err(error) => tracing::debug!(run = run_id, %error, "a run could not be ended"),
    }
}

async fn close(
    mut journal: RunJournal,
    entry: &Entry,
    ending: Ending,
    run: Option<&RunRecord>,
) -> Result<Done, Stopped> {
    let closed: Closed = ending.closed(None);
    for signal in entry.run().inbox.take() {
        journal.consume(signal.signal_id);
    }
    journal.use_up(run.and_then(|run| usage::ended(run, ending.state())));
    journal.push(record(RecordKind::Closed, None, &()));
    journal.close(ending.state(), prost::Message::encode_to_vec(&closed).into()).await?;
    Ok(Done::Closed(ending.state(), Arc::new(closed)))
}

/// What a caller hears whose run could not be opened because the engine stops, or because its session is over:
/// the journal was away for longer than a session lives.
pub fn not_opened(engine: &Engine) -> Status {
    match engine.host.draining().is_cancelled() {
        true => super::journal::queue::stopping(),
        false => super::core::without_memory(),
    }
}
