//! Text of documents: PDF, DOCX, XLSX, HTML, CSV, Markdown and plain text.
//!
//! Documents come from anybody, so everything is bounded ([`Limits`]): bytes, what archives and streams unpack to,
//! pages, characters, time. Readers follow the bytes without recursion where a document decides how deep it is.
//! Whoever calls runs [`extract`] on a thread that may block, and takes a panic of it for an error.
//!
//! ```
//! use sre_documents::{Limits, extract};
//!
//! let document = extract(b"<h1>Title</h1><p>Hello <b>world</b></p>", "a.html", "text/html", &Limits::default())?;
//! assert_eq!(document.text, "# Title\n\nHello world");
//! # Ok::<(), sre_documents::DocumentError>(())
//! ```

mod archive;
mod charset;
mod docx;
mod format;
mod html;
mod limits;
mod markdown;
mod pdf;
mod pdf_text;
mod table;
mod writer;
mod xlsx;

use std::collections::BTreeMap;

pub use format::Format;
pub use limits::{DocumentError, Limits};

use limits::Clock;
use writer::Writer;

/// What a document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What it is.
    pub format: Format,
    /// Its text.
    pub text: String,
    /// Its pages, sheets or sections, in order.
    pub parts: Vec<Part>,
    /// What it says of itself: `title`, `author` and the like.
    pub metadata: BTreeMap<String, String>,
    /// It has more text, or more pages, than were read.
    pub truncated: bool,
}

/// A page, a sheet or a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which one, from 1.
    pub number: u32,
    /// Its heading or name; pages have none.
    pub title: String,
    /// The characters of the text before it,
    pub start: usize,
    /// and before its end.
    pub end: usize,
    /// A page or a sheet, not a section.
    pub is_page: bool,
}

/// Reads a document. Its format is told from its bytes, then from its media type, then from its name.
///
/// # Errors
/// [`DocumentError`] if it cannot be read, or is beyond a limit that leaves nothing to give.
pub fn extract(bytes: &[u8], name: &str, mimetype: &str, limits: &Limits) -> Result<Document, DocumentError> {
    if bytes.len() > limits.bytes {
        return Err(DocumentError::TooLarge { bytes: bytes.len(), limit: limits.bytes });
    }
    let clock = Clock::start(limits.time);
    let format = format::of(bytes, name, mimetype)?;
    let mut writer = Writer::new(limits.characters);
    let mut metadata = BTreeMap::new();
    match format {
        Format::Pdf => pdf::read(bytes, limits, &clock, &mut writer, &mut metadata)?,
        Format::Docx => docx::read(bytes, limits, &clock, &mut writer, &mut metadata)?,
        Format::Xlsx => xlsx::read(bytes, limits, &clock, &mut writer)?,
        Format::Html => html::read(&charset::text(bytes, mimetype), &clock, &mut writer, &mut metadata)?,
        Format::Csv => table::read(&charset::text(bytes, mimetype), &clock, &mut writer)?,
        Format::Markdown => markdown::read(&charset::text(bytes, mimetype), &mut writer),
        Format::Text => writer.push(&charset::text(bytes, mimetype)),
    }
    let (text, parts, truncated) = writer.finish();
    Ok(Document { format, text, parts, metadata, truncated })
}
