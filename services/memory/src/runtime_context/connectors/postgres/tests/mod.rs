use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt as _;
use sre_store::pg::{Pg, PgConfig, PgTls};

use super::{PG_MIGRATIONS, PostgresJournal, SESSION};
use crate::runtime_context::connectors::contract::{self, Bench};
use crate::runtime_context::settings::JournalSettings;

/// A database with a schema of its own, or none without a server.
pub(crate) fn config() -> Option<PgConfig> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Ok(url) = std::env::var("SRE_TEST_POSTGRES") else {
        println!("skipped: SRE_TEST_POSTGRES holds no url");
        assert!(std::env::var_os("CI").is_none(), "CI tests against a server: set SRE_TEST_POSTGRES");
        return None;
    };
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    Some(PgConfig {
        url: Some(url.into()),
        schema: Some(format!("j_{}_{n}", std::process::id())),
        tls: PgTls::Disable,
        pool_size: 4,
        session: SESSION,
        ..PgConfig::default()
    })
}

/// Drops the schema at the end.
pub(crate) struct Schema(pub(crate) Pg);

impl Drop for Schema {
    fn drop(&mut self) {
        let pg = self.0.clone();
        let name = pg.schema_name().unwrap_or_default().to_owned();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let client = pg.get().await.unwrap();
                client.batch_execute(&format!("drop schema {name} cascade")).await.unwrap();
            });
        });
    }
}

/// A clock that the test moves, instead of the server's.
const CLOCK: &str = "
    create table clock (ms bigint not null);
    insert into clock values (1800000000000);
    create or replace function now_ms() returns bigint language sql stable as $$ select ms from clock $$";

async fn fresh(settings: JournalSettings) -> Option<Bench> {
    let pg = Pg::connect(&config()?, PG_MIGRATIONS).await.unwrap();
    pg.get().await.unwrap().batch_execute(CLOCK).await.unwrap();
    let journal = Arc::new(PostgresJournal::open(pg.clone(), Arc::new(settings)).await.unwrap());
    let moved = pg.clone();
    let advance = move |by: std::time::Duration| {
        let (pg, ms) = (moved.clone(), i64::try_from(by.as_millis()).unwrap());
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let client = pg.get().await.unwrap();
                client.execute("update clock set ms = ms + $1", &[&ms]).await.unwrap();
            });
        });
    };
    Some(Bench::over(journal, advance, || async {}.boxed(), Schema(pg)))
}

contract::every_case!(fresh);

mod outage;
mod same_request;
mod sharing;
mod weeks;
