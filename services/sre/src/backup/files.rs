//! The files of a data folder: which there are, and copying them with their digest.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

const CHUNK_BYTES: usize = 1 << 20;
/// A file that is written in place is copied again while it changes.
const COPIES: usize = 10;

/// What a suite makes anew at each start.
const TRANSIENT_FOLDERS: [&str; 2] = ["run", "logs"];
/// What lies beside stores, and what is not finished: the store's snapshot has what counts.
const TRANSIENT_ENDINGS: [&str; 8] =
    [".lock", "-wal", "-shm", "-journal", ".partial", ".part", ".tmp", ".new"];
/// Uploads to the journal that are not finished.
const UNFINISHED: &str = "blobs/incoming";

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A store: read as a snapshot, never as a file. Closing a file of it would drop the locks of its process.
    Store,
    /// A key, certificate or API key.
    Key,
    /// Bytes.
    Bytes,
}

/// A version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64, i64, i64, u64);

impl Stamp {
    fn of(data: &Metadata) -> Self {
        Self(data.len(), data.mtime(), data.mtime_nsec(), data.ino())
    }
}

/// A copied file.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    pub(super) stamp: Stamp,
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

/// Every file below a folder by its path there, but for what is transient. Links are not followed.
pub(super) fn list(root: &Path) -> Result<BTreeMap<String, What>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // Folders of runs go with their runs.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !prefix.is_empty() => continue,
            Err(error) => return Err(error).with_context(|| folder.display().to_string()),
        };
        for entry in entries {
            let entry = entry.with_context(|| folder.display().to_string())?;
            let name = entry.file_name().into_string().map_err(|name| {
                anyhow::anyhow!("{}/{}: a name that is no text", folder.display(), name.display())
            })?;
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            let kind = match entry.file_type() {
                Ok(kind) => kind,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| path.clone()),
            };
            let transient = TRANSIENT_FOLDERS.contains(&path.as_str())
                || path == UNFINISHED
                || TRANSIENT_ENDINGS.iter().any(|ending| path.ends_with(ending));
            if transient {
                continue;
            }
            if kind.is_dir() {
                folders.push((entry.path(), path));
            } else if kind.is_file() {
                let what = what(&path);
                found.insert(path, what);
            }
        }
    }
    Ok(found)
}

fn what(path: &str) -> What {
    let key = path.starts_with("keys/") || path.starts_with("certs/");
    match path.ends_with(".db") {
        true => What::Store,
        false if key => What::Key,
        false => What::Bytes,
    }
}

/// The version of a file; none where it is gone.
pub(super) fn stamp(path: &Path) -> Result<Option<Stamp>> {
    match std::fs::symlink_metadata(path) {
        Ok(data) => Ok(Some(Stamp::of(&data))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Copies a file as it is at one moment; none where it is gone. Files that are replaced by renaming need one
/// copy, those that are written in place perhaps some.
pub(super) fn copy(from: &Path, to: &Path) -> Result<Option<Copied>> {
    for _ in 0..COPIES {
        let mut source = match File::open(from) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| from.display().to_string()),
        };
        let before = Stamp::of(&source.metadata()?);
        let (bytes, blake3) = pour(&mut source, to)?;
        if before == Stamp::of(&source.metadata()?) {
            return Ok(Some(Copied { stamp: before, bytes, blake3 }));
        }
    }
    bail!("{} changes all the time: it could not be copied whole", from.display())
}

/// Writes what `source` gives to a new file, and gives its size and digest.
fn pour(source: &mut File, to: &Path) -> Result<(u64, String)> {
    let context = || to.display().to_string();
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).with_context(context)?;
    }
    let mut target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)
        .with_context(context)?;
    let (mut hasher, mut chunk, mut bytes) = (blake3::Hasher::new(), vec![0; CHUNK_BYTES], 0);
    loop {
        let read = source.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        target.write_all(&chunk[..read]).with_context(context)?;
        bytes += read as u64;
    }
    Ok((bytes, hasher.finalize().to_hex().to_string()))
}

/// Size and digest of a file.
pub(super) fn digest(path: &Path) -> Result<(u64, String)> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).with_context(|| path.display().to_string())?;
    hasher.update_reader(&file).with_context(|| path.display().to_string())?;
    Ok((hasher.count(), hasher.finalize().to_hex().to_string()))
}

/// Writes a whole file, for its owner alone, durably.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Brings everything of the file system that a folder is on to the disk: one wait instead of one per file.
pub(super) fn sync(folder: &Path) -> Result<()> {
    let opened = File::open(folder).with_context(|| folder.display().to_string())?;
    rustix::fs::syncfs(opened).map_err(io::Error::from).with_context(|| folder.display().to_string())
}

/// A path of a manifest below a folder; refused where it would lead out of it.
pub(super) fn below(folder: &Path, path: &str) -> Result<PathBuf> {
    let plain = !path.is_empty()
        && path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\\'));
    if !plain || path.contains('\0') {
        bail!("{path:?} is no path of a backup");
    }
    Ok(folder.join(path))
}
