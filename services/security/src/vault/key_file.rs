//! The vault key's file: `keys/vault.key`, mode 0600, owned by this user.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::envelope::{EnvelopeError, Kek};

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
    #[error("{} does not hold 64 hex digits: restore it from a backup", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
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
    /// No key could be made.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

/// Reads the key, or makes one where neither it nor a vault sealed with it exists.
pub fn load_or_create(path: &Path, vault: &Path) -> Result<Kek, KeyFileError> {
    match read(path) {
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            // A new key beside an old vault would look like a working, empty vault.
            if vault.exists() {
                return Err(KeyFileError::Lost { key: path.to_owned(), vault: vault.to_owned() });
            }
            create(path)
        }
        other => other,
    }
}

fn read(path: &Path) -> Result<Kek, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    // Of the open file, so that what is checked is what is read.
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::TooOpen { path: path.to_owned(), mode });
    }
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(KeyFileError::ForeignOwner { path: path.to_owned(), owner: metadata.uid(), us });
    }
    let mut text = Zeroizing::new(String::new());
    Read::by_ref(&mut file).take(256).read_to_string(&mut text).map_err(failed)?;
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), bytes.as_mut_slice())
        .map_err(|_| KeyFileError::Malformed { path: path.to_owned() })?;
    Ok(Kek::new(bytes))
}

fn create(path: &Path) -> Result<Kek, KeyFileError> {
    let kek = Kek::generate()?;
    let text = Zeroizing::new(hex::encode(kek.expose()));
    write_private(path, text.as_bytes())
        .map_err(|source| KeyFileError::Io { path: path.to_owned(), source })?;
    Ok(kek)
}

/// Writes a new file that only its owner reads, durably. Fails where one exists.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (key, vault) = (dir.path().join("keys/vault.key"), dir.path().join("vault.enc"));
        let made = load_or_create(&key, &vault).unwrap();
        assert_eq!(std::fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&key, &vault).unwrap().id(), made.id());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (key, vault) = (dir.path().join("vault.key"), dir.path().join("vault.enc"));
        load_or_create(&key, &vault).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load_or_create(&key, &vault), Err(KeyFileError::TooOpen { mode: 0o640, .. })));
    }

    #[test]
    fn a_lost_key_is_not_replaced_while_the_vault_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (key, vault) = (dir.path().join("vault.key"), dir.path().join("vault.enc"));
        std::fs::write(&vault, b"sealed").unwrap();
        assert!(matches!(load_or_create(&key, &vault), Err(KeyFileError::Lost { .. })));
        assert!(!key.exists());
    }

    #[test]
    fn a_damaged_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (key, vault) = (dir.path().join("vault.key"), dir.path().join("vault.enc"));
        write_private(&key, b"zz").unwrap();
        assert!(matches!(load_or_create(&key, &vault), Err(KeyFileError::Malformed { .. })));
    }
}
