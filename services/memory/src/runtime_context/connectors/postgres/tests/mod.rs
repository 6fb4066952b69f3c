use std::sync::Arc;

use futures::FutureExt as _;
use sre_service::testing::{Schema, postgres};
use sre_store::pg::{Pg, PgConfig};

use super::{PG_MIGRATIONS, PostgresJournal, SESSION};
use crate::runtime_context::connectors::contract::{self, Bench};
use crate::runtime_context::settings::JournalSettings;

/// A database with a schema of its own, or none without a server.
pub(crate) fn config() -> Option<PgConfig> {
    postgres("j", SESSION)
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

mod conversations {
    use super::*;

    async fn fresh() -> Option<crate::llm_context::contract::Bench> {
        let pg = Pg::connect(&config()?, PG_MIGRATIONS).await.unwrap();
        let settings = Arc::new(JournalSettings::default());
        let journal = Arc::new(PostgresJournal::open(pg.clone(), settings).await.unwrap());
        let bench = Bench::over(journal.clone(), |_| {}, || async {}.boxed(), Schema(pg));
        Some(crate::llm_context::contract::Bench { store: journal, journal: bench })
    }

    crate::llm_context::contract::every_case!(fresh);
}

mod outage;
mod same_request;
mod sharing;
mod weeks;
