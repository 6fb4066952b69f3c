//! Everything that a suite stores, to see whether a call changed it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::snapshot_postgres::StoredRows;

/// Tables that calls write to which change nothing: what was asked, by whom, and which tokens were minted; and those
/// that change a moment after the call that they are about: what it used, and what its agents logged.
pub const NOT_COMPARED: [&str; 12] = [
    "audit_outbox",
    "audit_chain",
    "audit_record",
    "signed_checkpoint",
    "audit_seal",
    "credential",
    "usage_outbox",
    "usage_event",
    "usage_hour",
    "usage_run",
    "entry",
    "team_lines",
];
/// Columns that time alone changes.
pub const VOLATILE: [&str; 1] = ["until_ms"];
/// Folders and files that are no state of the suite.
const NOT_STATE: [&str; 4] = ["logs", "run", "certs", "lock"];

/// Rows by store and table, and files by path. What did not change is not read again.
pub type Snapshot = BTreeMap<String, Arc<BTreeSet<String>>>;

/// What a suite stores, and what was read of it last.
pub struct Stored {
    folder: PathBuf,
    database: Option<StoredRows>,
    /// By path.
    stores: Mutex<HashMap<PathBuf, Store>>,
}

impl Stored {
    pub fn new(folder: &Path, database: Option<StoredRows>) -> Self {
        Self { folder: folder.to_owned(), database, stores: Mutex::default() }
    }

    /// What is stored now.
    pub async fn now(&self) -> anyhow::Result<Snapshot> {
        let mut snapshot = match &self.database {
            Some(database) => database.read().await?,
            None => Snapshot::new(),
        };
        let mut stores = self.stores.lock().unwrap();
        read_files(&self.folder, &mut stores, &mut snapshot)?;
        Ok(snapshot)
    }

    /// What is stored once nothing changes any more: writes behind answers are awaited.
    pub async fn settled(&self) -> anyhow::Result<Snapshot> {
        let mut before = self.now().await?;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(40)).await;
            let now = self.now().await?;
            if now == before {
                return Ok(now);
            }
            before = now;
        }
        anyhow::bail!("what is stored changes all the time")
    }
}

fn read_files(
    folder: &Path,
    stores: &mut HashMap<PathBuf, Store>,
    snapshot: &mut Snapshot,
) -> anyhow::Result<()> {
    for path in files(folder) {
        let name = path.strip_prefix(folder)?.display().to_string();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("db") => {
                let store = match stores.entry(path) {
                    Entry::Occupied(open) => open.into_mut(),
                    Entry::Vacant(closed) => {
                        let store = Store::open(closed.key(), name)?;
                        closed.insert(store)
                    }
                };
                snapshot.extend(store.read()?.iter().map(|(table, rows)| (table.clone(), Arc::clone(rows))));
            }
            Some("log" | "lock") => {}
            _ if name.ends_with("-wal") || name.ends_with("-shm") => {}
            _ => {
                // A file that is gone by now was a temporary one.
                let Ok(bytes) = std::fs::read(&path) else { continue };
                let digest = blake3::hash(&bytes).to_hex().to_string();
                add(snapshot, "files", format!("{name} {digest}"));
            }
        }
    }
    Ok(())
}

/// Adds something that is in no table.
pub fn add(snapshot: &mut Snapshot, kind: &str, what: String) {
    Arc::make_mut(snapshot.entry(kind.to_owned()).or_default()).insert(what);
}

/// What differs, for people.
pub fn difference(before: &Snapshot, after: &Snapshot) -> String {
    let empty = Arc::default();
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut lines = Vec::new();
    for name in names {
        let (old, new) = (before.get(name).unwrap_or(&empty), after.get(name).unwrap_or(&empty));
        lines.extend(old.difference(new).map(|row| format!("- {name}: {row}")));
        lines.extend(new.difference(old).map(|row| format!("+ {name}: {row}")));
    }
    lines.join("\n")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if NOT_STATE.iter().any(|other| name == *other) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&path)),
            Ok(_) => found.push(path),
            Err(_) => {}
        }
    }
    found
}

/// Tables by name, each with its rows.
type Tables = Vec<(String, Arc<BTreeSet<String>>)>;

/// A connection to a store, and its tables as they were at a version.
struct Store {
    name: String,
    connection: Connection,
    /// Changes with each commit of anybody else.
    version: i64,
    tables: Tables,
}

impl Store {
    fn open(path: &Path, name: String) -> anyhow::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(Self { name, connection, version: -1, tables: Vec::new() })
    }

    fn read(&mut self) -> anyhow::Result<&Tables> {
        // One reading of all tables: a change is seen whole or not at all.
        let reading = self.connection.unchecked_transaction()?;
        let version = reading.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if version != self.version {
            let tables: Vec<String> = reading
                .prepare_cached(
                    "select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'",
                )?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut read = Tables::new();
            for table in tables.iter().filter(|table| !NOT_COMPARED.contains(&table.as_str())) {
                read.push((format!("{} {table}", self.name), Arc::new(rows(&reading, table)?)));
            }
            self.tables = read;
            self.version = version;
        }
        reading.finish()?;
        Ok(&self.tables)
    }
}

fn rows(reading: &Connection, table: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut statement = reading.prepare_cached(&format!("select * from \"{table}\""))?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut rows = statement.query([])?;
    let mut kept = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let mut text = String::new();
        for (index, column) in columns.iter().enumerate() {
            if !VOLATILE.contains(&column.as_str()) {
                text.push_str(&format!("{column}={} ", shown(row.get_ref(index)?)));
            }
        }
        kept.insert(text);
    }
    Ok(kept)
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) if bytes.len() <= 32 => {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        }
        ValueRef::Blob(bytes) => blake3::hash(bytes).to_hex()[..16].to_owned(),
    }
}
