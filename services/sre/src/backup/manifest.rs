//! What a backup holds.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::cli::exit::Failure;

/// The manifest, and its digest beside it.
pub(super) const MANIFEST: &str = "manifest.json";
const DIGEST: &str = "manifest.b3";
/// The format that this version writes and reads.
const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The version of `sre` that wrote it.
    pub version: String,
    /// When it began: what was acknowledged before is in it.
    pub began: String,
    /// The trust domain of the suite.
    pub trust_domain: String,
    /// What became of the keys.
    pub keys: Keys,
    /// What the suite keeps elsewhere.
    pub elsewhere: Vec<String>,
    /// Every file, by path.
    pub files: Vec<Entry>,
}

/// Whether a backup holds the suite's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// Under a passphrase.
    Sealed,
    /// Not at all: they must be brought back from elsewhere.
    LeftOut,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the backup, which is its path below the data folder behind `data/`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its BLAKE3 digest, 64 hex digits.
    pub blake3: String,
}

impl Manifest {
    pub(super) fn new(began: String, trust_domain: String, elsewhere: Vec<String>) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            began,
            trust_domain,
            keys: Keys::LeftOut,
            elsewhere,
            files: Vec::new(),
        }
    }

    /// Writes it, last of all: a backup without one is none.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        let digest = format!("{}\n", blake3::hash(&text).to_hex());
        for (name, content) in [(DIGEST, digest.as_bytes()), (MANIFEST, &text)] {
            let path = folder.join(name);
            super::files::write_whole(&path, content).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// Reads it, believing nothing that does not match its digest.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read(&path).map_err(|error| {
            Failure::usage(format!("{}: {error}: name a folder that `sre backup` wrote", path.display()))
        })?;
        let digest = std::fs::read_to_string(folder.join(DIGEST)).unwrap_or_default();
        if blake3::hash(&text).to_hex().as_str() != digest.trim() {
            return Err(Failure::failed(format!(
                "{}: does not match {DIGEST}: it was changed",
                path.display()
            )));
        }
        let read: Self = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        if read.format != FORMAT {
            let message = format!("{}: format {}, this version reads {FORMAT}", path.display(), read.format);
            return Err(Failure::usage(message));
        }
        Ok(read)
    }
}
