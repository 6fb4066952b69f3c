use sre_service::testing::{Schema, postgres};

use super::*;
use crate::vault::connectors::contract::{self, Bench};

fn config() -> Option<sre_store::pg::PgConfig> {
    postgres("vault", &[])
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
