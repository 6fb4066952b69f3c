//! The key file: `keys/vault.key`, mode 0600, owned by this user, one key on one line. The keys before it are in
//! `keys/vault.key.old`, one a line, the newest first.
//!
//! The first file is as older releases wrote it, so that one of them can be started again after a rotation.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::envelope::{EnvelopeError, Kek};
use super::keks::Ring;
use super::key_protection::Protection;

/// The largest key file.
const MAX_BYTES: u64 = 64 << 10;

/// What is wrong with the key's file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("{} has mode {mode:03o}: others could read the key, set it with `chmod 600`", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}, not to {us}: run as its owner, or `chown` it", path.display())]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        us: u32,
    },
    /// It does not hold a key.
    #[error("{} does not hold a key: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The vault is there and its key is not.
    #[error(
        "{} is missing while {} exists: restore the key from a backup, the vault cannot be read without it",
        key.display(),
        vault.display()
    )]
    Lost {
        /// The key's file.
        key: PathBuf,
        /// The vault's.
        vault: PathBuf,
    },
    /// Nobody forgets the older keys.
    #[error("{0} older keys are kept: forget them with `sre vault rotate --forget-old`, then rotate again")]
    TooManyOld(usize),
    /// What protects the file cannot be asked.
    #[error("the key file's protection: {0}")]
    Protection(String),
    /// No key could be made.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

/// Where keys are, and what the file is protected with besides its mode.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
    protection: Protection,
}

type Lines = Vec<Zeroizing<String>>;

impl KeyFile {
    /// A file.
    pub fn new(path: &Path, protection: Protection) -> Self {
        Self { path: path.to_owned(), protection }
    }

    /// A file that its mode alone protects.
    pub fn plain(path: &Path) -> Self {
        Self::new(path, Protection::Mode)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn old_path(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".old");
        name.into()
    }

    /// Reads the keys, or makes one where neither it nor anything sealed with it exists.
    pub async fn load_or_create(&self, sealed: Option<&Path>) -> Result<Ring, KeyFileError> {
        match self.load().await {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                // A new key beside an old vault would look like a working, empty vault.
                if let Some(sealed) = sealed.filter(|path| path.exists()) {
                    return Err(KeyFileError::Lost { key: self.path.clone(), vault: sealed.to_owned() });
                }
                let ring = Ring { primary: Kek::generate()?, old: Vec::new() };
                let text = self.encode(&ring.primary).await?;
                let path = self.path.clone();
                blocking(move || write_private(&path, text.as_bytes()).map_err(|e| failed(&path, e))).await?;
                Ok(ring)
            }
            other => other,
        }
    }

    /// Reads the keys.
    pub async fn load(&self) -> Result<Ring, KeyFileError> {
        let (path, old) = (self.path.clone(), self.old_path());
        let (lines, old_lines) = blocking(move || Ok((read(&path)?, read_if_there(&old)?))).await?;
        let primary = self.decode(&self.path, one(&self.path, &lines)?).await?;
        let mut ring = Ring { primary, old: Vec::with_capacity(old_lines.len()) };
        for line in &old_lines {
            let kek = self.decode(&self.old_path(), line).await?;
            // The step between the two writes of a rotation leaves the same key in both.
            if kek.id() != ring.primary.id() {
                ring.old.push(kek);
            }
        }
        Ok(ring)
    }

    /// The same at once, for files that nothing else protects.
    pub fn read_plain(&self) -> Result<Ring, KeyFileError> {
        let lines = read(&self.path)?;
        let plain = |path: &Path, line: &str| {
            Protection::plain(line).map_err(|problem| malformed(path, problem.to_owned()))
        };
        let primary = plain(&self.path, one(&self.path, &lines)?)?;
        let old = read_if_there(&self.old_path())?;
        let old = old.iter().map(|line| plain(&self.path, line)).collect::<Result<_, _>>()?;
        Ok(Ring { primary, old })
    }

    /// Writes the keys, durably. The older ones first: at no time is a key that something is sealed with in
    /// neither file.
    pub async fn save(&self, ring: &Ring) -> Result<(), KeyFileError> {
        let mut old = Zeroizing::new(String::new());
        for kek in &ring.old {
            old.push_str(&self.encode(kek).await?);
            old.push('\n');
        }
        let primary = self.encode(&ring.primary).await?;
        let (path, old_path) = (self.path.clone(), self.old_path());
        blocking(move || {
            if !old.is_empty() {
                replace_private(&old_path, old.as_bytes()).map_err(|e| failed(&old_path, e))?;
            }
            let line = Zeroizing::new(format!("{}\n", primary.as_str()));
            replace_private(&path, line.as_bytes()).map_err(|e| failed(&path, e))?;
            if old.is_empty() {
                remove_if_there(&old_path).map_err(|e| failed(&old_path, e))?;
            }
            Ok(())
        })
        .await
    }

    async fn encode(&self, kek: &Kek) -> Result<Zeroizing<String>, KeyFileError> {
        self.protection.protect(kek).await.map_err(KeyFileError::Protection)
    }

    async fn decode(&self, path: &Path, line: &str) -> Result<Kek, KeyFileError> {
        self.protection.expose(line).await.map_err(|problem| malformed(path, problem))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyFileError> + Send + 'static,
) -> Result<T, KeyFileError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(KeyFileError::Protection(error.to_string())))
}

fn one<'l>(path: &Path, lines: &'l Lines) -> Result<&'l str, KeyFileError> {
    match lines.as_slice() {
        [line] => Ok(line),
        lines => Err(malformed(path, format!("it has {} lines, and one is a key", lines.len()))),
    }
}

fn read_if_there(path: &Path) -> Result<Lines, KeyFileError> {
    match read(path) {
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

fn read(path: &Path) -> Result<Lines, KeyFileError> {
    let mut file = File::open(path).map_err(|e| failed(path, e))?;
    // Of the open file, so that what is checked is what is read.
    let metadata = file.metadata().map_err(|e| failed(path, e))?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::TooOpen { path: path.to_owned(), mode });
    }
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(KeyFileError::ForeignOwner { path: path.to_owned(), owner: metadata.uid(), us });
    }
    let mut text = Zeroizing::new(String::new());
    Read::by_ref(&mut file).take(MAX_BYTES).read_to_string(&mut text).map_err(|e| failed(path, e))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    Ok(lines.map(|line| Zeroizing::new(line.to_owned())).collect())
}

fn failed(path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io { path: path.to_owned(), source }
}

fn malformed(path: &Path, problem: String) -> KeyFileError {
    KeyFileError::Malformed { path: path.to_owned(), problem }
}

/// Writes a new file that only its owner reads, durably. Fails where one exists.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = folder_of(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

/// Writes a file that only its owner reads in the place of another, durably and at once.
fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = folder_of(path)?;
    let mut fresh = path.to_owned().into_os_string();
    fresh.push(".new");
    remove_if_there(Path::new(&fresh))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}

fn folder_of(path: &Path) -> io::Result<&Path> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    Ok(folder)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "key_file_tests.rs"]
mod tests;
