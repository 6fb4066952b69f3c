//! How a store is opened.

use std::path::PathBuf;
use std::time::Duration;

use crate::Migration;

/// When a commit counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// After the log reached the disk: a commit survives a power cut.
    #[default]
    Full,
    /// After the log reached the operating system: a commit survives a killed process, and a power
    /// cut may take back the last ones, never half of one.
    Normal,
}

/// Options of [`Store::open`](crate::Store::open).
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// The store file. Its folder is created when missing.
    pub path: PathBuf,
    /// The setting that names the file's folder, for the error of a second process.
    pub setting_name: String,
    /// The schema, see [`Migration`].
    pub migrations: &'static [Migration],
    /// Connections for reading.
    pub readers: usize,
    /// Writes that may wait before callers do.
    pub queue_capacity: usize,
    /// How long a caller waits for room in the queue, or for a reader, before
    /// [`StoreError::Overloaded`](crate::StoreError::Overloaded).
    pub queue_timeout: Duration,
    /// The most writes that share one commit.
    pub group_limit: usize,
    /// A group commits when it has run for this long, though more writes wait.
    pub group_time: Duration,
    /// How long to wait for a foreign program that holds the database.
    pub busy_timeout: Duration,
    /// When a commit counts as done.
    pub synchronous: Synchronous,
}

impl OpenOptions {
    /// The defaults: four readers, a queue of 4096 writes, five seconds of patience, full durability.
    pub fn new(
        path: impl Into<PathBuf>,
        setting_name: impl Into<String>,
        migrations: &'static [Migration],
    ) -> Self {
        Self {
            path: path.into(),
            setting_name: setting_name.into(),
            migrations,
            readers: 4,
            queue_capacity: 4096,
            queue_timeout: Duration::from_secs(5),
            group_limit: 1024,
            group_time: Duration::from_millis(10),
            busy_timeout: Duration::from_secs(5),
            synchronous: Synchronous::default(),
        }
    }
}
