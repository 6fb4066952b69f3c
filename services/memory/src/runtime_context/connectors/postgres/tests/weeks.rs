//! The partitions of `record`.

use std::sync::Arc;

use sre_service::testing::Schema;
use sre_store::pg::Pg;

use super::config;
use crate::runtime_context::JournalSettings;
use crate::runtime_context::connectors::Journal;
use crate::runtime_context::connectors::contract::opening;
use crate::runtime_context::connectors::postgres::{PG_MIGRATIONS, PostgresJournal};
use crate::runtime_context::model::ReadFrom;

async fn partitions(pg: &Pg) -> Vec<String> {
    let text = "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid \
                where i.inhparent = 'record'::regclass order by 1";
    let rows = pg.get().await.unwrap().query(text, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weeks_are_made_ahead_and_dropped_once_empty() {
    let Some(config) = config() else { return };
    let pg = Pg::connect(&config, PG_MIGRATIONS).await.unwrap();
    let _schema = Schema(pg.clone());
    let settings = Arc::new(JournalSettings::default());
    let journal = PostgresJournal::open(pg.clone(), Arc::clone(&settings)).await.unwrap();
    // This week, four ahead, and the one for ids of other times.
    assert_eq!(partitions(&pg).await.len(), 6);
    let opened = opening();
    journal.open_run(opened.clone()).await.unwrap();
    let text = "select tableoid::regclass::text from record";
    let place: String = pg.get().await.unwrap().query_one(text, &[]).await.unwrap().get(0);
    assert!(place.contains("record_w"), "{place}");

    // Weeks of long ago: one is empty, one is not, and a run whose week has no partition.
    let client = pg.get().await.unwrap();
    let old = |week: u128| uuid::Uuid::from_u128((week * 7 * 24 * 3600 * 1000) << 80);
    for week in [100u128, 101] {
        let (from, to) = (old(week), old(week + 1));
        let made =
            format!("create table record_w{week} partition of record for values from ('{from}') to ('{to}')");
        client.batch_execute(&made).await.unwrap();
    }
    let mut long_ago = opening();
    long_ago.head.id.uuid = uuid::Uuid::from_u128(old(101).as_u128() + 7);
    journal.open_run(long_ago.clone()).await.unwrap();
    let mut outside = opening();
    outside.head.id.uuid = uuid::Uuid::from_u128(old(102).as_u128() + 7);
    journal.open_run(outside.clone()).await.unwrap();
    drop(client);
    journal.expire().await.unwrap();
    let left = partitions(&pg).await;
    assert!(
        !left.contains(&"record_w100".to_owned()) && left.contains(&"record_w101".to_owned()),
        "{left:?}"
    );
    for run in [opened.head.id, long_ago.head.id, outside.head.id] {
        assert_eq!(journal.read(run, ReadFrom::After(0)).await.unwrap().records.len(), 1);
    }

    // Another process has not got the duty.
    let other = PostgresJournal::open(pg.clone(), settings).await.unwrap();
    pg.get().await.unwrap().batch_execute("delete from record_w101").await.unwrap();
    other.expire().await.unwrap();
    assert!(partitions(&pg).await.contains(&"record_w101".to_owned()));
    journal.expire().await.unwrap();
    assert!(!partitions(&pg).await.contains(&"record_w101".to_owned()));
}
