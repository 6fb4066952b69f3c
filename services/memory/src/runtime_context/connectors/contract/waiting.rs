//! Waiting for the ends of other runs, pausing, taking.

use std::time::Duration;

use bytes::Bytes;
use sre_proto::memory::v1::{RecordKind, RunState};

use super::{Bench, LEASE, new_id, opening, record, signal};
use crate::runtime_context::JournalError;
use crate::runtime_context::changes::Change;
use crate::runtime_context::ids::{RunId, SessionId};
use crate::runtime_context::model::{
    Append, Claim, Hold, Opening, Owner, Parked, Parking, Signal, Signalled, Take, job_done,
};

fn waits(owner: Owner, awaited: &[RunId]) -> Parking {
    Parking { wake_on_end: awaited.to_vec(), ..Parking::of(owner) }
}

fn kind(kind: &str) -> Signal {
    Signal { id: kind.to_owned(), kind: kind.to_owned(), body: Bytes::new() }
}

fn take(session: SessionId, run: RunId) -> Take {
    Take { session, run, max_record_format: 1 }
}

pub(crate) async fn the_end_of_a_run_wakes_its_waiters(bench: &Bench) {
    let session = bench.session().await;
    let (one, two, job) =
        (bench.owned(session).await, bench.owned(session).await, bench.owned(session).await);
    for owner in [one, two] {
        assert_eq!(bench.journal.park(waits(owner, &[job.run])).await.unwrap(), Parked::Parked);
    }
    bench.append(job, "goes on").await.unwrap();
    assert!(bench.claim(session, 16).await.runs.is_empty());
    bench.told();
    bench.close(job).await;
    let told = bench.told();
    assert!(told.contains(&Change::Run(job.run)) && told.contains(&Change::Claimable), "{told:?}");
    let claimed = bench.claim(session, 16).await.runs;
    assert_eq!(claimed.len(), 2);
    for (run, signals) in claimed {
        assert_eq!((run.epoch, signals), (2, vec![job_done(job.run)]));
    }
}

pub(crate) async fn a_poisoned_run_wakes_its_waiters(bench: &Bench) {
    let session = bench.session().await;
    let waiter = bench.owned(session).await;
    let job = bench.ready().await;
    assert_eq!(bench.journal.park(waits(waiter, &[job])).await.unwrap(), Parked::Parked);
    for _ in 0..5 {
        let dying = bench.session().await;
        bench.claim_one(dying, job).await;
        (bench.advance)(LEASE);
        bench.journal.reap().await.unwrap();
        (bench.advance)(Duration::from_secs(61));
    }
    let session = bench.session().await;
    let claimed = bench.claim(session, 16).await;
    assert_eq!(claimed.reaped.poisoned, [job]);
    let woken = match claimed.runs.into_iter().next() {
        Some(woken) => woken,
        None => bench.claim(session, 16).await.runs.remove(0),
    };
    assert_eq!((woken.0.head.id, woken.1), (waiter.run, vec![job_done(job)]));
}

pub(crate) async fn a_run_does_not_wait_for_what_has_ended(bench: &Bench) {
    let session = bench.session().await;
    let (owner, ended, living) =
        (bench.owned(session).await, bench.owned(session).await, bench.owned(session).await);
    bench.close(ended).await;
    let unknown = new_id();
    let mut parking = waits(owner, &[living.run, ended.run, unknown]);
    parking.records = vec![record(RecordKind::Waiting, "await")];
    let parked = bench.journal.park(parking).await.unwrap();
    assert_eq!(parked, Parked::SignalsWait(vec![job_done(ended.run), job_done(unknown)]));
    assert_eq!(bench.steps(owner.run).await, ["opened", "await"]);
    // Nothing waits then: the end of the living one is no signal.
    bench.close(living).await;
    assert_eq!(bench.park(owner).await, Parked::Parked);
}

pub(crate) async fn waiters_are_forgotten_when_they_wake(bench: &Bench) {
    let session = bench.session().await;
    let (owner, first, second) =
        (bench.owned(session).await, bench.owned(session).await, bench.owned(session).await);
    bench.journal.park(waits(owner, &[first.run, second.run])).await.unwrap();
    bench.close(first).await;
    let claimed = bench.claim(session, 16).await.runs;
    assert_eq!(claimed[0].1, [job_done(first.run)]);
    bench.close(second).await;
    assert_eq!(bench.journal.pending_signals(session).await.unwrap().unwrap().len(), 1);

    // Woken by its timer, by a signal, or taken: the same.
    for how in 0..3 {
        let (owner, job) = (bench.owned(session).await, bench.owned(session).await);
        let until = bench.get(owner.run).await.created.after(Duration::from_millis(1));
        let parking = Parking { until: (how == 0).then_some(until), ..waits(owner, &[job.run]) };
        assert_eq!(bench.journal.park(parking).await.unwrap(), Parked::Parked);
        (bench.advance)(Duration::from_millis(1));
        let sent = usize::from(how == 1);
        match how {
            0 => {
                bench.claim_one(session, owner.run).await;
            }
            1 => {
                bench.journal.signal(owner.run, signal("s")).await.unwrap();
            }
            _ => {
                bench.journal.take(take(session, owner.run)).await.unwrap();
            }
        }
        bench.close(job).await;
        if how == 1 {
            bench.claim_one(session, owner.run).await;
        }
        let inbox = bench.journal.pending_signals(session).await.unwrap().unwrap();
        assert_eq!(inbox.iter().filter(|(run, _)| *run == owner.run).count(), sent, "{how}");
    }
}

/// Whoever comes first, the waiter learns of the end.
pub(crate) async fn park_and_end_never_miss_each_other(bench: &Bench) {
    let session = bench.session().await;
    for _ in 0..50 {
        let (owner, job) = (bench.owned(session).await, bench.owned(session).await);
        let (parked, ()) = tokio::join!(bench.journal.park(waits(owner, &[job.run])), bench.close(job));
        match parked.unwrap() {
            Parked::Parked => {
                let claimed = bench.claim(session, 16).await.runs;
                assert_eq!(claimed[0].1, [job_done(job.run)]);
            }
            Parked::SignalsWait(signals) => assert_eq!(signals, [job_done(job.run)]),
        }
    }
}

pub(crate) async fn parking_consumes_signals(bench: &Bench) {
    let owner = bench.owned(bench.session().await).await;
    bench.journal.signal(owner.run, signal("a")).await.unwrap();
    bench.journal.signal(owner.run, signal("b")).await.unwrap();
    let one = Parking { consumed_signals: vec!["a".to_owned()], ..Parking::of(owner) };
    assert_eq!(bench.journal.park(one).await.unwrap(), Parked::SignalsWait(vec![signal("b")]));
    let other = Parking { consumed_signals: vec!["b".to_owned(), "x".to_owned()], ..Parking::of(owner) };
    assert_eq!(bench.journal.park(other).await.unwrap(), Parked::Parked);
}

pub(crate) async fn a_paused_run_waits_for_a_person(bench: &Bench) {
    let session = bench.session().await;
    let (owner, job) = (bench.owned(session).await, bench.owned(session).await);
    // What waits in the inbox does not hinder the pause, and stays.
    bench.journal.signal(owner.run, kind("approval")).await.unwrap();
    let until = bench.get(owner.run).await.created.after(Duration::from_secs(1));
    let parking = Parking { hold: Hold::Paused, until: Some(until), ..waits(owner, &[job.run]) };
    assert_eq!(bench.journal.park(parking).await.unwrap(), Parked::Parked);
    let run = bench.get(owner.run).await;
    assert_eq!((run.state, run.session, run.due), (RunState::Paused, None, None));
    bench.close(job).await;
    (bench.advance)(Duration::from_secs(5));
    let told = bench.journal.signal(owner.run, kind("pause")).await.unwrap();
    assert_eq!(told, Signalled::Kept { state: RunState::Paused, owner: None, woken: false });
    assert!(bench.claim(session, 16).await.runs.is_empty());
    let told = bench.journal.signal(owner.run, kind("resume")).await.unwrap();
    assert_eq!(told, Signalled::Kept { state: RunState::Paused, owner: None, woken: true });
    let ids = |signals: &[Signal]| signals.iter().map(|signal| signal.id.clone()).collect::<Vec<_>>();
    let (run, signals) = bench.claim(session, 16).await.runs.remove(0);
    assert_eq!(ids(&signals), ["approval", &job_done(job.run).id, "pause", "resume"]);

    // A cancel that waits does hinder it.
    let owner = Owner { run: run.head.id, session, epoch: run.epoch };
    bench.journal.signal(owner.run, kind("cancel")).await.unwrap();
    let consume = Append { consumed_signals: ids(&signals), ..Append::of(owner) };
    bench.journal.append(vec![consume]).await.unwrap().remove(0).unwrap();
    let parked = bench.journal.park(Parking { hold: Hold::Paused, ..Parking::of(owner) }).await.unwrap();
    assert_eq!(parked, Parked::SignalsWait(vec![kind("cancel")]));
}

pub(crate) async fn a_deadline_wakes_a_paused_run(bench: &Bench) {
    let session = bench.session().await;
    let now = bench.get(bench.owned(session).await.run).await.created;
    let mut asked = Opening { session: Some(session), ..opening() };
    asked.head.deadline = Some(now.after(Duration::from_secs(5)));
    let run = bench.attach(asked).await.run;
    let owner = Owner { run: run.head.id, session, epoch: run.epoch };
    let until = Some(now.after(Duration::from_secs(1)));
    bench.journal.park(Parking { hold: Hold::Paused, until, ..Parking::of(owner) }).await.unwrap();
    (bench.advance)(Duration::from_secs(4));
    assert!(bench.claim(session, 16).await.runs.is_empty());
    (bench.advance)(Duration::from_secs(1));
    bench.claim_one(session, owner.run).await;
}

pub(crate) async fn a_run_is_taken_whatever_it_waits_for(bench: &Bench) {
    let (a, b) = (bench.session().await, bench.session().await);
    let owner = bench.owned(a).await;
    // Its owner lives, be it the taker itself.
    for session in [a, b] {
        let busy = bench.journal.take(take(session, owner.run)).await;
        assert!(matches!(busy, Err(JournalError::RunBusy)), "{busy:?}");
    }
    bench.journal.park(Parking { hold: Hold::Paused, ..Parking::of(owner) }).await.unwrap();
    bench.journal.signal(owner.run, kind("note")).await.unwrap();
    for round in 0..10 {
        let (run, signals) = bench.journal.take(take(b, owner.run)).await.unwrap();
        assert_eq!((run.state, run.session, run.epoch), (RunState::Leased, Some(b), 2 + round));
        assert_eq!(signals, if round == 0 { vec![kind("note")] } else { Vec::new() });
        // People that look and do nothing are no sign of poison.
        assert_eq!(run.barren_claims, 0);
        let owner = Owner { run: owner.run, session: b, epoch: run.epoch };
        let consumed_signals = vec!["note".to_owned()];
        bench.journal.park(Parking { consumed_signals, ..Parking::of(owner) }).await.unwrap();
    }
    let last = bench.journal.take(take(a, owner.run)).await.unwrap().0;
    let owner = Owner { run: owner.run, session: a, epoch: last.epoch };
    (bench.verify)().await;
    bench.close(owner).await;
    assert!(matches!(bench.journal.take(take(b, owner.run)).await, Err(JournalError::RunEnded)));
    assert!(matches!(bench.journal.take(take(b, new_id())).await, Err(JournalError::RunNotFound)));
    let unknown = SessionId(sre_proto::ids::new_uuid());
    assert!(matches!(bench.journal.take(take(unknown, owner.run)).await, Err(JournalError::SessionOver)));
    (bench.verify)().await;
}

pub(crate) async fn a_run_of_an_expired_owner_is_taken(bench: &Bench) {
    let dead = bench.session().await;
    let owner = bench.owned(dead).await;
    (bench.advance)(LEASE);
    let session = bench.session().await;
    let (run, _) = bench.journal.take(take(session, owner.run)).await.unwrap();
    assert_eq!(run.epoch, 2);
    assert!(matches!(bench.append(owner, "late").await, Err(JournalError::Fenced)));
    (bench.verify)().await;
    // Nothing of it is left to reap.
    assert_eq!(bench.journal.reap().await.unwrap().released, 0);
    (bench.verify)().await;
}

pub(crate) async fn a_newer_format_is_neither_claimed_nor_taken(bench: &Bench) {
    let session = bench.session().await;
    let mut newer = opening();
    newer.head.record_format = 2;
    let run = bench.attach(newer).await.run.head.id;
    let older = bench.ready().await;
    assert_eq!(bench.claim(session, 16).await.runs[0].0.head.id, older);
    assert!(bench.claim(session, 16).await.runs.is_empty());
    let taken = bench.journal.take(take(session, run)).await;
    assert!(matches!(taken, Err(JournalError::NewerFormat { format: 2 })), "{taken:?}");
    assert_eq!(bench.get(run).await.epoch, 0);
    let claim = Claim { session, limit: 16, max_record_format: 2 };
    assert_eq!(bench.journal.claim(claim).await.unwrap().runs.len(), 1);
}

/// Two takers, or a taker and a claimer: one gets it.
pub(crate) async fn a_run_is_taken_once(bench: &Bench) {
    let (a, b) = (bench.session().await, bench.session().await);
    for round in 0..30 {
        let run = bench.ready().await;
        let other = async {
            if round % 2 == 0 {
                bench.journal.take(take(b, run)).await.is_ok()
            } else {
                !bench.claim(b, 16).await.runs.is_empty()
            }
        };
        let (one, other) = tokio::join!(bench.journal.take(take(a, run)), other);
        assert!(one.is_ok() != other);
        assert_eq!(bench.get(run).await.epoch, 1);
    }
    (bench.verify)().await;
}
