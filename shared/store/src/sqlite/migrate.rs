//! Migrations on SQLite. They run before the writer starts, or as the writer's only work.

use rusqlite::Connection;

use crate::StoreError;
use crate::migration::{Applied, Migration, SchemaState, Step, plan, plan_contract};

const TABLES: &str = "
create table if not exists sre_migration (
    version integer primary key, name text not null, expanded_at text not null, contracted_at text) strict;
create table if not exists sre_schema (
    one integer primary key check (one = 1), schema_version integer not null, min_reader integer not null) strict;
insert or ignore into sre_schema values (1, 0, 0);
";

/// Brings the schema to the newest version of `migrations`, one transaction per step.
pub(super) fn migrate(
    conn: &Connection,
    store: &str,
    migrations: &'static [Migration],
) -> Result<SchemaState, StoreError> {
    in_transaction(conn, || Ok(conn.execute_batch(TABLES)?))?;
    let state = state(conn)?;
    for step in plan(store, migrations, &applied(conn)?, state)? {
        run(conn, store, step)?;
    }
    self::state(conn)
}

/// Runs the newest version's contract, if it has not run.
pub(super) fn contract(
    conn: &Connection,
    store: &str,
    migrations: &'static [Migration],
) -> Result<SchemaState, StoreError> {
    if let Some(step) = plan_contract(store, migrations, &applied(conn)?, state(conn)?)? {
        run(conn, store, step)?;
    }
    state(conn)
}

pub(super) fn state(conn: &Connection) -> Result<SchemaState, StoreError> {
    let state = conn.query_row("select schema_version, min_reader from sre_schema", [], |row| {
        Ok(SchemaState { version: row.get(0)?, min_reader: row.get(1)? })
    });
    Ok(state?)
}

fn applied(conn: &Connection) -> Result<Applied, StoreError> {
    let mut statement = conn.prepare("select version, name from sre_migration order by version")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<Applied, rusqlite::Error>>()?)
}

fn run(conn: &Connection, store: &str, step: Step) -> Result<(), StoreError> {
    // A violation of a deferred key shows at COMMIT only and would fail every write of its group.
    if step.sql().to_ascii_lowercase().contains("initially deferred") {
        return Err(
            step.failed(store, "deferred foreign keys do not go with group commit: remove the clause")
        );
    }
    // A table that others refer to can only be rebuilt without enforcement; checked again before the commit.
    conn.pragma_update(None, "foreign_keys", "off")?;
    let outcome = in_transaction(conn, || {
        conn.execute_batch(step.sql()).map_err(|error| step.failed(store, error))?;
        if conn.is_autocommit() {
            return Err(step.failed(store, "the script ends its own transaction: remove BEGIN and COMMIT"));
        }
        check_references(conn, store, step)?;
        record(conn, step)
    });
    conn.pragma_update(None, "foreign_keys", "on")?;
    outcome
}

fn check_references(conn: &Connection, store: &str, step: Step) -> Result<(), StoreError> {
    let mut statement = conn.prepare("pragma foreign_key_check")?;
    let mut rows = statement.query([])?;
    match rows.next()? {
        None => Ok(()),
        Some(row) => {
            let table: String = row.get(0)?;
            Err(step.failed(store, format!("a row of {table} refers to a row that is not there")))
        }
    }
}

fn record(conn: &Connection, step: Step) -> Result<(), StoreError> {
    let migration = step.migration();
    match step {
        Step::Expand(_) => conn.execute(
            "insert into sre_migration (version, name, expanded_at) values (?1, ?2, strftime('%FT%TZ'))",
            (migration.version, migration.name),
        )?,
        Step::Contract(_) => conn.execute(
            "update sre_migration set contracted_at = strftime('%FT%TZ') where version = ?1",
            [migration.version],
        )?,
    };
    let state = step.state_after();
    conn.execute(
        "update sre_schema set schema_version = ?1, min_reader = ?2",
        (state.version, state.min_reader),
    )?;
    Ok(())
}

fn in_transaction(
    conn: &Connection,
    work: impl FnOnce() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    conn.execute_batch("begin immediate")?;
    match work().and_then(|()| Ok(conn.execute_batch("commit")?)) {
        Ok(()) => Ok(()),
        Err(error) => {
            if !conn.is_autocommit() {
                conn.execute_batch("rollback")?;
            }
            Err(error)
        }
    }
}
