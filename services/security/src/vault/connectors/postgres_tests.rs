use std::sync::atomic::{AtomicU32, Ordering};

use sre_store::pg::{PgConfig, PgTls};

use super::*;
use crate::vault::connectors::contract::{self, Bench};

/// A database with a schema of its own, or none without a server.
fn config() -> Option<PgConfig> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Ok(url) = std::env::var("SRE_TEST_POSTGRES") else {
        println!("skipped: SRE_TEST_POSTGRES holds no url");
        assert!(std::env::var_os("CI").is_none(), "CI tests against a server: set SRE_TEST_POSTGRES");
        return None;
    };
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    Some(PgConfig {
        url: Some(url.into()),
        schema: Some(format!("v_{}_{n}", std::process::id())),
        tls: PgTls::Disable,
        pool_size: 2,
        ..PgConfig::default()
    })
}

/// Drops the schema at the end.
struct Schema(Pg);

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

async fn fresh() -> Option<Bench> {
    let pg = Pg::connect(&config()?, PG_MIGRATIONS).await.unwrap();
    Some(Bench::over(PostgresVault::new(pg.clone(), Keks::in_memory().unwrap()), Schema(pg)))
}

contract::every_case!(fresh);

/// Two replicas over one database and one key file: what one seals after its rotation the other opens.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_secrets_while_keys_rotate() {
    let Some(config) = config() else { return };
    let pg = Pg::connect(&config, PG_MIGRATIONS).await.unwrap();
    let _schema = Schema(pg.clone());
    let keks = Keks::in_memory().unwrap();
    let one = PostgresVault::new(pg.clone(), keks.clone());
    let two = PostgresVault::new(Pg::connect(&config, PG_MIGRATIONS).await.unwrap(), keks.clone());
    for n in 0..5 {
        for (at, other) in [(&one, &two), (&two, &one)] {
            let text = format!("value {n}");
            at.put("t", "k", contract::value(&text), contract::WRITER, contract::NOW).await.unwrap();
            keks.rotate().await.unwrap();
            let read = other.get("t", "k", None).await.unwrap().unwrap().1;
            assert_eq!(read.expose(), text.as_bytes());
        }
    }
    assert_eq!(one.reseal().await.unwrap(), 10);
    assert_eq!(two.reseal().await.unwrap(), 0);
    keks.forget_old().await.unwrap();
    assert_eq!(two.get("t", "k", Some(1)).await.unwrap().unwrap().1.expose(), b"value 0");
}

/// services.md §4.3 group 7: the database holds no plaintext, and a moved row does not open.
#[tokio::test(flavor = "multi_thread")]
async fn a_moved_row_does_not_open() {
    let Some(config) = config() else { return };
    let pg = Pg::connect(&config, PG_MIGRATIONS).await.unwrap();
    let _schema = Schema(pg.clone());
    let vault = PostgresVault::new(pg.clone(), Keks::in_memory().unwrap());
    vault.put("t", "k", contract::value("value-canary"), contract::WRITER, contract::NOW).await.unwrap();
    let rows = vault.rows("select secret::text as row from secret", &[]).await.unwrap();
    assert!(!get::<String>(&rows[0], "row").unwrap().contains("value-canary"));
    vault.execute("update secret set team = 'u'", &[]).await.unwrap();
    assert!(matches!(vault.get("u", "k", None).await, Err(SecretStoreError::Damaged(_))));
}
