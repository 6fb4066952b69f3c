//! Archives of Office documents: unpacked once to see that they are what they say, and then part by part.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use crate::limits::{Clock, DocumentError, Limits};

/// The most entries of an archive.
const MAX_ENTRIES: usize = 10_000;
/// Less than this is no bomb, whatever it came from.
const HARMLESS: usize = 1 << 20;
/// How much is unpacked between two looks at the clock.
const PIECE: usize = 256 << 10;

/// An archive whose contents are within the limits.
pub(crate) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    format: &'static str,
    most: usize,
}

impl<'a> Archive<'a> {
    /// Opens an archive. All of it is unpacked and thrown away: what entries say of their size is not believed.
    pub fn open(
        bytes: &'a [u8],
        format: &'static str,
        limits: &Limits,
        clock: &Clock,
    ) -> Result<Self, DocumentError> {
        let zip =
            ZipArchive::new(Cursor::new(bytes)).map_err(|error| DocumentError::damaged(format, error))?;
        let by_ratio = bytes.len().saturating_mul(limits.ratio).max(HARMLESS);
        let mut archive = Self { zip, format, most: limits.unpacked.min(by_ratio) };
        if archive.zip.len() > MAX_ENTRIES {
            return Err(DocumentError::Bomb(format!("more than {MAX_ENTRIES} files in one archive")));
        }
        archive.weigh(clock)?;
        Ok(archive)
    }

    fn weigh(&mut self, clock: &Clock) -> Result<(), DocumentError> {
        let mut total = 0;
        let mut piece = vec![0; PIECE];
        for at in 0..self.zip.len() {
            let mut entry = self.zip.by_index(at).map_err(|error| broken(self.format, error))?;
            loop {
                clock.check()?;
                let read =
                    entry.read(&mut piece).map_err(|error| DocumentError::damaged(self.format, error))?;
                if read == 0 {
                    break;
                }
                total += read;
                if total > self.most {
                    return Err(DocumentError::Bomb(format!("more than {} bytes", self.most)));
                }
            }
        }
        Ok(())
    }

    /// A part of the archive; `None` where there is none of this name.
    pub fn part(&mut self, name: &str) -> Result<Option<Vec<u8>>, DocumentError> {
        let entry = match self.zip.by_name(name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(broken(self.format, error)),
        };
        let mut content = Vec::new();
        let most = self.most as u64 + 1;
        entry
            .take(most)
            .read_to_end(&mut content)
            .map_err(|error| DocumentError::damaged(self.format, error))?;
        Ok(Some(content))
    }
}

fn broken(format: &'static str, error: ZipError) -> DocumentError {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => DocumentError::Encrypted,
        other => DocumentError::damaged(format, other),
    }
}
