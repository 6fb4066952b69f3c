//! Two processes on one database.

use std::sync::Arc;
use std::time::Duration;

use sre_service::testing::Schema;
use sre_store::pg::Pg;
use tokio::sync::mpsc;

use super::config;
use crate::runtime_context::JournalSettings;
use crate::runtime_context::changes::Change;
use crate::runtime_context::connectors::contract::{opening, signal};
use crate::runtime_context::connectors::postgres::{PG_MIGRATIONS, PostgresJournal};
use crate::runtime_context::connectors::{Journal, contract};
use crate::runtime_context::model::{Claim, Opening};

struct Process {
    journal: PostgresJournal,
    told: mpsc::Receiver<Change>,
}

async fn process(pg: &Pg) -> Process {
    let settings = Arc::new(JournalSettings::default());
    let journal = PostgresJournal::open(pg.clone(), settings).await.unwrap();
    let (sender, told) = mpsc::channel(10_000);
    journal.observe(Arc::new(move |change| {
        let _ = sender.try_send(change);
    }));
    Process { journal, told }
}

impl Process {
    /// Whether `wanted` is told, by notices: sooner than anybody looks for itself.
    async fn hears(&mut self, wanted: impl Fn(&Change) -> bool) -> bool {
        let heard = async {
            loop {
                let change = self.told.recv().await.unwrap();
                if wanted(&change) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_millis(500), heard).await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_hear_of_each_others_changes() {
    let Some(config) = config() else { return };
    let pg = Pg::connect(&config, PG_MIGRATIONS).await.unwrap();
    let _schema = Schema(pg.clone());
    let (mut one, mut two) = (process(&pg).await, process(&pg).await);
    let session = one.journal.open_session(contract::LEASE, "one".to_owned()).await.unwrap().id;
    let owned = Opening { session: Some(session), ..opening() };
    let run = one.journal.open_run(owned).await.unwrap().run;
    // Until they know of each other, nothing is said.
    let mut tries = 0;
    loop {
        two.journal.signal(run.head.id, signal(&format!("s{tries}"))).await.unwrap();
        if one.hears(|change| *change == Change::Inbox(session)).await {
            break;
        }
        tries += 1;
        assert!(tries < 20, "nothing was heard");
    }
    let waiting = one.journal.pending_signals(session).await.unwrap().unwrap();
    assert_eq!(waiting.len(), tries + 1);

    two.journal.open_run(opening()).await.unwrap();
    assert!(one.hears(|change| *change == Change::Claimable).await);
    let owner = crate::runtime_context::model::Owner { run: run.head.id, session, epoch: run.epoch };
    let append = crate::runtime_context::model::Append {
        records: vec![contract::record(sre_proto::memory::v1::RecordKind::Finished, "a")],
        ..crate::runtime_context::model::Append::of(owner)
    };
    one.journal.append(vec![append]).await.unwrap().pop().unwrap().unwrap();
    assert!(two.hears(|change| *change == Change::Run(run.head.id)).await);
    one.journal.close_session(session).await.unwrap();
    assert!(two.hears(|change| *change == Change::SessionOver(session)).await);
}

/// Children that end while their parent parks, batches that meet in another order, claims and signals, by two
/// processes at once: no error reaches a caller, and all is done once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_meet_wait_for_each_other_or_try_again() {
    let Some(config) = config() else { return };
    let pg = Pg::connect(&config, PG_MIGRATIONS).await.unwrap();
    let _schema = Schema(pg.clone());
    let processes = [process(&pg).await.journal, process(&pg).await.journal];
    let session = processes[0].open_session(Duration::from_secs(300), "x".to_owned()).await.unwrap().id;
    let mut runs = Vec::new();
    for _ in 0..20 {
        let owned = Opening { session: Some(session), ..opening() };
        let run = processes[0].open_run(owned).await.unwrap().run;
        runs.push(crate::runtime_context::model::Owner { run: run.head.id, session, epoch: run.epoch });
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (index, journal) in processes.iter().cloned().enumerate() {
        let mut mine = runs.clone();
        if index == 1 {
            mine.reverse();
        }
        let (claiming, signalling, others) = (journal.clone(), journal.clone(), mine.clone());
        tasks.spawn(async move {
            for round in 0..20 {
                let appends = mine
                    .iter()
                    .map(|owner| crate::runtime_context::model::Append {
                        records: vec![contract::record(
                            sre_proto::memory::v1::RecordKind::Finished,
                            &format!("{index}/{round}"),
                        )],
                        ..crate::runtime_context::model::Append::of(*owner)
                    })
                    .collect();
                for outcome in journal.append(appends).await.unwrap() {
                    outcome.unwrap();
                }
            }
        });
        tasks.spawn(async move {
            for round in 0..20 {
                for owner in others.iter().step_by(7) {
                    signalling.signal(owner.run, signal(&format!("{index}/{round}"))).await.unwrap();
                }
            }
        });
        tasks.spawn(async move {
            for _ in 0..20 {
                claiming.open_run(opening()).await.unwrap();
                claiming.claim(Claim { session, limit: 16, max_record_format: 1 }).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for owner in &runs {
        let run = processes[1].run(owner.run).await.unwrap();
        assert_eq!(run.next_sequence, 42);
    }
    let claimed = processes[0].claim(Claim { session, limit: 256, max_record_format: 1 }).await.unwrap();
    assert!(claimed.runs.is_empty());
}
