//! How much of a document is read, and what is said of one that is beyond it.

use std::time::{Duration, Instant};

/// Bounds of reading one document.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the document.
    pub bytes: usize,
    /// Bytes of all that it unpacks to.
    pub unpacked: usize,
    /// How many times larger than the document that may be, once it is over a megabyte.
    pub ratio: usize,
    /// Pages or sheets; those beyond are left out.
    pub pages: usize,
    /// Characters of text; those beyond are left out.
    pub characters: usize,
    /// Time.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 32 << 20,
            unpacked: 256 << 20,
            ratio: 200,
            pages: 2_000,
            characters: 2_000_000,
            time: Duration::from_secs(30),
        }
    }
}

/// Why a document could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Too many bytes.
    #[error("the document has {bytes} bytes: at most {limit} are read")]
    TooLarge {
        /// How many it has.
        bytes: usize,
        /// How many are read.
        limit: usize,
    },
    /// It unpacks to too much.
    #[error("the document unpacks to more than is allowed: {0}")]
    Bomb(String),
    /// No format that is read.
    #[error(
        "this kind of document is not read ({0}): give a PDF, DOCX, XLSX, HTML, CSV, Markdown or text file"
    )]
    Unsupported(String),
    /// It needs a password.
    #[error("the document is protected by a password: give one without")]
    Encrypted,
    /// It is damaged.
    #[error("the {format} document cannot be read: {problem}")]
    Damaged {
        /// What it should be.
        format: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// It took too long.
    #[error("the document was not read within {} s: give a smaller one", .0.as_secs())]
    TooLong(Duration),
}

impl DocumentError {
    /// A damaged document.
    pub(crate) fn damaged(format: &'static str, problem: impl std::fmt::Display) -> Self {
        let problem: String = problem.to_string().chars().take(200).collect();
        Self::Damaged { format, problem }
    }
}

/// The time of one document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started: Instant,
    most: Duration,
}

impl Clock {
    pub fn start(most: Duration) -> Self {
        Self { started: Instant::now(), most }
    }

    /// # Errors
    /// Once the time is over.
    pub fn check(&self) -> Result<(), DocumentError> {
        if self.started.elapsed() > self.most { Err(DocumentError::TooLong(self.most)) } else { Ok(()) }
    }
}
