//! What is in the folder: sizes, and the order of use. Kept in memory, made from the folder at start.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use cap_std::fs::Dir;

#[derive(Debug, Default)]
pub(super) struct Index {
    files: HashMap<String, Slot>,
    by_use: BTreeMap<u64, String>,
    clock: u64,
    total_bytes: u64,
}

#[derive(Debug)]
struct Slot {
    size_bytes: u64,
    used: u64,
}

impl Index {
    /// What is there, in the order of writing.
    pub(super) fn of(folder: &Dir) -> std::io::Result<Self> {
        let mut found: Vec<(SystemTime, String, u64)> = Vec::new();
        for shelf in folder.entries()? {
            let shelf = shelf?;
            let is_shelf = shelf.file_name().to_str().is_some_and(|name| name.len() == 2);
            if !is_shelf || !shelf.file_type()?.is_dir() {
                continue;
            }
            for file in shelf.open_dir()?.entries()? {
                let file = file?;
                let metadata = file.metadata()?;
                let Ok(digest) = file.file_name().into_string() else { continue };
                let written = metadata.modified().map_or(SystemTime::UNIX_EPOCH, |time| time.into_std());
                found.push((written, digest, metadata.len()));
            }
        }
        found.sort();
        let mut index = Self::default();
        for (_, digest, size_bytes) in found {
            index.put(&digest, size_bytes);
        }
        Ok(index)
    }

    pub(super) fn put(&mut self, digest: &str, size_bytes: u64) {
        self.remove(digest);
        self.clock += 1;
        self.files.insert(digest.to_owned(), Slot { size_bytes, used: self.clock });
        self.by_use.insert(self.clock, digest.to_owned());
        self.total_bytes += size_bytes;
    }

    pub(super) fn used(&mut self, digest: &str) {
        let Some(slot) = self.files.get_mut(digest) else { return };
        self.clock += 1;
        self.by_use.remove(&slot.used);
        slot.used = self.clock;
        self.by_use.insert(self.clock, digest.to_owned());
    }

    pub(super) fn remove(&mut self, digest: &str) {
        if let Some(slot) = self.files.remove(digest) {
            self.by_use.remove(&slot.used);
            self.total_bytes -= slot.size_bytes;
        }
    }

    /// What goes next, where all together take more than this.
    pub(super) fn victim(&self, max_bytes: u64) -> Option<String> {
        if self.total_bytes <= max_bytes || self.files.len() == 1 {
            return None;
        }
        self.by_use.values().next().cloned()
    }

    /// Some of those that were used longest ago.
    pub(super) fn oldest(&self, most: usize) -> Vec<String> {
        self.by_use.values().take(most).cloned().collect()
    }
}
