//! Sessions, fencing, claims.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sre_proto::memory::v1::{RecordKind, RunState};
use tokio::task::JoinSet;

use super::{Bench, LEASE, empty, new_id, opening, record};
use crate::runtime_context::JournalError;
use crate::runtime_context::ids::SessionId;
use crate::runtime_context::model::{Append, Claim, Opening, Owner, Parking, ReadFrom};

pub(crate) async fn a_zombie_writes_nothing(bench: &Bench) {
    let (a, b) = (bench.session().await, bench.session().await);
    let zombie = bench.owned(a).await;
    bench.append(zombie, "by a").await.unwrap();
    // While the lease of A lives, B claims nothing.
    assert!(bench.claim(b, 16).await.runs.is_empty());
    (bench.advance)(LEASE / 2);
    bench.journal.renew_session(b).await.unwrap().unwrap();
    (bench.advance)(LEASE / 2);
    let owner = bench.claim_one(b, zombie.run).await;
    assert_eq!(owner.epoch, 2);

    assert!(matches!(bench.append(zombie, "late").await, Err(JournalError::Fenced)));
    let parking = Parking { records: vec![record(RecordKind::Finished, "late")], ..Parking::of(zombie) };
    assert!(matches!(bench.journal.park(parking).await, Err(JournalError::Fenced)));
    // Neither the right epoch with the wrong session nor the reverse will do.
    assert!(matches!(bench.append(Owner { session: a, ..owner }, "x").await, Err(JournalError::Fenced)));
    assert!(matches!(bench.append(Owner { epoch: 1, ..owner }, "x").await, Err(JournalError::Fenced)));
    let unknown = bench.append(Owner { run: new_id(), ..owner }, "x").await;
    assert!(matches!(unknown, Err(JournalError::RunNotFound)));

    assert_eq!(bench.append(owner, "by b").await.unwrap(), 3);
    let page = bench.journal.read(zombie.run, ReadFrom::After(0)).await.unwrap();
    let written: Vec<_> =
        page.records.iter().map(|record| (record.content.step.as_str(), record.epoch)).collect();
    assert_eq!(written, [("opened", 1), ("by a", 1), ("by b", 2)]);
}

pub(crate) async fn claims_share_nothing(bench: &Bench) {
    let mut waiting = HashSet::new();
    for _ in 0..60 {
        waiting.insert(bench.ready().await);
    }
    let mut claimers = JoinSet::new();
    for _ in 0..8 {
        let (journal, session) = (Arc::clone(&bench.journal), bench.session().await);
        claimers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claim = Claim { session, limit: 5, max_record_format: 1 };
                let claimed = journal.claim(claim).await.unwrap();
                if claimed.runs.is_empty() {
                    return mine;
                }
                assert!(claimed.runs.len() <= 5);
                mine.extend(claimed.runs.iter().map(|(run, _)| (run.head.id, run.epoch)));
            }
        });
    }
    let mut claimed = Vec::new();
    while let Some(mine) = claimers.join_next().await {
        claimed.extend(mine.unwrap());
    }
    assert_eq!(claimed.len(), 60);
    assert!(claimed.iter().all(|(run, epoch)| *epoch == 1 && waiting.remove(run)));
}

pub(crate) async fn a_claim_asks_for_a_live_session(bench: &Bench) {
    bench.ready().await;
    let claim = |session| Claim { session, limit: 1, max_record_format: 1 };
    let unknown = SessionId(sre_proto::ids::new_uuid());
    assert!(matches!(bench.journal.claim(claim(unknown)).await, Err(JournalError::SessionOver)));
    let opened = bench.journal.open_run(Opening { session: Some(unknown), ..opening() }).await;
    assert!(matches!(opened, Err(JournalError::SessionOver)));
    assert_eq!(bench.journal.renew_session(unknown).await.unwrap(), None);
    let session = bench.session().await;
    bench.journal.close_session(session).await.unwrap();
    assert!(matches!(bench.journal.claim(claim(session)).await, Err(JournalError::SessionOver)));
}

pub(crate) async fn an_expired_session_loses_its_runs(bench: &Bench) {
    let session = bench.session().await;
    let owner = bench.owned(session).await;
    assert!(bench.journal.next_wake().await.unwrap().unwrap() <= LEASE);
    (bench.advance)(LEASE - Duration::from_millis(1));
    assert_eq!(bench.journal.reap().await.unwrap().sessions, []);
    assert!(bench.journal.renew_session(session).await.unwrap().is_some());
    (bench.advance)(LEASE);
    // Expired and not reaped: nobody else owns its runs, so it may live on.
    assert!(bench.journal.renew_session(session).await.unwrap().is_some());
    bench.append(owner, "alive").await.unwrap();
    (bench.advance)(LEASE);
    let reaped = bench.journal.reap().await.unwrap();
    assert_eq!((reaped.sessions, reaped.released), (vec![session], 1));
    assert!(bench.journal.renew_session(session).await.unwrap().is_none());
    assert!(matches!(bench.append(owner, "dead").await, Err(JournalError::Fenced)));
    assert_eq!(bench.get(owner.run).await.state, RunState::Ready);
    assert_eq!(bench.journal.reap().await.unwrap().sessions, []);
}

pub(crate) async fn a_closed_session_hands_back_at_once(bench: &Bench) {
    let run = bench.ready().await;
    // Many restarts in order are no sign of poison.
    for epoch in 1..=10 {
        let session = bench.session().await;
        let owner = bench.claim_one(session, run).await;
        assert_eq!((owner.epoch, bench.get(run).await.barren_claims), (epoch, 1));
        assert_eq!(bench.journal.close_session(session).await.unwrap(), 1);
        assert_eq!(bench.journal.close_session(session).await.unwrap(), 0);
        assert!(matches!(bench.append(owner, "late").await, Err(JournalError::Fenced)));
        assert!(bench.journal.renew_session(session).await.unwrap().is_none());
    }
}

pub(crate) async fn a_claimer_gets_only_formats_it_reads(bench: &Bench) {
    let mut newer = opening();
    newer.head.record_format = 2;
    bench.attach(newer.clone()).await;
    let session = bench.session().await;
    assert!(bench.claim(session, 16).await.runs.is_empty());
    let claim = Claim { session, limit: 16, max_record_format: 2 };
    assert_eq!(bench.journal.claim(claim).await.unwrap().runs[0].0.head.id, newer.head.id);
}

pub(crate) async fn poison_runs_fail_and_back_off(bench: &Bench) {
    let run = bench.ready().await;
    let mut waits = Vec::new();
    for barren in 1..=5 {
        let session = bench.session().await;
        let owner = bench.claim_one(session, run).await;
        assert_eq!(bench.get(run).await.barren_claims, barren);
        assert_eq!(owner.epoch, i64::from(barren));
        (bench.advance)(LEASE);
        bench.journal.reap().await.unwrap();
        let wait = bench.journal.next_wake().await.unwrap().unwrap();
        waits.push(wait.as_millis());
        // Not before its time.
        assert!(bench.claim(bench.session().await, 16).await.runs.is_empty());
        (bench.advance)(wait);
    }
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000]);
    let claimed = bench.claim(bench.session().await, 16).await;
    assert!(claimed.runs.is_empty());
    assert_eq!(claimed.reaped.poisoned, [run]);
    let page = bench.journal.read(run, ReadFrom::After(1)).await.unwrap();
    assert_eq!(page.state, RunState::Failed);
    assert_eq!(page.records[0].content.kind, RecordKind::Closed);
    assert!(String::from_utf8_lossy(&bench.get(run).await.outcome).contains("poison"));
}

pub(crate) async fn progress_ends_barrenness(bench: &Bench) {
    let run = bench.ready().await;
    for round in 0..8 {
        let owner = bench.claim_one(bench.session().await, run).await;
        bench.append(owner, &round.to_string()).await.unwrap();
        assert_eq!(bench.get(run).await.barren_claims, 0);
        (bench.advance)(LEASE);
    }
}

pub(crate) async fn children_go_first(bench: &Bench) {
    let root = bench.ready().await;
    (bench.advance)(Duration::from_secs(1));
    let mut child = opening();
    child.head.parent = Some(root);
    child.head.idempotency_key = "k".to_owned();
    let child = bench.attach(child).await.run.head.id;
    let session = bench.session().await;
    assert_eq!(bench.claim(session, 1).await.runs[0].0.head.id, child);
    assert_eq!(bench.claim(session, 1).await.runs[0].0.head.id, root);
}

pub(crate) async fn a_batch_fails_item_by_item(bench: &Bench) {
    let session = bench.session().await;
    let (one, two) = (bench.owned(session).await, bench.owned(session).await);
    let item = |owner, step| Append { records: vec![record(RecordKind::Finished, step)], ..empty(owner) };
    let outcomes = bench
        .journal
        .append(vec![
            item(one, "1"),
            item(Owner { epoch: 7, ..two }, "no"),
            item(Owner { run: new_id(), ..two }, "no"),
            item(two, "2"),
            item(one, "3"),
        ])
        .await
        .unwrap();
    let reasons: Vec<_> =
        outcomes.iter().map(|outcome| outcome.as_ref().map_err(JournalError::reason)).collect();
    use sre_proto::error::Reason;
    assert_eq!(reasons, [Ok(&2), Err(Reason::Fenced), Err(Reason::NotFound), Ok(&2), Ok(&3)]);
    assert_eq!(bench.steps(one.run).await, ["opened", "1", "3"]);
    assert_eq!(bench.steps(two.run).await, ["opened", "2"]);
}

pub(crate) async fn many_writers_lose_nothing(bench: &Bench) {
    let session = bench.session().await;
    let mut writers = JoinSet::new();
    for _ in 0..64 {
        let owner = bench.owned(session).await;
        let journal = Arc::clone(&bench.journal);
        writers.spawn(async move {
            for n in 0..10 {
                let append =
                    Append { records: vec![record(RecordKind::Finished, &n.to_string())], ..empty(owner) };
                let last = journal.append(vec![append]).await.unwrap().pop().unwrap().unwrap();
                assert_eq!(last, n + 2);
            }
            owner.run
        });
    }
    while let Some(run) = writers.join_next().await {
        assert_eq!(bench.steps(run.unwrap()).await.len(), 11);
    }
}
