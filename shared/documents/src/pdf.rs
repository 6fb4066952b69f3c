//! PDF: a page after the other, in the order in which its text is drawn.

use std::collections::BTreeMap;

use lopdf::{Document, Error, LoadOptions, Object, decode_text_string};

use crate::limits::{Clock, DocumentError, Limits};
use crate::pdf_text;
use crate::writer::Writer;

const NAME: &str = "PDF";
/// The most that one stream unpacks to; what a page needs is far less.
const MAX_STREAM: usize = 64 << 20;
/// What the document says of itself.
const PROPERTIES: [(&[u8], &str); 4] =
    [(b"Title", "title"), (b"Author", "author"), (b"Subject", "subject"), (b"CreationDate", "created")];
/// The longest property.
const MAX_PROPERTY: usize = 1_000;

pub(crate) fn read(
    bytes: &[u8],
    limits: &Limits,
    clock: &Clock,
    writer: &mut Writer,
    metadata: &mut BTreeMap<String, String>,
) -> Result<(), DocumentError> {
    let most = MAX_STREAM.min(limits.unpacked);
    let options = LoadOptions { max_decompressed_size: Some(most), ..LoadOptions::default() };
    let document = Document::load_mem_with_options(bytes, options).map_err(failed)?;
    if document.is_encrypted() {
        return Err(DocumentError::Encrypted);
    }
    properties(&document, metadata);
    let mut unpacked = 0;
    for (number, page) in (1..).zip(document.page_iter()) {
        clock.check()?;
        if writer.is_full() {
            break;
        }
        if number as usize > limits.pages {
            writer.cut();
            break;
        }
        let left = most.min(limits.unpacked.saturating_sub(unpacked));
        let content = document.get_page_content_with_limit(page, left).map_err(failed)?;
        unpacked += content.len();
        writer.lines(2);
        writer.begin(number, "", true);
        pdf_text::write(&document, page, &content, left, clock, writer)?;
    }
    metadata.insert("pages".to_owned(), document.page_iter().count().to_string());
    Ok(())
}

/// Why the library gave up.
pub(crate) fn failed(error: Error) -> DocumentError {
    match error {
        Error::Decompress(lopdf::DecompressError::MemoryLimitExceeded { limit }) => {
            DocumentError::Bomb(format!("a stream of more than {limit} bytes"))
        }
        Error::InvalidPassword => DocumentError::Encrypted,
        other => DocumentError::damaged(NAME, other),
    }
}

fn properties(document: &Document, metadata: &mut BTreeMap<String, String>) {
    let info = document.trailer.get(b"Info").ok().and_then(|info| match info {
        Object::Reference(id) => document.get_dictionary(*id).ok(),
        other => other.as_dict().ok(),
    });
    let Some(info) = info else { return };
    for (key, name) in PROPERTIES {
        let text = info.get(key).ok().and_then(|value| decode_text_string(value).ok());
        let text = text.unwrap_or_default();
        let text = text.trim();
        if !text.is_empty() {
            metadata.insert(name.to_owned(), text.chars().take(MAX_PROPERTY).collect());
        }
    }
}
