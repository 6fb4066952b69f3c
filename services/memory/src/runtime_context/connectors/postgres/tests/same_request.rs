//! One request id, asked for twice at the same time.

use std::sync::Arc;

use sre_service::testing::Schema;
use sre_store::pg::Pg;
use tokio::task::JoinSet;

use super::config;
use crate::runtime_context::JournalSettings;
use crate::runtime_context::connectors::Journal;
use crate::runtime_context::connectors::contract::{new_id, opening};
use crate::runtime_context::connectors::postgres::{PG_MIGRATIONS, PostgresJournal};
use crate::runtime_context::model::{Opening, Request};

/// Copies a run, as another process would open one under the request id `r1`.
const OPENED_ELSEWHERE: &str = "
    insert into run (run, created_ms, id, record_format, partition, kind, team, agent, caller, idempotency_key,
        label, version, spec, acl)
    select 1000000, created_ms, $1, record_format, partition, kind, team, agent, caller, idempotency_key,
        label, version, spec, acl from run where id = $2";
const LIVE_ELSEWHERE: &str = "
    insert into live (run, epoch, next_seq, checkpoint_seq, due_ms, id, record_format, barren, partition, kind,
        state, priority, team)
    select 1000000, epoch, next_seq, checkpoint_seq, due_ms, $1, record_format, barren, partition, kind,
        state, priority, team from live where id = $2";
const ASKED_ELSEWHERE: &str = "
    insert into request (at_ms, run_id, partition, caller, id, input_digest)
    select now_ms(), id, partition, caller, 'r1', 'i1' from run where id = $1";
/// The view shows how a statement begins: the first kilobyte.
const WAITS_FOR_IT: &str = "
    select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%with item as materialized%'";
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_gets_the_run_of_the_first() {
    let Some(config) = config() else { return };
    let pg = Pg::connect(&config, PG_MIGRATIONS).await.unwrap();
    let _schema = Schema(pg.clone());
    let journal =
        Arc::new(PostgresJournal::open(pg.clone(), Arc::new(JournalSettings::default())).await.unwrap());
    let model = journal.open_run(opening()).await.unwrap().run.head.id.uuid;

    // The first has written everything, and not committed yet.
    let first = new_id();
    let mut client = pg.get().await.unwrap();
    let elsewhere = client.transaction().await.unwrap();
    for statement in [OPENED_ELSEWHERE, LIVE_ELSEWHERE] {
        assert_eq!(elsewhere.execute(statement, &[&first.uuid, &model]).await.unwrap(), 1);
    }
    assert_eq!(elsewhere.execute(ASKED_ELSEWHERE, &[&first.uuid]).await.unwrap(), 1);

    let mut second = JoinSet::new();
    let asking = Arc::clone(&journal);
    second.spawn(async move {
        let request = Some(Request { id: "r1".to_owned(), input_digest: "i1".to_owned() });
        asking.open_run(Opening { request, ..opening() }).await
    });
    let looking = pg.get().await.unwrap();
    let began = std::time::Instant::now();
    while looking.query_one(WAITS_FOR_IT, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(began.elapsed() < PATIENCE, "the second does not wait for the first");
        tokio::task::yield_now().await;
    }
    elsewhere.commit().await.unwrap();
    let opened = second.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((opened.attached, opened.run.head.id), (true, first));
}
