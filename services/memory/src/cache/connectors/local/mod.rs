//! Entries as files beneath one folder, bounded by bytes: the cache of a machine that survives its process. A file
//! is named by the digest of its entry's name, so that no key is ever part of a path (H11).

mod index;

use std::io::{ErrorKind, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use parking_lot::Mutex;
use sre_service::connectors::{Connector, Opening, Unhealthy};
use tokio::sync::Mutex as Turn;

use self::index::Index;
use super::{CacheStore, codec};
use crate::cache::clock::{Clock, Millis};
use crate::cache::error::CacheError;
use crate::cache::name::EntryName;
use crate::cache::record::{Change, Head, Outcome, Record, Seen, Step, apply};

/// Changes of one entry take turns; this many entries change at once.
const TURNS: usize = 64;
/// Where files are written before they take their place.
const UNFINISHED: &str = "unfinished";
/// Held by the process that has the folder.
const LOCK: &str = "lock";
/// The most files that one sweep looks at.
const SWEEP_FILES: usize = 5_000;

/// What an operator may say.
#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(default)]
struct Settings {
    /// The folder, under the data folder unless absolute; created when missing.
    folder: PathBuf,
    /// What all files together may take, in bytes. What was used longest ago goes first.
    max_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { folder: PathBuf::from("cache"), max_bytes: 1 << 30 }
    }
}

/// Checks the settings.
pub(super) fn check(opening: &Opening) -> anyhow::Result<()> {
    let settings: Settings = opening.settings()?;
    anyhow::ensure!(settings.max_bytes >= 16 << 20, "max_bytes must be at least 16 MiB");
    Ok(())
}

/// Opens an instance.
pub(super) async fn open(opening: Opening) -> anyhow::Result<Arc<dyn CacheStore>> {
    let settings: Settings = opening.settings()?;
    let folder = opening.path(&settings.folder);
    let opened =
        tokio::task::spawn_blocking(move || LocalEntries::open(folder, settings.max_bytes, Clock::system()));
    Ok(Arc::new(opened.await??))
}

/// Entries in a folder. Clones share it.
#[derive(Clone, Debug)]
pub struct LocalEntries(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: Dir,
    clock: Clock,
    max_bytes: u64,
    index: Mutex<Index>,
    turns: Vec<Turn<()>>,
    /// Released with this.
    _lock: std::fs::File,
}

impl LocalEntries {
    /// Opens a folder, takes its lock, and looks at what is there. Blocks.
    pub fn open(path: PathBuf, max_bytes: u64, clock: Clock) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        let folder =
            Dir::open_ambient_dir(&path, ambient_authority()).with_context(|| path.display().to_string())?;
        let lock = folder.create(LOCK)?.into_std();
        if lock.try_lock().is_err() {
            anyhow::bail!("{} is in use by another process: give each a folder of its own", path.display());
        }
        // What a crash left half written is nobody's.
        if folder.exists(UNFINISHED) {
            folder.remove_dir_all(UNFINISHED)?;
        }
        folder.create_dir(UNFINISHED)?;
        let index = Index::of(&folder)?;
        let turns = (0..TURNS).map(|_| Turn::new(())).collect();
        let inner = Inner { folder, clock, max_bytes, index: Mutex::new(index), turns, _lock: lock };
        inner.make_room();
        Ok(Self(Arc::new(inner)))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, CacheError> {
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) if error.kind() == ErrorKind::StorageFull => {
                Err(CacheError::Full(error.to_string()))
            }
            Ok(Err(error)) => Err(CacheError::Broken(format!("the folder of the cache: {error}"))),
            Err(_) => Err(CacheError::Unavailable("the service is stopping".to_owned())),
        }
    }

    fn turn(&self, digest: &str) -> &Turn<()> {
        let first = u8::from_str_radix(digest.get(..2).unwrap_or_default(), 16).unwrap_or(0);
        &self.0.turns[usize::from(first) % TURNS]
    }
}

#[async_trait]
impl Connector for LocalEntries {
    async fn check(&self) -> Result<(), Unhealthy> {
        let there = self.run(|inner| inner.folder.dir_metadata().map(drop)).await;
        there.map_err(Unhealthy::new)
    }
}

#[async_trait]
impl CacheStore for LocalEntries {
    fn now(&self) -> Millis {
        self.0.clock.now()
    }

    async fn look(&self, name: &EntryName) -> Result<Option<Arc<Record>>, CacheError> {
        let name = name.clone();
        let record = self.run(move |inner| inner.read(&name, &codec::digest(&name))).await?;
        Ok(record.map(Arc::new))
    }

    async fn head(&self, name: &EntryName) -> Result<Option<Head>, CacheError> {
        let name = name.clone();
        self.run(move |inner| inner.read_head(&name, &codec::digest(&name))).await
    }

    async fn update(&self, name: &EntryName, seen: &Seen, change: Change) -> Result<Outcome, CacheError> {
        let digest = codec::digest(name);
        let _turn = self.turn(&digest).lock().await;
        let (name, seen) = (name.clone(), seen.clone());
        self.run(move |inner| inner.change(&name, &digest, &seen, change)).await?
    }

    async fn sweep(&self) -> Result<(), CacheError> {
        let oldest = self.0.index.lock().oldest(SWEEP_FILES);
        for digest in oldest {
            let _turn = self.turn(&digest).lock().await;
            let digest = digest.clone();
            self.run(move |inner| inner.remove_if_over(&digest)).await?;
        }
        Ok(())
    }
}

impl Inner {
    fn read(&self, name: &EntryName, digest: &str) -> std::io::Result<Option<Record>> {
        let Some(mut file) = self.file(digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let record = codec::decode(name, &Bytes::from(bytes));
        let record = record.filter(|record| record.head.is_live(self.clock.now()));
        if record.is_some() {
            self.index.lock().used(digest);
        }
        Ok(record)
    }

    fn read_head(&self, name: &EntryName, digest: &str) -> std::io::Result<Option<Head>> {
        let Some((first, all_bytes)) = self.first(digest)? else { return Ok(None) };
        let head = codec::head(name, &first, all_bytes);
        Ok(head.filter(|head| head.is_live(self.clock.now())))
    }

    /// Enough bytes of a file for its head, and the size of all.
    fn first(&self, digest: &str) -> std::io::Result<Option<(Vec<u8>, u64)>> {
        let Some(mut file) = self.file(digest)? else { return Ok(None) };
        let all_bytes = file.metadata()?.len();
        let mut first = Vec::new();
        (&mut file).take(codec::FIRST_BYTES).read_to_end(&mut first)?;
        if let Some(needed) = codec::head_bytes(&first)
            && needed > first.len()
        {
            let more = (needed - first.len()) as u64;
            (&mut file).take(more).read_to_end(&mut first)?;
        }
        Ok(Some((first, all_bytes)))
    }

    /// Reads, applies, writes. The caller has the entry's turn.
    fn change(
        &self,
        name: &EntryName,
        digest: &str,
        seen: &Seen,
        change: Change,
    ) -> std::io::Result<Result<Outcome, CacheError>> {
        let current = self.read(name, digest)?;
        let (step, outcome) = apply(current.as_ref(), seen, change);
        match step {
            Step::Keep => {}
            Step::Remove => self.remove(digest)?,
            Step::Put(record) => match codec::encode(name, &record) {
                Ok(bytes) => {
                    self.write(digest, &bytes)?;
                    self.make_room();
                }
                Err(error) => return Ok(Err(error)),
            },
        }
        Ok(Ok(outcome))
    }

    /// Readers find the old file or the new one. Nothing is synced: it is a cache.
    fn write(&self, digest: &str, bytes: &[u8]) -> std::io::Result<()> {
        let unfinished = format!("{UNFINISHED}/{digest}");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let written = self.folder.open_with(&unfinished, &options).and_then(|mut file| file.write_all(bytes));
        if let Err(error) = written {
            let _ = self.folder.remove_file(&unfinished);
            return Err(error);
        }
        let (shelf, path) = place(digest);
        if let Err(error) = self.folder.create_dir(shelf)
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        self.folder.rename(&unfinished, &self.folder, path)?;
        self.index.lock().put(digest, bytes.len() as u64);
        Ok(())
    }

    fn remove(&self, digest: &str) -> std::io::Result<()> {
        self.index.lock().remove(digest);
        match self.folder.remove_file(place(digest).1) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn remove_if_over(&self, digest: &str) -> std::io::Result<()> {
        let Some((first, all_bytes)) = self.first(digest)? else { return Ok(()) };
        match codec::any_head(&first, all_bytes) {
            Some((_, head)) if head.is_live(self.clock.now()) => Ok(()),
            _ => self.remove(digest),
        }
    }

    /// Throws out what was used longest ago, until all fits. A reader that has the file open reads on.
    fn make_room(&self) {
        loop {
            let victim = self.index.lock().victim(self.max_bytes);
            let Some(victim) = victim else { return };
            if let Err(error) = self.remove(&victim) {
                tracing::warn!(%error, "a file of the cache cannot be removed");
                return;
            }
        }
    }

    fn file(&self, digest: &str) -> std::io::Result<Option<cap_std::fs::File>> {
        match self.folder.open(place(digest).1) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The folder and the path of a digest.
fn place(digest: &str) -> (&str, String) {
    let shelf = digest.get(..2).unwrap_or(digest);
    (shelf, format!("{shelf}/{digest}"))
}
