//! Against a real server: `SRE_TEST_POSTGRES` holds the URL of a database in which the tests may
//! create schemas, and `SRE_TEST_POSTGRES_CA` the file of its authority when it speaks TLS. Without
//! them they say so and pass.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::*;
use crate::{ConstraintKind, ErrorKind};

static ONE: [Migration; 1] = [FIRST];
static TWO: [Migration; 2] = [FIRST, SECOND];
const FIRST: Migration = Migration {
    version: 1,
    name: "names",
    expand: "create table person (id bigint primary key, name text not null);
             create table visit (id bigint primary key, person bigint constraint visit_person references person (id))",
    contract: None,
};
const SECOND: Migration = Migration {
    version: 2,
    name: "full names",
    expand: "alter table person add column full_name text",
    contract: Some("alter table person drop column name"),
};

/// A configuration with a schema of its own, or None without a server.
pub(crate) fn config(test: &str) -> Option<PgConfig> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Ok(url) = std::env::var("SRE_TEST_POSTGRES") else {
        println!("skipped {test}: SRE_TEST_POSTGRES holds no url");
        assert!(std::env::var_os("CI").is_none(), "CI tests against a server: set SRE_TEST_POSTGRES");
        return None;
    };
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    Some(PgConfig {
        url: Some(url.into()),
        schema: Some(format!("t_{}_{n}_{test}", std::process::id())),
        tls: PgTls::Disable,
        ..PgConfig::default()
    })
}

pub(crate) async fn drop_schema(pg: &Pg) {
    let schema = pg.schema.clone().unwrap();
    pg.get().await.unwrap().batch_execute(&format!("drop schema {schema} cascade")).await.unwrap();
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    let Some(config) = config("together") else { return };
    let mut tasks = JoinSet::new();
    for _ in 0..6 {
        let config = PgConfig { pool_size: 1, ..config.clone() };
        tasks.spawn(async move { Pg::connect(&config, &TWO).await.unwrap().schema().await.unwrap() });
    }
    for state in tasks.join_all().await {
        assert_eq!(state, SchemaState { version: 2, min_reader: 1 });
    }
    let pg = Pg::connect(&config, &TWO).await.unwrap();
    let rows = pg.get().await.unwrap().query("select version from sre_migration", &[]).await.unwrap();
    assert_eq!(rows.len(), 2);
    drop_schema(&pg).await;
}

#[tokio::test]
async fn the_older_binary_works_until_the_contract() {
    let Some(config) = config("contract") else { return };
    let old = Pg::connect(&config, &ONE).await.unwrap();
    let new = Pg::connect(&config, &TWO).await.unwrap();
    // The older binary still writes its column, and may even restart.
    old.get().await.unwrap().execute("insert into person (id, name) values (1, 'Ann')", &[]).await.unwrap();
    Pg::connect(&config, &ONE).await.unwrap();
    assert_eq!(old.contract().await.unwrap_err().kind(), ErrorKind::Migration);
    assert_eq!(new.contract().await.unwrap(), SchemaState { version: 2, min_reader: 2 });
    let error = Pg::connect(&config, &ONE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Migration, "{error}");
    assert!(error.to_string().contains("needs a binary of version 2"), "{error}");
    drop_schema(&new).await;
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    static BROKEN: [Migration; 2] = [
        FIRST,
        Migration {
            version: 2,
            name: "broken",
            expand: "create table half (id int); select 1/0",
            contract: None,
        },
    ];
    let Some(config) = config("broken") else { return };
    let error = Pg::connect(&config, &BROKEN).await.unwrap_err();
    assert!(error.to_string().contains("expand 2 (broken)"), "{error}");
    let pg = Pg::connect(&config, &TWO).await.unwrap();
    let half = pg
        .get()
        .await
        .unwrap()
        .query("select 1 from pg_tables where tablename = 'half' and schemaname = $1", &[&config.schema])
        .await;
    assert!(half.unwrap().is_empty());
    drop_schema(&pg).await;
}

#[tokio::test]
async fn errors_have_their_kind() {
    let Some(config) = config("errors") else { return };
    let config = PgConfig { pool_size: 1, acquire_timeout_ms: 50, statement_timeout_ms: 100, ..config };
    let pg = Pg::connect(&config, &ONE).await.unwrap();
    let client = pg.get().await.unwrap();
    client.execute("insert into person values (1, 'Ann')", &[]).await.unwrap();
    let fails = async |sql: &str| StoreError::from(client.execute(sql, &[]).await.unwrap_err());

    let duplicate = fails("insert into person values (1, 'Bob')").await;
    assert!(duplicate.is_duplicate(), "{duplicate}");
    assert!(!duplicate.to_string().contains("Bob"));
    let orphan = fails("insert into visit values (1, 2)").await;
    assert!(
        matches!(&orphan, StoreError::Constraint { kind: ConstraintKind::ForeignKey, name } if name == "visit_person"),
        "{orphan}"
    );
    let slow = fails("select pg_sleep(20)").await;
    assert!(slow.is_retryable(), "{slow}");
    let wrong = fails("select nothing from nowhere").await;
    assert_eq!(wrong.kind(), ErrorKind::Backend);
    let missing = StoreError::from(client.query_one("select 1 where false", &[]).await.unwrap_err());
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");

    let exhausted = pg.get().await.unwrap_err();
    assert_eq!(exhausted.kind(), ErrorKind::Overloaded, "{exhausted}");
    drop(client);
    drop_schema(&pg).await;
    pg.close();
    assert_eq!(pg.get().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_silent_network_ends_at_the_deadline() {
    let silent = std::future::pending::<Result<(), StoreError>>();
    let error = within(Duration::from_secs(3), silent).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("3000 ms"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = PgConfig {
        host: Some("127.0.0.1".to_owned()),
        port: Some(port),
        user: Some("nobody".to_owned()),
        tls: PgTls::Disable,
        ..PgConfig::default()
    };
    let error = Pg::connect(&config, &ONE).await.unwrap_err().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[tokio::test]
async fn tls_is_verified() {
    let Some(config) = config("tls") else { return };
    let Some(ca) = std::env::var_os("SRE_TEST_POSTGRES_CA") else {
        println!("skipped tls: SRE_TEST_POSTGRES_CA holds no file");
        return;
    };
    // The authorities of the system do not know a test's.
    let strange = Pg::connect(&PgConfig { tls: PgTls::Require, ..config.clone() }, &ONE).await.unwrap_err();
    assert!(strange.to_string().contains("certificate"), "{strange}");
    let pg = Pg::connect(&PgConfig { tls: PgTls::Require, tls_ca: Some(ca.into()), ..config }, &ONE)
        .await
        .unwrap();
    let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let encrypted: bool = pg.get().await.unwrap().query_one(sql, &[]).await.unwrap().get(0);
    assert!(encrypted);
    drop_schema(&pg).await;
}

#[test]
fn tls_trusts_the_given_file_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let missing = tls::connector(Some(&path)).err().unwrap();
    assert!(missing.to_string().contains("ca.pem"), "{missing}");
    std::fs::write(&path, "no certificate").unwrap();
    let empty = tls::connector(Some(&path)).err().unwrap();
    assert!(empty.to_string().contains("no PEM certificate"), "{empty}");
}
