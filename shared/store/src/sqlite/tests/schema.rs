//! Migrations on a real file.

use super::*;
use crate::{ErrorKind, SchemaState};

const FIRST: Migration = MIGRATIONS[0];
const SECOND: Migration = Migration {
    version: 2,
    name: "labels",
    expand: "alter table item add column label text",
    // The rebuild of a table that others refer to.
    contract: Some(
        "create table item_new (id integer primary key, label text) strict;
         insert into item_new select id, coalesce(label, name) from item;
         drop table item; alter table item_new rename to item",
    ),
};
static TWO: [Migration; 2] = [FIRST, SECOND];
static THREE: [Migration; 3] = [
    FIRST,
    SECOND,
    Migration { version: 3, name: "third", expand: "create table third (id int)", contract: None },
];

fn open_as(folder: &TempDir, migrations: &'static [Migration]) -> Result<Store, StoreError> {
    Store::open(OpenOptions { migrations, ..options(folder) })
}

#[tokio::test]
async fn the_older_binary_works_until_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_as(&folder, &MIGRATIONS).unwrap();
    assert_eq!(store.schema().await.unwrap(), SchemaState { version: 1, min_reader: 0 });
    store.write(|tx| insert(tx, "old")).await.unwrap();
    store.write(|tx| Ok(tx.execute_batch("insert into part values (1, 1)")?)).await.unwrap();
    store.close().await.unwrap();

    let store = open_as(&folder, &TWO).unwrap();
    assert_eq!(store.schema().await.unwrap(), SchemaState { version: 2, min_reader: 1 });
    store.close().await.unwrap();

    // Taken back to the release before: it still works on the new schema.
    let store = open_as(&folder, &MIGRATIONS).unwrap();
    store.write(|tx| insert(tx, "old again")).await.unwrap();
    assert_eq!(store.contract().await.unwrap_err().kind(), ErrorKind::Migration);
    store.close().await.unwrap();

    let store = open_as(&folder, &TWO).unwrap();
    assert_eq!(store.contract().await.unwrap(), SchemaState { version: 2, min_reader: 2 });
    assert_eq!(store.contract().await.unwrap().min_reader, 2, "again is no error");
    let labels: String = store
        .read(|conn| Ok(conn.query_row("select group_concat(label) from item", [], |row| row.get(0))?))
        .await
        .unwrap();
    assert_eq!(labels, "old,old again");
    let orphan =
        store.write(|tx| Ok(tx.execute_batch("insert into part values (2, 77)")?)).await.unwrap_err();
    assert_eq!(orphan.kind(), ErrorKind::Constraint, "foreign keys are enforced again: {orphan}");
    store.close().await.unwrap();

    let error = open_as(&folder, &MIGRATIONS).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Migration);
    assert!(error.to_string().contains("items.db"), "{error}");
}

#[tokio::test]
async fn the_next_version_contracts_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    open_as(&folder, &TWO).unwrap().close().await.unwrap();
    let store = open_as(&folder, &THREE).unwrap();
    assert_eq!(store.schema().await.unwrap(), SchemaState { version: 3, min_reader: 2 });
    let gone =
        store.read(|conn| Ok(conn.query_row("select name from item", [], |_| Ok(()))?)).await.unwrap_err();
    assert!(gone.to_string().contains("no such column: name"), "{gone}");
}

#[test]
fn a_migration_that_fails_leaves_nothing() {
    static CASES: [([Migration; 2], &str); 4] = [
        ([FIRST, bad("create table half (id int); select * from nowhere")], "no such table: nowhere"),
        ([FIRST, bad("create table half (id int); commit; begin; commit")], "ends its own transaction"),
        (
            [FIRST, bad("create table half (i int references item (id) deferrable initially deferred)")],
            "deferred",
        ),
        (
            [FIRST, bad("create table half (i int references item (id)); insert into part values (1, 5)")],
            "a row of part refers to",
        ),
    ];
    for (migrations, reason) in &CASES {
        let folder = tempfile::tempdir().unwrap();
        let error = open_as(&folder, migrations).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Migration, "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.to_string().contains("expand 2 (bad)"), "{error}");
        if !reason.contains("ends its own") {
            // A corrected binary takes the same file.
            static GOOD: [Migration; 2] = [
                FIRST,
                Migration { version: 2, name: "good", expand: "create table half (id int)", contract: None },
            ];
            drop(open_as(&folder, &GOOD).unwrap());
        }
    }
}

const fn bad(expand: &'static str) -> Migration {
    Migration { version: 2, name: "bad", expand, contract: None }
}
