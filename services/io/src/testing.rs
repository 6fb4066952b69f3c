//! What tests of several modules share.

use std::sync::atomic::{AtomicU32, Ordering};

use sre_store::pg::{Pg, PgConfig, PgTls};

use crate::storage::PG_SESSION;

/// A schema of its own in a database; dropped at the end.
pub(crate) struct Database {
    pub(crate) pg: Pg,
}

/// A fresh schema, or none without a server.
pub(crate) async fn database() -> Option<Database> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let url = sre_service::testing::backend("SRE_TEST_POSTGRES")?;
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let config = PgConfig {
        url: Some(url.into()),
        schema: Some(format!("io_{}_{n}", std::process::id())),
        tls: PgTls::Disable,
        pool_size: 4,
        session: PG_SESSION,
        ..PgConfig::default()
    };
    Some(Database { pg: Pg::connect(&config, crate::schema::PG_MIGRATIONS).await.unwrap() })
}

impl Drop for Database {
    fn drop(&mut self) {
        let pg = self.pg.clone();
        let name = pg.schema_name().unwrap_or_default().to_owned();
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let client = pg.get().await.unwrap();
                client.batch_execute(&format!("drop schema {name} cascade")).await.unwrap();
            });
        });
    }
}
