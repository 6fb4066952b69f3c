//! How the file is written: a line that names the format and the key, then the sealed index.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::Index;
use crate::vault::connectors::SecretStoreError;
use crate::vault::envelope::{self, Kek};
use crate::vault::keks::Keks;

/// The first line of the file; the id of the key follows on it.
const MAGIC: &str = "sre-vault 1 ";
const FILE_KEY: &str = "sre vault file key 1";
/// The file is rewritten at each change, so it must stay small.
const MAX_FILE_BYTES: usize = 64 << 20;

pub(super) fn seal(kek: &Kek, index: &Index) -> Result<Vec<u8>, SecretStoreError> {
    let json = serde_json::to_vec(index).map_err(|error| SecretStoreError::Damaged(error.to_string()))?;
    if json.len() > MAX_FILE_BYTES {
        return Err(SecretStoreError::Full(format!(
            "the vault file would grow over {MAX_FILE_BYTES} bytes: delete secrets that nobody uses, or configure another backend"
        )));
    }
    let head = format!("{MAGIC}{}\n", kek.id());
    let (nonce, ciphertext) = envelope::encrypt(&kek.derive(FILE_KEY), head.as_bytes(), &json)
        .map_err(|error| SecretStoreError::Unavailable(error.to_string()))?;
    Ok([head.into_bytes(), nonce, ciphertext].concat())
}

/// Opens a file; gives the id of the key that it was sealed with, too.
pub(super) fn unseal(path: &Path, keks: &Keks, bytes: &[u8]) -> Result<(Index, String), SecretStoreError> {
    let damaged = |what: &str| SecretStoreError::Damaged(format!("{}: {what}", path.display()));
    let end = bytes.iter().take(256).position(|byte| *byte == b'\n');
    let (head, rest) = bytes.split_at(end.map_or(0, |end| end + 1));
    let head_text = std::str::from_utf8(head).unwrap_or_default();
    let Some(key_id) = head_text.strip_prefix(MAGIC).map(str::trim_end) else {
        return Err(damaged(match bytes.first() {
            Some(b'{') => "is no encrypted vault but looks like a vault.json: take it over with `sre import`",
            _ => "is not a vault of this version: restore it from a backup",
        }));
    };
    let kek = keks.find(key_id).ok_or_else(|| {
        let ours = keks.primary();
        damaged(&format!("is sealed with key {key_id}, its key file holds {}: restore that key", ours.id()))
    })?;
    let (nonce, ciphertext) =
        rest.split_at_checked(24).ok_or_else(|| damaged("is cut off: restore it from a backup"))?;
    let json: Zeroizing<Vec<u8>> = envelope::decrypt(&kek.derive(FILE_KEY), head, nonce, ciphertext)
        .map_err(|_| damaged("was changed or cut off: restore it from a backup"))?;
    let index = serde_json::from_slice(&json)
        .map_err(|error| damaged(&format!("holds something else than a vault: {error}")))?;
    Ok((index, key_id.to_owned()))
}

/// Writes beside the file, then takes its place; durable when it returns.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let fresh = path.with_extension("enc.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}
