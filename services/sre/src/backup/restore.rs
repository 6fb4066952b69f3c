//! Bringing a backup back.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sre_service::Config;

use super::files;
use super::manifest::{Entry, Keys, Manifest};
use super::seal::{KeyFiles, Passphrase};
use super::take::{DATA, SEALED};
use crate::cli::exit::Failure;

/// What to restore, and whereto.
pub struct Restore<'a> {
    /// The configuration, whose data folder is the target.
    pub config: &'a Config,
    /// The backup.
    pub from: &'a Path,
    /// What the keys were sealed with; none restores without them.
    pub passphrase: Option<&'a Passphrase>,
    /// Whether what is in the target moves aside.
    pub replace: bool,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The backup's manifest.
    pub manifest: Manifest,
    /// How many keys and certificates.
    pub keys: usize,
    /// Where what was in the target went.
    pub moved_to: Option<PathBuf>,
}

/// Compares every file of a backup with its manifest; names all that differ.
pub fn verify(from: &Path) -> Result<Manifest> {
    let manifest = Manifest::read(from)?;
    let mut wrong = Vec::new();
    for entry in &manifest.files {
        let path = files::below(from, &entry.path)?;
        match files::digest(&path) {
            Ok(found) if found == (entry.bytes, entry.blake3.clone()) => {}
            Ok((bytes, _)) if bytes != entry.bytes => {
                wrong.push(format!("{} has {bytes} bytes, it had {}", entry.path, entry.bytes));
            }
            Ok(_) => wrong.push(format!("{} was changed", entry.path)),
            Err(error) => wrong.push(format!("{}: {:#}", entry.path, error)),
        }
    }
    if wrong.is_empty() {
        return Ok(manifest);
    }
    Err(Failure::failed(format!("the backup is damaged, nothing was restored: {}", wrong.join("; "))))
}

/// Restores a backup into the data folder, which appears when it is whole. Blocks for as long as that takes.
pub fn restore(asked: &Restore<'_>) -> Result<Restored> {
    let target = std::path::absolute(&asked.config.data_dir)?;
    let occupied = is_occupied(&target)?;
    if occupied && !asked.replace {
        let message = format!(
            "{} is not empty: restore into a new folder (--data-dir), or say --replace, which moves what is there \
             aside",
            target.display()
        );
        return Err(Failure::usage(message));
    }
    if occupied {
        not_running(asked.config)?;
    }
    let manifest = verify(asked.from)?;
    let keys = open_keys(asked, &manifest)?;
    let name = target.file_name().map(|name| name.display().to_string()).unwrap_or_default();
    let beside = |what: &str| target.with_file_name(format!("{name}.{what}"));
    let partial = beside("restoring");
    if partial.exists() {
        let message = format!("{} is left of a restore that did not end: remove it first", partial.display());
        return Err(Failure::usage(message));
    }
    let filled = fill(asked.from, &partial, &manifest, keys.as_ref());
    if let Err(error) = filled {
        // Half a suite is of no use to anybody.
        drop(std::fs::remove_dir_all(&partial));
        return Err(error);
    }
    let moved_to = match occupied {
        true => {
            let aside = beside(&format!("before-restore-{}", crate::dates::now().replace(':', "")));
            std::fs::rename(&target, &aside).with_context(|| aside.display().to_string())?;
            Some(aside)
        }
        false => {
            if target.exists() {
                std::fs::remove_dir(&target).with_context(|| target.display().to_string())?;
            }
            None
        }
    };
    std::fs::rename(&partial, &target).with_context(|| target.display().to_string())?;
    files::sync(&target)?;
    Ok(Restored { manifest, keys: keys.map_or(0, |keys| keys.len()), moved_to })
}

fn is_occupied(target: &Path) -> Result<bool> {
    match std::fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| target.display().to_string()),
    }
}

/// Refuses to move a folder away under a running suite.
fn not_running(config: &Config) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(config.store_dir()) else { return Ok(()) };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(".lock")) {
        let file = File::open(entry.path()).with_context(|| entry.path().display().to_string())?;
        if matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
            let folder = config.data_dir.display();
            return Err(Failure::usage(format!("a suite runs on {folder}: stop it first")));
        }
    }
    Ok(())
}

fn open_keys(asked: &Restore<'_>, manifest: &Manifest) -> Result<Option<KeyFiles>> {
    match (manifest.keys, asked.passphrase) {
        (Keys::LeftOut, Some(_)) => {
            let message = "the backup holds no keys: restore with --without-keys and bring them back from where \
                           they are kept";
            Err(Failure::usage(message))
        }
        (Keys::Sealed, Some(passphrase)) => {
            let path = asked.from.join(SEALED);
            let sealed = std::fs::read(&path).with_context(|| path.display().to_string())?;
            KeyFiles::open(&sealed, passphrase).map(Some)
        }
        (_, None) => Ok(None),
    }
}

fn fill(from: &Path, to: &Path, manifest: &Manifest, keys: Option<&KeyFiles>) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in &manifest.files {
        let Some(path) = entry.path.strip_prefix(DATA).and_then(|path| path.strip_prefix('/')) else {
            continue;
        };
        copy(from, entry, &files::below(to, path)?)?;
    }
    if let Some(keys) = keys {
        keys.write(to)?;
    }
    files::sync(to)
}

/// Copies a file, and looks again whether it is what the manifest says: it may have changed since.
fn copy(from: &Path, entry: &Entry, to: &Path) -> Result<()> {
    let copied = files::copy(&files::below(from, &entry.path)?, to)?;
    if copied.is_some_and(|copied| copied.bytes == entry.bytes && copied.blake3 == entry.blake3) {
        return Ok(());
    }
    Err(Failure::failed(format!("{} was changed while it was restored", entry.path)))
}
