//! Runs, records, signals: what the journal holds.

use std::time::Duration;

use bytes::Bytes;
use sre_proto::memory::v1::{RecordKind, RunKind, RunState};

use super::approval::Question;
use super::ids::{Digest, RunId, SessionId};
use super::time::UnixMs;
use crate::llm_context::ConversationAppend;

/// An engine's lease on its runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The session.
    pub id: SessionId,
    /// How long each renewal lasts.
    pub time_to_live: Duration,
    /// When it ends.
    pub until: UnixMs,
}

/// A run as the journal knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What was said when it was opened.
    pub head: RunHead,
    /// Where it stands.
    pub state: RunState,
    /// The owner's epoch.
    pub epoch: i64,
    /// The owner.
    pub session: Option<SessionId>,
    /// Sequence of the next record.
    pub next_sequence: i64,
    /// When it was opened.
    pub created: UnixMs,
    /// When it ended.
    pub ended: Option<UnixMs>,
    /// When it may be claimed next; none where only a signal wakes it.
    pub due: Option<UnixMs>,
    /// How it ended, opaque.
    pub outcome: Bytes,
    /// Claims in a row without progress.
    pub barren_claims: i32,
}

/// What is said of a run when it is opened, and never changes.
#[derive(Debug, Clone, PartialEq)]
pub struct RunHead {
    /// The run.
    pub id: RunId,
    /// The team it is counted for.
    pub team: String,
    /// The agent's id.
    pub agent: String,
    /// Who started it.
    pub caller: String,
    /// What it is.
    pub kind: RunKind,
    /// The run that started it.
    pub parent: Option<RunId>,
    /// The key of the effect that started it; empty where there is none.
    pub idempotency_key: String,
    /// When it must have ended.
    pub deadline: Option<UnixMs>,
    /// What the engine needs to start it, opaque.
    pub spec: Bytes,
    /// Format of `spec` and records.
    pub record_format: i32,
    /// Who may see and steer it, opaque here: the engine decides.
    pub acl: Bytes,
    /// What it runs, for lists.
    pub label: String,
    /// The agent's version.
    pub version: String,
}

/// A record to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// What it is.
    pub kind: RecordKind,
    /// The activation it is about.
    pub step: String,
    /// Its content, opaque.
    pub body: Bytes,
    /// Content kept apart.
    pub blob: Option<Blob>,
    /// What it adds to the ledger, opaque: written beside it and shipped. Empty in a record that is read.
    pub usage: Bytes,
    /// What it adds to a conversation. None in a record that is read.
    pub conversation: Option<ConversationAppend>,
}

impl NewRecord {
    /// Whether a record that was read is this one, written before.
    pub fn is_written_as(&self, read: &Self) -> bool {
        let Self { kind, step, body, blob, usage: _, conversation: _ } = self;
        (kind, step, body, blob) == (&read.kind, &read.step, &read.body, &read.blob)
    }
}

/// A record as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place, from 1 on.
    pub sequence: i64,
    /// The epoch of its writer.
    pub epoch: i64,
    /// When it was written.
    pub time: UnixMs,
    /// What was written.
    pub content: NewRecord,
}

/// A payload kept beside the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content.
    pub size_bytes: i64,
}

/// A signal in a run's inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Unique in the run.
    pub id: String,
    /// What it asks.
    pub kind: String,
    /// Its content, opaque.
    pub body: Bytes,
}

/// Who writes: matches the run's row, or the write is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The run.
    pub run: RunId,
    /// The writer's session.
    pub session: SessionId,
    /// The writer's epoch.
    pub epoch: i64,
}

/// A run to open.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The run.
    pub head: RunHead,
    /// The owner from the start; none leaves it to be claimed.
    pub session: Option<SessionId>,
    /// Not before this moment.
    pub due: Option<UnixMs>,
    /// The first records.
    pub records: Vec<NewRecord>,
    /// The caller's request, if it named one.
    pub request: Option<Request>,
}

/// A caller's request id and what it asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The id.
    pub id: String,
    /// Digest of the input.
    pub input_digest: String,
}

/// The answer to an [`Opening`].
#[derive(Debug, Clone)]
pub struct Opened {
    /// The run: the new one, or the one that was there.
    pub run: Run,
    /// Whether it was there before.
    pub attached: bool,
}

/// Records to write, perhaps the last.
#[derive(Debug, Clone)]
pub struct Append {
    /// Who writes.
    pub owner: Owner,
    /// What is written.
    pub records: Vec<NewRecord>,
    /// Set to end the run.
    pub close: Option<Close>,
    /// Signals that these records consume.
    pub consumed_signals: Vec<String>,
    /// What these records ask people. A question that was asked before is left as it is.
    pub approvals: Vec<Question>,
    /// Sequence that the first record must get; makes a repeat harmless.
    pub expected_sequence: Option<i64>,
}

impl Append {
    /// An append of nothing.
    pub fn of(owner: Owner) -> Self {
        Self {
            owner,
            records: Vec::new(),
            close: None,
            consumed_signals: Vec::new(),
            approvals: Vec::new(),
            expected_sequence: None,
        }
    }
}

/// The end of a run.
#[derive(Debug, Clone)]
pub struct Close {
    /// Done, failed or cancelled.
    pub state: RunState,
    /// How, opaque.
    pub outcome: Bytes,
}

/// A run to park.
#[derive(Debug, Clone)]
pub struct Parking {
    /// Who parks it.
    pub owner: Owner,
    /// When to wake it; none waits for a signal alone.
    pub until: Option<UnixMs>,
    /// Written first, parked or not.
    pub records: Vec<NewRecord>,
    /// Signals that these records consume, parked or not.
    pub consumed_signals: Vec<String>,
    /// What these records ask people, parked or not.
    pub approvals: Vec<Question>,
    /// Runs whose end wakes this one.
    pub wake_on_end: Vec<RunId>,
    /// What wakes it.
    pub hold: Hold,
}

impl Parking {
    /// Parks until a signal.
    pub fn of(owner: Owner) -> Self {
        Self {
            owner,
            until: None,
            records: Vec::new(),
            consumed_signals: Vec::new(),
            approvals: Vec::new(),
            wake_on_end: Vec::new(),
            hold: Hold::Waiting,
        }
    }
}

/// How a run stands while it is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Any signal, its time, its deadline and the end of a run it waits for wake it.
    Waiting,
    /// Paused by a person: only the signals `resume` and `cancel`, and its deadline, wake it. Other signals
    /// stay in the inbox and do not hinder the parking.
    Paused,
}

impl Hold {
    /// Whether a signal of this kind wakes a run held so.
    pub fn wakes(self, signal_kind: &str) -> bool {
        self == Self::Waiting || matches!(signal_kind, "resume" | "cancel")
    }
}

/// The answer to a [`Parking`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parked {
    /// It is parked; its owner owns it no more.
    Parked,
    /// It is not parked: these signals wait, among them a `job_done` for each run of `wake_on_end` that ended
    /// already or does not exist.
    SignalsWait(Vec<Signal>),
}

/// A request to own runs.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The claimer.
    pub session: SessionId,
    /// At most so many.
    pub limit: u32,
    /// The newest record format it reads.
    pub max_record_format: i32,
}

/// A request to own one run, whatever it waits for.
#[derive(Debug, Clone, Copy)]
pub struct Take {
    /// The taker.
    pub session: SessionId,
    /// The run.
    pub run: RunId,
    /// The newest record format it reads.
    pub max_record_format: i32,
}

/// What a claim brought.
#[derive(Debug, Clone, Default)]
pub struct Claimed {
    /// The runs, each with its inbox.
    pub runs: Vec<(Run, Vec<Signal>)>,
    /// What else the claim found.
    pub reaped: Reaped,
}

/// What was found dead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Sessions that expired.
    pub sessions: Vec<SessionId>,
    /// How many of their runs can be claimed now.
    pub released: u64,
    /// Runs that were claimed again and again without progress, now failed.
    pub poisoned: Vec<RunId>,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signalled {
    /// Nobody will read it: the run had ended.
    Ended(RunState),
    /// It waits in the inbox.
    Kept {
        /// Where the run stood.
        state: RunState,
        /// The session to tell.
        owner: Option<SessionId>,
        /// Whether the run can be claimed because of it.
        woken: bool,
    },
}

/// A page of records.
#[derive(Debug, Clone)]
pub struct Page {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Where the run stood in the same snapshot.
    pub state: RunState,
    /// Sequence of the next record to be written, in the same snapshot.
    pub next_sequence: i64,
}

/// Where a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// After this sequence.
    After(i64),
    /// At the last checkpoint, and in any case after this sequence.
    LastCheckpoint(i64),
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Of this team.
    pub team: String,
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this caller.
    pub caller: Option<String>,
    /// In this state.
    pub state: Option<RunState>,
    /// Started by this run.
    pub parent: Option<RunId>,
    /// Of this kind.
    pub kind: Option<RunKind>,
    /// Older than this one.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: u32,
}

/// An ended run that was never opened here: a plan without effects, answered first.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The run.
    pub head: RunHead,
    /// Done, failed or cancelled.
    pub state: RunState,
    /// When it began.
    pub created: UnixMs,
    /// When it ended.
    pub ended: UnixMs,
    /// How, opaque.
    pub outcome: Bytes,
}

/// The signal that tells a waiter that `run` ended.
pub fn job_done(run: RunId) -> Signal {
    let id = run.to_string();
    Signal { id: format!("job_done/{id}"), kind: "job_done".to_owned(), body: Bytes::from(id) }
}

/// Whether a state is an end.
pub fn is_ended(state: RunState) -> bool {
    matches!(state, RunState::Done | RunState::Failed | RunState::Cancelled)
}
