//! Taking a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sre_service::Config;
use sre_service::config::Backend;

use super::files::{self, Copied, What};
use super::manifest::{Entry, Keys, Manifest};
use super::references::{NAMED, Named, local_folder};
use super::seal::{KeyFiles, Passphrase};
use crate::cli::exit::Failure;

/// Where the data folder's files are in a backup, and the sealed keys.
pub(super) const DATA: &str = "data";
pub(super) const SEALED: &str = "keys.sealed";
/// A snapshot that names bytes that went meanwhile is taken again so often.
const SNAPSHOTS: usize = 5;
/// Keys that change while the vault is copied are read again so often.
const LOOKS: usize = 5;
/// Stores in the order in which they are read; others come before.
const LATE_STORES: [&str; 6] = ["memory", "observability", "llm", "io", "agent", "security"];

/// What to back up, and whereto.
pub struct Backup<'a> {
    /// The suite's configuration.
    pub config: &'a Config,
    /// The folder of the backup; new or empty.
    pub to: &'a Path,
    /// What the keys are sealed with; none leaves them out.
    pub passphrase: Option<&'a Passphrase>,
}

/// What was taken.
#[derive(Debug)]
pub struct Taken {
    /// The manifest.
    pub manifest: Manifest,
    /// How many stores.
    pub stores: usize,
    /// How many other files.
    pub files: usize,
    /// How many keys and certificates.
    pub keys: usize,
    /// How many bytes.
    pub bytes: u64,
}

/// Takes a backup. Blocks for as long as that takes.
pub fn take(backup: &Backup<'_>) -> Result<Taken> {
    let data_dir = std::fs::canonicalize(&backup.config.data_dir).map_err(|error| {
        let folder = backup.config.data_dir.display();
        Failure::usage(format!("{folder}: {error}: name the suite's folder with --data-dir"))
    })?;
    let to = prepare(&data_dir, backup)?;
    let began = crate::dates::now();
    let mut work = Work { config: backup.config, data_dir, to, copied: BTreeMap::new() };
    work.bytes(|_| true)?;
    let stores = work.stores()?;
    let keys = work.settle(backup.passphrase.is_some())?;
    let mut manifest = Manifest::new(began, backup.config.trust_domain.clone(), elsewhere(backup.config));
    manifest.files = work.entries(&stores)?;
    let keys_count = keys.len();
    if let Some(passphrase) = backup.passphrase {
        let sealed = keys.seal(passphrase)?;
        files::write_whole(&work.to.join(SEALED), &sealed)?;
        manifest.keys = Keys::Sealed;
        let blake3 = blake3::hash(&sealed).to_hex().to_string();
        manifest.files.push(Entry { path: SEALED.to_owned(), bytes: sealed.len() as u64, blake3 });
    }
    // What the manifest lists is on the disk before the manifest is.
    files::sync(&work.to)?;
    manifest.write(&work.to)?;
    files::sync(&work.to)?;
    let bytes = manifest.files.iter().map(|entry| entry.bytes).sum();
    Ok(Taken { manifest, stores: stores.len(), files: work.copied.len(), keys: keys_count, bytes })
}

/// The folder of the backup: new, and not inside what is backed up.
fn prepare(data_dir: &Path, backup: &Backup<'_>) -> Result<PathBuf> {
    let store_dir =
        std::fs::canonicalize(backup.config.store_dir()).unwrap_or_else(|_| data_dir.join("store"));
    if store_dir != data_dir.join("store") {
        let message = format!(
            "store.dir is {}, outside of {}: a backup takes one data folder, so back up that folder by a \
             snapshot of its volume",
            store_dir.display(),
            data_dir.join("store").display()
        );
        return Err(Failure::usage(message));
    }
    std::fs::create_dir_all(backup.to).with_context(|| backup.to.display().to_string())?;
    let to = std::fs::canonicalize(backup.to)?;
    if to.starts_with(data_dir) {
        return Err(Failure::usage(format!(
            "{} is in the folder to be backed up: choose another",
            to.display()
        )));
    }
    if std::fs::read_dir(&to)?.next().is_some() {
        return Err(Failure::usage(format!("{} is not empty: choose a new folder", to.display())));
    }
    Ok(to)
}

/// What this suite keeps where `sre backup` does not look.
fn elsewhere(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    let of_all = config.store.backend == Backend::Postgres;
    if of_all || config.journal.backend == Some(Backend::Postgres) {
        let what = if of_all { "the state of the services" } else { "the run journal" };
        notes.push(format!("{what} is in PostgreSQL: back that up with its own tools"));
    }
    for service in config.connectors.services() {
        for entry in config.connectors.of(service) {
            let (name, id) = (entry.canonical(), entry.id());
            if !matches!(name, "local" | "memory" | "embedded" | "sqlite" | "file" | "none") {
                notes.push(format!("{service} instance {id} is {name}: back that up with its own tools"));
            } else if service == "storage" && local_folder(config, id).is_none() {
                notes.push(format!(
                    "storage instance {id} is in a folder elsewhere: back that up beside this"
                ));
            }
        }
    }
    notes
}

struct Work<'a> {
    config: &'a Config,
    data_dir: PathBuf,
    to: PathBuf,
    copied: BTreeMap<String, Copied>,
}

impl Work<'_> {
    fn source(&self, path: &str) -> PathBuf {
        self.data_dir.join(path)
    }

    fn target(&self, path: &str) -> PathBuf {
        self.to.join(DATA).join(path)
    }

    fn of(&self, what: What) -> Result<Vec<String>> {
        let found = files::list(&self.data_dir)?;
        Ok(found.into_iter().filter(|(_, is)| *is == what).map(|(path, _)| path).collect())
    }

    /// Copies files that are new or were changed since the last time. One that is gone stays: a row that was
    /// read before may name it.
    fn bytes(&mut self, wanted: impl Fn(&str) -> bool) -> Result<()> {
        for path in self.of(What::Bytes)?.into_iter().filter(|path| wanted(path)) {
            let now = files::stamp(&self.source(&path))?;
            let known = self.copied.get(&path).map(|copied| copied.stamp);
            if now.is_none() || now == known {
                continue;
            }
            if let Some(copied) = files::copy(&self.source(&path), &self.target(&path))? {
                self.copied.insert(path, copied);
            }
        }
        Ok(())
    }

    /// Reads every store, and then the bytes that its rows name.
    fn stores(&mut self) -> Result<Vec<String>> {
        let mut paths = self.of(What::Store)?;
        paths.sort_by_key(|path| {
            let name = path.rsplit('/').next().unwrap_or_default().trim_end_matches(".db");
            // Absent: before all others.
            LATE_STORES.iter().position(|late| *late == name)
        });
        for path in &paths {
            self.store(path)?;
        }
        Ok(paths)
    }

    fn store(&mut self, path: &str) -> Result<()> {
        let Some(named) = NAMED.iter().find(|named| named.is_store(path)) else { return self.snapshot(path) };
        let mut missing = BTreeSet::new();
        for _ in 0..SNAPSHOTS {
            self.snapshot(path)?;
            self.bytes(|_| true)?;
            let wanted = named.paths(&self.target(path), self.config)?;
            missing = wanted.iter().filter(|path| !self.copied.contains_key(*path)).cloned().collect();
            if missing.is_empty() {
                return self.leave_out(named, &wanted);
            }
            // They went after the snapshot, with their rows: the next one does not name them.
        }
        let first = missing.first().cloned().unwrap_or_default();
        bail!(
            "{} files that {path} names are not there, the first is {first}: the suite's own files are damaged, \
             restore an earlier backup",
            missing.len()
        )
    }

    fn snapshot(&self, path: &str) -> Result<()> {
        let target = self.target(path);
        match std::fs::remove_file(&target) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| target.display().to_string());
            }
            _ => {}
        }
        sre_store::snapshot(&self.source(path), &target)
            .with_context(|| format!("{}: reading it", self.source(path).display()))
    }

    /// Bytes that no row names are on their way in or out; nobody would ever remove them from a restored suite.
    fn leave_out(&mut self, named: &Named, wanted: &BTreeSet<String>) -> Result<()> {
        let prefix = format!("{}/", named.folder);
        let unnamed: Vec<String> = self
            .copied
            .keys()
            .filter(|path| path.starts_with(&prefix) && !wanted.contains(*path))
            .cloned()
            .collect();
        for path in unnamed {
            std::fs::remove_file(self.target(&path)).with_context(|| path.clone())?;
            self.copied.remove(&path);
        }
        Ok(())
    }

    /// Copies what was changed meanwhile, with keys that did not change while the vault was copied. Bytes that
    /// rows name are complete already; what came since belongs to rows that are not in the backup.
    fn settle(&mut self, wanted: bool) -> Result<KeyFiles> {
        if !wanted {
            self.others()?;
            return Ok(KeyFiles::default());
        }
        let mut before = KeyFiles::read(&self.data_dir, &self.of(What::Key)?)?;
        for _ in 0..LOOKS {
            self.others()?;
            let after = KeyFiles::read(&self.data_dir, &self.of(What::Key)?)?;
            if after == before {
                return Ok(after);
            }
            before = after;
        }
        bail!("the suite's keys change all the time: try again when none is being rotated")
    }

    fn others(&mut self) -> Result<()> {
        self.bytes(|path| !NAMED.iter().any(|named| path.starts_with(&format!("{}/", named.folder))))
    }

    /// Every file of the backup, by path.
    fn entries(&self, stores: &[String]) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = self
            .copied
            .iter()
            .map(|(path, copied)| Entry {
                path: format!("{DATA}/{path}"),
                bytes: copied.bytes,
                blake3: copied.blake3.clone(),
            })
            .collect();
        for path in stores {
            let (bytes, blake3) = files::digest(&self.target(path))?;
            entries.push(Entry { path: format!("{DATA}/{path}"), bytes, blake3 });
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }
}
