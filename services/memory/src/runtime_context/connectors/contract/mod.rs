//! What every journal must do. A backend's tests call `contract::every_case!(fresh)`, where `fresh` is an async
//! function that makes a [`Bench`] over an empty journal with the settings it is given.

mod admission;
mod approvals;
mod lifecycle;
mod model;
mod ownership;
mod repeats;
mod signals;
mod waiting;

pub(crate) use admission::*;
pub(crate) use approvals::*;
pub(crate) use lifecycle::*;
pub(crate) use model::*;
pub(crate) use ownership::*;
pub(crate) use repeats::*;
pub(crate) use signals::*;
pub(crate) use waiting::*;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sre_proto::memory::v1::{RecordKind, RunKind, RunState};

use super::Journal;
use crate::runtime_context::changes::Change;
use crate::runtime_context::ids::{RunId, SessionId};
use crate::runtime_context::model::{
    Append, Claim, Claimed, Close, NewRecord, Opened, Opening, Owner, Parked, Parking, ReadFrom, Run,
    RunHead, Signal,
};
use crate::runtime_context::settings::JournalSettings;

/// The lease of sessions in these cases.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

/// A journal and its clock.
pub(crate) struct Bench {
    pub(crate) journal: Arc<dyn Journal>,
    /// Moves the store's clock.
    pub(crate) advance: Box<dyn Fn(Duration) + Send + Sync>,
    /// Checks what the backend keeps twice, such as counters: panics where they differ.
    pub(crate) verify: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    /// What the journal told its observer.
    pub(crate) told: Arc<Mutex<Vec<Change>>>,
    /// Keeps the backend's files.
    pub(crate) _keep: Box<dyn Any + Send + Sync>,
}

/// One test for each case.
macro_rules! every_case {
    ($fresh:path) => {
        crate::runtime_context::connectors::contract::every_case!(@ $fresh, contract::unlimited(),
            a_run_is_opened_with_its_records, a_request_id_attaches_for_a_day, an_idempotency_key_attaches,
            a_run_id_attaches_or_is_refused, records_are_read_in_order_and_from_the_checkpoint,
            a_closed_run_is_closed, runs_are_listed_newest_first, only_ended_runs_are_deleted,
            retention_differs_by_kind, a_deleted_run_leaves_nothing, summaries_are_written_once,
            a_zombie_writes_nothing, claims_share_nothing, a_claim_asks_for_a_live_session,
            an_expired_session_loses_its_runs, a_closed_session_hands_back_at_once,
            a_claimer_gets_only_formats_it_reads, poison_runs_fail_and_back_off, progress_ends_barrenness,
            children_go_first, a_batch_fails_item_by_item, many_writers_lose_nothing,
            signals_are_kept_and_idempotent, a_signal_wakes_a_parked_run, a_run_with_signals_is_not_parked,
            park_and_signal_never_miss_each_other, a_timer_wakes_a_parked_run, a_deadline_wakes_a_parked_run,
            an_owner_finds_its_inbox, random_histories_match_the_model,
            the_end_of_a_run_wakes_its_waiters, a_poisoned_run_wakes_its_waiters,
            a_run_does_not_wait_for_what_has_ended, waiters_are_forgotten_when_they_wake,
            park_and_end_never_miss_each_other, parking_consumes_signals, a_paused_run_waits_for_a_person,
            a_deadline_wakes_a_paused_run, a_run_is_taken_whatever_it_waits_for,
            a_run_of_an_expired_owner_is_taken, a_newer_format_is_neither_claimed_nor_taken,
            a_run_is_taken_once, a_repeated_append_is_one, another_append_is_out_of_sequence,
            a_repeated_end_is_one, a_zombie_repeats_nothing, a_decision_wakes_its_run,
            an_owner_hears_a_decision, the_first_decision_stands, one_of_many_decides, a_question_expires,
            approvals_are_listed_newest_first, a_request_id_finds_its_run, runs_are_listed_by_parent_and_kind,
            changes_are_told,
            what_records_use_is_kept_until_it_is_shipped,
        );
        crate::runtime_context::connectors::contract::every_case!(@ $fresh, contract::limited(),
            a_team_has_so_many_running, whoever_stops_frees_a_slot, the_queue_is_served_in_order,
            teams_are_served_in_turn, a_full_team_wakes_nobody, waiting_parents_let_children_run,
            a_taken_run_asks_for_no_slot, claims_at_once_keep_the_limit, random_histories_keep_the_counts,
        );
    };
    (@ $fresh:path, $settings:expr, $($case:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            use crate::runtime_context::connectors::contract;
            // A backend whose server is not there gives none.
            let bench: Option<contract::Bench> = $fresh($settings).await.into();
            let Some(bench) = bench else { return };
            contract::$case(&bench).await;
        }
    )*};
}
pub(crate) use every_case;

impl Bench {
    pub(crate) fn over(
        journal: Arc<dyn Journal>,
        advance: impl Fn(Duration) + Send + Sync + 'static,
        verify: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static,
        keep: impl Any + Send + Sync,
    ) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&told);
        journal.observe(Arc::new(move |change| recorder.lock().push(change)));
        Self { journal, advance: Box::new(advance), verify: Box::new(verify), told, _keep: Box::new(keep) }
    }

    /// What was told since the last call.
    pub(crate) fn told(&self) -> Vec<Change> {
        std::mem::take(&mut *self.told.lock())
    }

    pub(crate) async fn session(&self) -> SessionId {
        self.journal.open_session(LEASE, "test".to_owned()).await.unwrap().id
    }

    /// Opens a run owned by `session`.
    pub(crate) async fn owned(&self, session: SessionId) -> Owner {
        let opening = Opening { session: Some(session), ..opening() };
        let run = self.journal.open_run(opening).await.unwrap().run;
        Owner { run: run.head.id, session, epoch: run.epoch }
    }

    /// Opens a run for anybody.
    pub(crate) async fn ready(&self) -> RunId {
        self.journal.open_run(opening()).await.unwrap().run.head.id
    }

    pub(crate) async fn claim(&self, session: SessionId, limit: u32) -> Claimed {
        self.journal.claim(Claim { session, limit, max_record_format: 1 }).await.unwrap()
    }

    /// Claims exactly this run.
    pub(crate) async fn claim_one(&self, session: SessionId, run: RunId) -> Owner {
        let claimed = self.claim(session, 16).await;
        assert_eq!(claimed.runs.iter().map(|(run, _)| run.head.id).collect::<Vec<_>>(), [run]);
        Owner { run, session, epoch: claimed.runs[0].0.epoch }
    }

    pub(crate) async fn append(
        &self,
        owner: Owner,
        step: &str,
    ) -> Result<i64, crate::runtime_context::JournalError> {
        let append = Append { records: vec![record(RecordKind::Finished, step)], ..empty(owner) };
        self.journal.append(vec![append]).await.unwrap().pop().unwrap()
    }

    pub(crate) async fn close(&self, owner: Owner) {
        let close = Close { state: RunState::Done, outcome: Bytes::from_static(b"42") };
        let append = Append { close: Some(close), ..empty(owner) };
        self.journal.append(vec![append]).await.unwrap().pop().unwrap().unwrap();
    }

    pub(crate) async fn park(&self, owner: Owner) -> Parked {
        self.journal.park(Parking::of(owner)).await.unwrap()
    }

    pub(crate) async fn get(&self, run: RunId) -> Run {
        self.journal.run(run).await.unwrap()
    }

    /// The steps of a run's records.
    pub(crate) async fn steps(&self, run: RunId) -> Vec<String> {
        let page = self.journal.read(run, ReadFrom::After(0)).await.unwrap();
        page.records.into_iter().map(|record| record.content.step).collect()
    }

    pub(crate) async fn attach(&self, opening: Opening) -> Opened {
        self.journal.open_run(opening).await.unwrap()
    }
}

/// The settings of most cases.
pub(crate) fn unlimited() -> JournalSettings {
    JournalSettings::default()
}

pub(crate) fn new_id() -> RunId {
    sre_proto::ids::new_id().parse().unwrap()
}

pub(crate) fn record(kind: RecordKind, step: &str) -> NewRecord {
    let body = Bytes::from(format!("body of {step}"));
    NewRecord { kind, step: step.to_owned(), body, blob: None, usage: Bytes::new(), conversation: None }
}

pub(crate) fn empty(owner: Owner) -> Append {
    Append::of(owner)
}

pub(crate) fn signal(id: &str) -> Signal {
    Signal { id: id.to_owned(), kind: "resume".to_owned(), body: Bytes::from_static(b"{}") }
}

pub(crate) fn opening() -> Opening {
    let head = RunHead {
        id: new_id(),
        team: "red".to_owned(),
        agent: "a1".to_owned(),
        caller: "user/alice".to_owned(),
        kind: RunKind::Skill,
        parent: None,
        idempotency_key: String::new(),
        deadline: None,
        spec: Bytes::from_static(b"spec"),
        record_format: 1,
        acl: Bytes::from_static(b"acl"),
        label: "greet".to_owned(),
        version: "v1".to_owned(),
    };
    Opening {
        head,
        session: None,
        due: None,
        records: vec![record(RecordKind::Opened, "opened")],
        request: None,
    }
}
