//! Everything that a suite stores, to see whether a call changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
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

/// Rows by store and table, and files by path.
pub type Snapshot = BTreeMap<String, BTreeSet<String>>;

/// What is stored now.
pub async fn take(folder: &Path, database: Option<&StoredRows>) -> anyhow::Result<Snapshot> {
    let mut snapshot = match database {
        Some(database) => database.read().await?,
        None => Snapshot::new(),
    };
    for path in files(folder) {
        let name = path.strip_prefix(folder)?.display().to_string();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("db") => tables(&path, &name, &mut snapshot)?,
            Some("log" | "lock") => {}
            _ if name.ends_with("-wal") || name.ends_with("-shm") => {}
            _ => {
                // A file that is gone by now was a temporary one.
                let Ok(bytes) = std::fs::read(&path) else { continue };
                let digest = blake3::hash(&bytes).to_hex().to_string();
                snapshot.entry("files".to_owned()).or_default().insert(format!("{name} {digest}"));
            }
        }
    }
    Ok(snapshot)
}

/// What is stored once nothing changes any more: writes behind answers are awaited.
pub async fn settled(folder: &Path, database: Option<&StoredRows>) -> anyhow::Result<Snapshot> {
    let mut before = take(folder, database).await?;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        let now = take(folder, database).await?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    anyhow::bail!("what is stored changes all the time")
}

/// What differs, for people.
pub fn difference(before: &Snapshot, after: &Snapshot) -> String {
    let empty = BTreeSet::new();
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

fn tables(path: &Path, name: &str, snapshot: &mut Snapshot) -> anyhow::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let store = Connection::open_with_flags(path, flags)?;
    store.busy_timeout(Duration::from_secs(5))?;
    // One reading of all tables: a change is seen whole or not at all.
    store.execute_batch("begin")?;
    let tables: Vec<String> = store
        .prepare("select name from sqlite_schema where type = 'table' and name not like 'sqlite_%'")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in tables.iter().filter(|table| !NOT_COMPARED.contains(&table.as_str())) {
        let mut statement = store.prepare(&format!("select * from \"{table}\""))?;
        let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut rows = statement.query([])?;
        let kept = snapshot.entry(format!("{name} {table}")).or_default();
        while let Some(row) = rows.next()? {
            let mut text = String::new();
            for (index, column) in columns.iter().enumerate() {
                if !VOLATILE.contains(&column.as_str()) {
                    text.push_str(&format!("{column}={} ", shown(row.get_ref(index)?)));
                }
            }
            kept.insert(text);
        }
    }
    Ok(())
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
