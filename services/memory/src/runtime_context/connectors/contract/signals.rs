//! Signals, parking, waking.

use std::sync::Arc;
use std::time::Duration;

use sre_proto::memory::v1::{RecordKind, RunState};

use super::{Bench, LEASE, empty, opening, record, signal};
use crate::runtime_context::JournalError;
use crate::runtime_context::changes::Change;
use crate::runtime_context::model::{Append, Opening, Parked, Parking, Signalled};

pub(crate) async fn signals_are_kept_and_idempotent(bench: &Bench) {
    let session = bench.session().await;
    let owner = bench.owned(session).await;
    let told = bench.journal.signal(owner.run, signal("s1")).await.unwrap();
    assert_eq!(told, Signalled::Kept { state: RunState::Leased, owner: Some(session), woken: false });
    bench.journal.signal(owner.run, signal("s2")).await.unwrap();
    bench.journal.signal(owner.run, signal("s1")).await.unwrap();
    let waiting = bench.journal.pending_signals(session).await.unwrap().unwrap();
    assert_eq!(waiting, [(owner.run, signal("s1")), (owner.run, signal("s2"))]);

    let consume = Append {
        records: vec![record(RecordKind::Signal, "s1")],
        consumed_signals: vec!["s1".to_owned()],
        ..empty(owner)
    };
    bench.journal.append(vec![consume]).await.unwrap()[0].as_ref().unwrap();
    // A repeat after it was consumed is still the same signal.
    bench.journal.signal(owner.run, signal("s1")).await.unwrap();
    let waiting = bench.journal.pending_signals(session).await.unwrap().unwrap();
    assert_eq!(waiting, [(owner.run, signal("s2"))]);

    bench.close(owner).await;
    let late = bench.journal.signal(owner.run, signal("s3")).await.unwrap();
    assert_eq!(late, Signalled::Ended(RunState::Done));
    let nobody = bench.journal.signal(super::new_id(), signal("s")).await;
    assert!(matches!(nobody, Err(JournalError::RunNotFound)));
}

pub(crate) async fn a_signal_wakes_a_parked_run(bench: &Bench) {
    let session = bench.session().await;
    let owner = bench.owned(session).await;
    assert_eq!(bench.park(owner).await, Parked::Parked);
    let run = bench.get(owner.run).await;
    assert_eq!((run.state, run.session, run.due), (RunState::Waiting, None, None));
    assert!(bench.claim(session, 16).await.runs.is_empty());
    assert!(matches!(bench.append(owner, "parked").await, Err(JournalError::Fenced)));

    let told = bench.journal.signal(owner.run, signal("s")).await.unwrap();
    assert_eq!(told, Signalled::Kept { state: RunState::Waiting, owner: None, woken: true });
    let claimed = bench.claim(session, 16).await;
    assert_eq!(claimed.runs[0].0.epoch, 2);
    assert_eq!(claimed.runs[0].1, [signal("s")]);
}

pub(crate) async fn a_run_with_signals_is_not_parked(bench: &Bench) {
    let owner = bench.owned(bench.session().await).await;
    bench.journal.signal(owner.run, signal("s")).await.unwrap();
    let parking = Parking { records: vec![record(RecordKind::Finished, "before")], ..Parking::of(owner) };
    assert_eq!(bench.journal.park(parking).await.unwrap(), Parked::SignalsWait(vec![signal("s")]));
    assert_eq!(bench.get(owner.run).await.state, RunState::Leased);
    assert_eq!(bench.steps(owner.run).await, ["opened", "before"]);
    let consume = Append { consumed_signals: vec!["s".to_owned()], ..empty(owner) };
    bench.journal.append(vec![consume]).await.unwrap()[0].as_ref().unwrap();
    assert_eq!(bench.park(owner).await, Parked::Parked);
}

/// Whoever comes first, the signal is seen: by the parking owner, or by the claimer.
pub(crate) async fn park_and_signal_never_miss_each_other(bench: &Bench) {
    let session = bench.session().await;
    for _ in 0..50 {
        let owner = bench.owned(session).await;
        let journal = Arc::clone(&bench.journal);
        let (parked, told) = tokio::join!(
            bench.park(owner),
            tokio::task::spawn_blocking(move || {
                tokio::runtime::Handle::current().block_on(journal.signal(owner.run, signal("s"))).unwrap()
            })
        );
        match (parked, told.unwrap()) {
            (Parked::SignalsWait(signals), Signalled::Kept { woken: false, .. }) => {
                assert_eq!(signals, [signal("s")]);
                bench.close(owner).await;
            }
            (Parked::Parked, Signalled::Kept { woken: true, .. }) => {
                let again = bench.claim_one(session, owner.run).await;
                bench.close(again).await;
            }
            other => panic!("a signal was lost: {other:?}"),
        }
    }
}

pub(crate) async fn a_timer_wakes_a_parked_run(bench: &Bench) {
    let hour = Duration::from_secs(3600);
    let session = bench.session().await;
    let owner = bench.owned(session).await;
    let until = bench.get(owner.run).await.created.after(hour);
    let parking = Parking { until: Some(until), ..Parking::of(owner) };
    assert_eq!(bench.journal.park(parking).await.unwrap(), Parked::Parked);
    bench.journal.close_session(session).await.unwrap();
    assert_eq!(bench.journal.next_wake().await.unwrap(), Some(hour));
    (bench.advance)(hour - Duration::from_millis(1));
    let session = bench.session().await;
    assert!(bench.claim(session, 16).await.runs.is_empty());
    (bench.advance)(Duration::from_millis(1));
    bench.claim_one(session, owner.run).await;

    let later = bench.get(owner.run).await.created.after(3 * hour);
    let asked = Opening { due: Some(later), ..opening() };
    assert_eq!(bench.attach(asked).await.run.state, RunState::Waiting);
    assert!(bench.claim(session, 16).await.runs.is_empty());
}

pub(crate) async fn a_deadline_wakes_a_parked_run(bench: &Bench) {
    let session = bench.session().await;
    let mut asked = Opening { session: Some(session), ..opening() };
    let now = bench.get(bench.ready().await).await.created;
    bench.claim(session, 16).await;
    asked.head.deadline = Some(now.after(Duration::from_secs(5)));
    let run = bench.attach(asked).await.run;
    let owner = crate::runtime_context::model::Owner { run: run.head.id, session, epoch: run.epoch };
    let parking = Parking { until: Some(now.after(Duration::from_secs(9))), ..Parking::of(owner) };
    bench.journal.park(parking).await.unwrap();
    (bench.advance)(Duration::from_secs(5));
    bench.claim_one(session, run.head.id).await;
}

pub(crate) async fn an_owner_finds_its_inbox(bench: &Bench) {
    let (a, b) = (bench.session().await, bench.session().await);
    let (mine, other) = (bench.owned(a).await, bench.owned(b).await);
    bench.journal.signal(mine.run, signal("m")).await.unwrap();
    bench.journal.signal(other.run, signal("o")).await.unwrap();
    assert_eq!(bench.journal.pending_signals(a).await.unwrap().unwrap(), [(mine.run, signal("m"))]);
    bench.journal.close_session(a).await.unwrap();
    assert_eq!(bench.journal.pending_signals(a).await.unwrap(), None);
}

/// What others wait for is told after the commit, by whatever write.
pub(crate) async fn changes_are_told(bench: &Bench) {
    let session = bench.session().await;
    assert!(bench.told().contains(&Change::Rescheduled));
    bench.ready().await;
    assert!(bench.told().contains(&Change::Claimable));
    bench.claim(session, 16).await;
    let owner = bench.owned(session).await;
    bench.told();
    bench.append(owner, "a").await.unwrap();
    assert_eq!(bench.told(), [Change::Run(owner.run)]);
    bench.journal.signal(owner.run, signal("s")).await.unwrap();
    bench.journal.signal(owner.run, signal("s")).await.unwrap();
    assert_eq!(bench.told(), [Change::Signal { session, run: owner.run, signal: signal("s") }]);
    let until = bench.get(owner.run).await.created.after(Duration::from_secs(3600));
    let consumed_signals = vec!["s".to_owned()];
    let parking = Parking { until: Some(until), consumed_signals, ..Parking::of(owner) };
    assert_eq!(bench.journal.park(parking).await.unwrap(), Parked::Parked);
    let told = bench.told();
    assert!(told.contains(&Change::Run(owner.run)) && told.contains(&Change::Rescheduled), "{told:?}");
    bench.journal.signal(owner.run, signal("t")).await.unwrap();
    assert!(bench.told().contains(&Change::Claimable));
    let owner = bench.claim_one(session, owner.run).await;
    bench.close(owner).await;
    bench.told();
    bench.journal.delete(owner.run).await.unwrap();
    assert_eq!(bench.told(), [Change::Run(owner.run)]);
    bench.owned(session).await;
    bench.told();
    bench.journal.close_session(session).await.unwrap();
    let told = bench.told();
    assert!(told.contains(&Change::SessionOver(session)) && told.contains(&Change::Claimable), "{told:?}");
    let session = bench.session().await;
    (bench.advance)(LEASE);
    bench.told();
    bench.journal.reap().await.unwrap();
    assert!(bench.told().contains(&Change::SessionOver(session)));
}
