//! Lines, put together from pieces cut anywhere: inside a line or a character.

use crate::inference::providers::wire::Framing;

/// The longest line.
const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;

/// A line without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {MAX_LINE_BYTES} bytes")]
pub struct TooLong;

/// Puts lines together.
#[derive(Debug, Default)]
pub struct Lines(Vec<u8>);

impl Framing for Lines {
    type TooLong = TooLong;

    fn push(&mut self, piece: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut lines = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.0.len() + part.len() > MAX_LINE_BYTES {
                return Err(TooLong);
            }
            self.0.extend_from_slice(part);
            if part.ends_with(b"\n") {
                lines.push(String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned());
            }
        }
        Ok(lines)
    }

    fn finish(self) -> Result<Option<String>, TooLong> {
        Ok((!self.0.is_empty()).then(|| String::from_utf8_lossy(&self.0).into_owned()))
    }
}
