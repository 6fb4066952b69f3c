//! Bytes that rows name: without them a restored row would be a lie.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use sre_store::rusqlite::{Connection, OpenFlags};

/// A store that names bytes, and where they are.
pub(super) struct Named {
    /// The store's path below the data folder ends so.
    store: &'static str,
    /// The folder of the bytes below the data folder.
    pub(super) folder: &'static str,
    /// The paths below that folder.
    paths: fn(&Connection) -> Result<BTreeSet<String>, sre_store::StoreError>,
}

/// Who names what.
pub(super) const NAMED: [Named; 2] = [
    Named { store: "store/io.db", folder: "objects", paths: sre_io::backup::objects },
    Named { store: "store/memory.db", folder: "blobs", paths: sre_memory::backup::payloads },
];

impl Named {
    /// Whether a path is that of the store.
    pub(super) fn is_store(&self, path: &str) -> bool {
        path == self.store
    }

    /// The paths below the data folder that a snapshot of the store names.
    pub(super) fn paths(&self, snapshot: &Path) -> Result<BTreeSet<String>> {
        let conn = Connection::open_with_flags(snapshot, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        Ok((self.paths)(&conn)?.into_iter().map(|path| format!("{}/{path}", self.folder)).collect())
    }
}
