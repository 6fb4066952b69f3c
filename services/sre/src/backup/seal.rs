//! Keys under a passphrase.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use argon2::Argon2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::cli::exit::Failure;

/// Binds what is sealed to its use.
const PLACE: &[u8] = b"sre backup keys 1";
const MIN_CHARS: usize = 12;
const SALT_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
/// Argon2id: memory in KiB, passes, lanes. About a quarter of a second.
const COST: (u32, u32, u32) = (64 << 10, 3, 1);

/// What the keys of a backup are sealed with.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// From the first line of a file.
    pub fn read(file: &Path) -> Result<Self> {
        let text = Zeroizing::new(
            std::fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?,
        );
        Self::new(text.lines().next().unwrap_or_default())
            .with_context(|| format!("the passphrase in {}", file.display()))
    }

    /// A passphrase, of twelve characters at least.
    pub fn new(text: &str) -> Result<Self> {
        if text.chars().count() < MIN_CHARS {
            return Err(Failure::usage(format!("a passphrase has {MIN_CHARS} characters at least")));
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    fn key(&self, salt: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let (memory, passes, lanes) = COST;
        let cost = argon2::Params::new(memory, passes, lanes, Some(32))
            .map_err(|e| anyhow::anyhow!("argon2: {e}"))?;
        let mut key = Zeroizing::new([0; 32]);
        Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cost)
            .hash_password_into(self.0.as_bytes(), salt, key.as_mut_slice())
            .map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
        Ok(key)
    }
}

/// The keys of a suite: content and mode by path below the data folder.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeyFiles(BTreeMap<String, KeyFile>);

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct KeyFile {
    mode: u32,
    /// Base64.
    content: String,
}

impl KeyFiles {
    /// Reads the key files of a data folder.
    pub(super) fn read(data_dir: &Path, paths: &[String]) -> Result<Self> {
        let mut files = BTreeMap::new();
        for path in paths {
            let from = data_dir.join(path);
            let content = match std::fs::read(&from) {
                Ok(content) => Zeroizing::new(content),
                // Renewed by renaming: the next look has it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| from.display().to_string()),
            };
            let mode = std::fs::metadata(&from).map_or(0o600, |data| data.permissions().mode() & 0o777);
            let content = STANDARD.encode(&*content);
            files.insert(path.clone(), KeyFile { mode, content });
        }
        Ok(Self(files))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Salt, nonce, ciphertext.
    pub(super) fn seal(&self, passphrase: &Passphrase) -> Result<Vec<u8>> {
        let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_BYTES]);
        for bytes in [salt.as_mut_slice(), nonce.as_mut_slice()] {
            OsRng.try_fill_bytes(bytes).context("no random bytes from the operating system")?;
        }
        let plain = Zeroizing::new(serde_json::to_vec(self)?);
        let cipher = XChaCha20Poly1305::new(Key::from_slice(passphrase.key(&salt)?.as_slice()));
        let sealed = cipher
            .encrypt(XNonce::from_slice(&nonce), Payload { msg: &plain, aad: PLACE })
            .map_err(|_| anyhow::anyhow!("the keys could not be sealed"))?;
        Ok([salt.as_slice(), nonce.as_slice(), sealed.as_slice()].concat())
    }

    /// Opens what [`Self::seal`] gave.
    pub(super) fn open(sealed: &[u8], passphrase: &Passphrase) -> Result<Self> {
        let wrong = || {
            Failure::failed(
                "the sealed keys do not open: the passphrase is another one, or they were changed",
            )
        };
        let (salt, rest) = sealed.split_at_checked(SALT_BYTES).ok_or_else(wrong)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or_else(wrong)?;
        let cipher = XChaCha20Poly1305::new(Key::from_slice(passphrase.key(salt)?.as_slice()));
        let plain = cipher
            .decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: PLACE })
            .map_err(|_| wrong())?;
        Ok(serde_json::from_slice(&Zeroizing::new(plain))?)
    }

    /// Writes the files below a data folder.
    pub(super) fn write(&self, data_dir: &Path) -> Result<()> {
        for (path, file) in &self.0 {
            let to = super::files::below(data_dir, path)?;
            let content =
                Zeroizing::new(STANDARD.decode(&file.content).context("the sealed keys are damaged")?);
            super::files::write_whole(&to, &content).with_context(|| to.display().to_string())?;
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(file.mode & 0o777))?;
        }
        Ok(())
    }
}
