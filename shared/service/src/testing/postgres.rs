//! Schemas of tests on the real PostgreSQL server.

use std::sync::atomic::{AtomicU32, Ordering};

use sre_store::pg::{Pg, PgConfig, PgTls};

use super::backend;

/// A schema of its own on the server that `SRE_TEST_POSTGRES` names, for connections with the options of `session`;
/// none without a server. A [`Schema`] drops it.
#[must_use]
pub fn postgres(prefix: &str, session: &'static [(&'static str, &'static str)]) -> Option<PgConfig> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let url = backend("SRE_TEST_POSTGRES")?;
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    Some(PgConfig {
        url: Some(url.into()),
        schema: Some(format!("{prefix}_{}_{n}", std::process::id())),
        tls: PgTls::Disable,
        pool_size: 4,
        session,
        ..PgConfig::default()
    })
}

/// Drops the schema of a pool at the end of a test, which needs a runtime of several threads.
#[derive(Debug)]
pub struct Schema(pub Pg);

impl Drop for Schema {
    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    fn drop(&mut self) {
        let (pg, name) = (self.0.clone(), self.0.schema_name().unwrap_or_default().to_owned());
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let client = pg.get().await.unwrap();
                client.batch_execute(&format!("drop schema {name} cascade")).await.unwrap();
            });
        });
    }
}
