//! Bytes that rows name: without them a restored row would be a lie.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use sre_service::Config;
use sre_store::StoreError;
use sre_store::rusqlite::{Connection, OpenFlags};

/// Where local objects are, and payloads of runs.
const OBJECTS: &str = "objects";
const BLOBS: &str = "blobs";

/// A store that names bytes, and where they are.
pub(super) struct Named {
    /// The store's path below the data folder.
    store: &'static str,
    /// The folder below the data folder that holds such bytes and nothing else.
    pub(super) folder: &'static str,
    /// The paths below the data folder.
    paths: fn(&Connection, &Config) -> Result<BTreeSet<String>, StoreError>,
}

/// Who names what.
pub(super) const NAMED: [Named; 2] = [
    Named { store: "store/io.db", folder: OBJECTS, paths: objects },
    Named { store: "store/memory.db", folder: BLOBS, paths: payloads },
];

impl Named {
    /// Whether a path is that of the store.
    pub(super) fn is_store(&self, path: &str) -> bool {
        path == self.store
    }

    /// The paths below the data folder that a snapshot of the store names.
    pub(super) fn paths(&self, snapshot: &Path, config: &Config) -> Result<BTreeSet<String>> {
        let conn = Connection::open_with_flags(snapshot, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok((self.paths)(&conn, config)?)
    }
}

fn payloads(conn: &Connection, _: &Config) -> Result<BTreeSet<String>, StoreError> {
    let paths = sre_memory::backup::payloads(conn)?;
    Ok(paths.into_iter().map(|path| format!("{BLOBS}/{path}")).collect())
}

fn objects(conn: &Connection, config: &Config) -> Result<BTreeSet<String>, StoreError> {
    let objects = sre_io::backup::objects(conn)?;
    let here =
        |(instance, path): (String, String)| Some(format!("{}/{path}", local_folder(config, &instance)?));
    Ok(objects.into_iter().filter_map(here).collect())
}

/// The folder of a local instance below the data folder; none for other backends, and for folders elsewhere, which
/// are told of as not included.
pub(super) fn local_folder(config: &Config, instance: &str) -> Option<String> {
    let connectors = &config.connectors;
    let entry = match instance {
        "" => connectors.default_of("storage"),
        id => connectors.of("storage").iter().find(|entry| entry.id() == id),
    };
    // The built-in instance is a local one.
    let Some(entry) = entry else { return Some(OBJECTS.to_owned()) };
    if entry.canonical() != "local" {
        return None;
    }
    let folder = entry.settings.get("folder").and_then(|folder| folder.as_str()).unwrap_or(OBJECTS);
    let folder = match Path::new(folder).strip_prefix(&config.data_dir) {
        Ok(below) => below.to_str()?.to_owned(),
        Err(_) => folder.to_owned(),
    };
    (!Path::new(&folder).is_absolute()).then(|| folder.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_instance_has_its_folder_and_others_have_none() {
        let config = |entries: &str| {
            let mut config = Config::in_dir("/var/sre");
            config.connectors = toml::from_str(entries).unwrap();
            config
        };
        let of = |config: &Config, instance: &str| local_folder(config, instance);
        assert_eq!(of(&config(""), "").as_deref(), Some("objects"));
        assert_eq!(of(&config(""), "local").as_deref(), Some("objects"));
        let several = config(
            "storage = [{ Connector = 'local', Id = 'a', Default = true, Settings = { folder = 'files' } }, \
             { Connector = 'S3', Id = 'b' }, { Connector = 'local', Id = 'c', Settings = { folder = '/mnt/c' } }, \
             { Connector = 'local', Id = 'd', Settings = { folder = '/var/sre/d' } }]",
        );
        assert_eq!(
            ["", "a", "b", "c", "d"].map(|id| of(&several, id)),
            [Some("files".to_owned()), Some("files".to_owned()), None, None, Some("d".to_owned()),]
        );
    }
}
