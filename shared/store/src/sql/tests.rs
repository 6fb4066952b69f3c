//! One contract, on both backends. PostgreSQL as in [`crate::pg`]'s tests: `SRE_TEST_POSTGRES`.

use std::time::Duration;

use super::*;
use crate::{ErrorKind, Migration, OpenOptions, Store, StoreError};

static MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "things",
    expand: "
create table thing (
    number integer primary key autoincrement,
    name text not null unique,
    body blob,
    share real
) strict;
create table part (
    thing integer not null references thing (number),
    name text not null,
    primary key (thing, name)
) strict, without rowid;
",
    contract: None,
}];

fn embedded() -> (tempfile::TempDir, Database) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(OpenOptions::new(dir.path().join("s.db"), "store.dir", MIGRATIONS)).unwrap();
    (dir, store.into())
}

#[tokio::test]
async fn embedded_keeps_the_contract() {
    let (_dir, database) = embedded();
    contract(&database).await;
    database.close().await.unwrap();
    assert_eq!(add(&database, "late").await.unwrap_err().kind(), ErrorKind::Closed);
}

async fn add(database: &Database, name: &str) -> Result<i64> {
    let name = name.to_owned();
    database
        .write(move |tx| {
            tx.query_row("insert into thing (name) values (?1) returning number", [&name], |row| row.get(0))
        })
        .await
}

async fn names(database: &Database) -> Vec<String> {
    database
        .read(|conn| {
            let mut statement = conn.prepare_cached("select name from thing order by name")?;
            let rows = statement.query_map(params![], |row| row.get(0))?;
            rows.collect()
        })
        .await
        .unwrap()
}

async fn contract(database: &Database) {
    // Numbers come back, of several callers at once.
    let numbers = futures(database, &["b", "B", "a", "ä"]).await;
    assert_eq!(numbers.len(), 4);
    assert_eq!(names(database).await, ["B", "a", "b", "ä"], "text is ordered by its bytes");

    // Every type goes in and out.
    let body = vec![0_u8, 1, 255];
    let wrote = body.clone();
    let changed = database
        .write(move |tx| {
            let sql = "update thing set body = :body, share = :share where name = :name or name = :other";
            let values = named_params! { ":name": "a", ":other": Some("b"), ":body": wrote, ":share": 0.5 };
            tx.prepare_cached(sql)?.execute(values)
        })
        .await
        .unwrap();
    assert_eq!(changed, 2);
    type Found = (Vec<u8>, f64, Option<String>, i64);
    let found: Found = database
        .look_up(|conn| {
            let sql = "select body, share, cast(?2 as text), cast(count(*) over () as bigint) from thing
                       where name = ?1 and (cast(?3 as bigint) is null or number > cast(?3 as bigint))";
            conn.query_row(sql, params!["a", None::<String>, None::<i64>], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
        })
        .await
        .unwrap();
    assert_eq!(found, (body, 0.5, None, 1));

    // What is missing is missing, in words that can be handled.
    let missing =
        database.read(|conn| conn.query_row("select 1 from part", params![], |row| row.get::<i64>(0)));
    assert_eq!(missing.await.unwrap_err().kind(), ErrorKind::NotFound);
    let missing = database
        .read(|conn| conn.query_row("select 1 from part", params![], |row| row.get::<i64>(0)).optional());
    assert_eq!(missing.await.unwrap(), None);

    // A refusal undoes its own changes, and nobody else's.
    let refused = database.write(|tx| {
        tx.execute("insert into thing (name) values ('lost')", params![])?;
        tx.execute("insert into thing (name) values ('a')", params![])?;
        Ok(())
    });
    let (refused, kept) = tokio::join!(refused, add(database, "kept"));
    assert!(refused.unwrap_err().is_duplicate());
    kept.unwrap();
    let failed: Result<(), StoreError> = database
        .write(|tx| {
            tx.execute("insert into thing (name) values ('lost')", params![])?;
            Err(StoreError::NotFound)
        })
        .await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::NotFound);
    let foreign =
        database.write(|tx| tx.execute("insert into part (thing, name) values (999, 'x')", params![])).await;
    assert_eq!(foreign.unwrap_err().kind(), ErrorKind::Constraint);
    assert_eq!(names(database).await, ["B", "a", "b", "kept", "ä"]);

    // A panic is its caller's error alone.
    let panicked: Result<(), StoreError> = database.write(|_| panic!("on purpose")).await;
    assert!(panicked.unwrap_err().to_string().contains("on purpose"));
    add(database, "after").await.unwrap();

    // Reads cannot write.
    let wrote = database.read(|conn| conn.execute("delete from thing", params![])).await;
    wrote.unwrap_err();

    // Parameters are checked.
    let wrong = database.read(|conn| {
        conn.query_row("select number from thing where name = :name", named_params! { ":nam": "a" }, |row| {
            row.get::<i64>(0)
        })
    });
    assert_eq!(wrong.await.unwrap_err().kind(), ErrorKind::Backend);

    // A commit that changed something wakes, one that did not does not.
    let mut watch = database.watch();
    watch.borrow_and_update();
    database.write(|tx| tx.execute("delete from thing where name = 'none'", params![])).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(100), watch.changed()).await.is_err());
    add(database, "wakes").await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.unwrap().unwrap();
    assert_eq!(database.schema().await.unwrap().version, 1);
}

async fn futures(database: &Database, names: &[&str]) -> std::collections::BTreeSet<i64> {
    let mut tasks = tokio::task::JoinSet::new();
    for name in names {
        let (database, name) = (database.clone(), (*name).to_owned());
        tasks.spawn(async move { add(&database, &name).await.unwrap() });
    }
    tasks.join_all().await.into_iter().collect()
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::*;
    use crate::pg::tests::{config, drop_schema};

    #[tokio::test]
    async fn postgres_keeps_the_contract() {
        let Some(config) = config("portable") else { return };
        let database = Database::connect(&config, MIGRATIONS).await.unwrap();
        contract(&database).await;
        drop_schema(database.postgres().unwrap()).await;
        database.close().await.unwrap();
        assert_eq!(add(&database, "late").await.unwrap_err().kind(), ErrorKind::Closed);
    }

    /// Read, decide, write: what SQLite's one writer promises, across replicas.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn writes_of_replicas_come_one_after_the_other() {
        let Some(config) = config("replicas") else { return };
        let replicas = [
            Database::connect(&config, MIGRATIONS).await.unwrap(),
            Database::connect(&config, MIGRATIONS).await.unwrap(),
        ];
        let mut tasks = tokio::task::JoinSet::new();
        for turn in 0..100 {
            let database = replicas[turn % 2].clone();
            tasks.spawn(async move {
                database
                    .write(|tx| {
                        let sql = "select cast(count(*) as bigint) from thing";
                        let count: i64 = tx.query_row(sql, params![], |row| row.get(0))?;
                        tx.execute("insert into thing (name) values (?1)", [format!("n{count}")])
                    })
                    .await
                    .unwrap()
            });
        }
        tasks.join_all().await;
        assert_eq!(names(&replicas[0]).await.len(), 100);
        drop_schema(replicas[0].postgres().unwrap()).await;
    }

    #[tokio::test]
    async fn a_replica_hears_of_the_changes_of_another() {
        let Some(config) = config("hears") else { return };
        let here = Database::connect(&config, MIGRATIONS).await.unwrap();
        let there = Database::connect(&config, MIGRATIONS).await.unwrap();
        let (mut others, mut own) = (there.watch_others(), here.watch_others());
        // It listens from a moment after the start on.
        let heard = async {
            let mut turn = 0;
            loop {
                turn += 1;
                add(&here, &format!("t{turn}")).await.unwrap();
                if tokio::time::timeout(Duration::from_millis(200), others.changed()).await.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(100), own.changed()).await.is_err());
        drop_schema(here.postgres().unwrap()).await;
    }
}
