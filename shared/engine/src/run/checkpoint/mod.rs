//! Checkpoints: where a run stands, so that the records before need not be folded again.
//!
//! A checkpoint holds what changed: lists that only grow (results of loops, leaves, what waits behind a
//! loop) hold what was appended since the checkpoint before, and a big value is written once. A run is
//! restored from all its checkpoints, in order. Components are named by id, never by position.

mod restore;
mod save;
mod saved;
#[cfg(test)]
mod tests;

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

pub use restore::RestoreError;
pub(super) use save::Saver;

use crate::value::{Value, codec};
use saved::SavedRun;

/// Marks the bytes as a checkpoint.
const MAGIC: &[u8; 3] = b"SRC";
/// The form that is written; a greater one is not read.
const FORMAT: u8 = 1;
/// Most bytes that a checkpoint may have uncompressed.
const MAX_BYTES: u64 = 1 << 30;

/// Where a run stands, as far as the checkpoints before do not say it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    state: SavedRun,
    /// Values that the state names by number; numbers go on from the checkpoint before.
    values: Vec<Value>,
}

/// Bytes that are no checkpoint this release reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// A newer release wrote it.
    #[error("the checkpoint has the form {0}, this release reads up to {FORMAT}")]
    Format(u8),
    /// The bytes are damaged, or something else.
    #[error("the bytes are no checkpoint: {0}")]
    Invalid(String),
}

impl Checkpoint {
    /// All values it holds, for what must look at each.
    pub fn each_value(&mut self, see: &mut dyn FnMut(&mut Value)) {
        self.values.iter_mut().for_each(see);
    }

    /// Its bytes: a header, then the state as JSON and the values, compressed.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let state = serde_json::to_vec(&self.state).unwrap_or_default();
        codec::write_bytes(&state, &mut bytes);
        codec::write_number(self.values.len() as u64, &mut bytes);
        self.values.iter().for_each(|value| codec::write(value, &mut bytes));
        let mut out = Vec::with_capacity(bytes.len() / 4);
        out.extend_from_slice(MAGIC);
        out.push(FORMAT);
        let mut encoder = DeflateEncoder::new(out, Compression::default());
        // Writing to memory does not fail.
        let written = encoder.write_all(&bytes);
        debug_assert!(written.is_ok());
        encoder.finish().unwrap_or_default()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`CheckpointError`] if they are something else, or written by a newer release.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let invalid = |what: &str| CheckpointError::Invalid(what.to_owned());
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| invalid("the header is missing"))?;
        let (format, rest) = rest.split_first().ok_or_else(|| invalid("they are cut off"))?;
        if *format > FORMAT {
            return Err(CheckpointError::Format(*format));
        }
        let mut bytes = Vec::new();
        let read = DeflateDecoder::new(rest).take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| CheckpointError::Invalid(error.to_string()))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(invalid("they are too many"));
        }
        let mut from = bytes.as_slice();
        let bad_value = |_| invalid("a value cannot be read");
        let state = codec::read_bytes(&mut from).map_err(bad_value)?;
        let state = serde_json::from_slice(state).map_err(|it| CheckpointError::Invalid(it.to_string()))?;
        let count = codec::read_number(&mut from).map_err(bad_value)?;
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(codec::read(&mut from).map_err(bad_value)?);
        }
        Ok(Self { state, values })
    }
}
