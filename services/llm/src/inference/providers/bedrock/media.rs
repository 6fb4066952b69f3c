//! Images and documents as blocks.

use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;

use crate::inference::error::InferenceError;
use crate::inference::providers::media::{Kind, base64, kind_of, mimetype, nowhere};

const WORD: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
const SHEET: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// Types and sizes of the interface's documentation: images of 3.75 MB, documents of 4.5 MB.
const KINDS: &[Kind] = &[
    Kind { types: &["image/png", "image/jpeg", "image/gif", "image/webp"], max_bytes: 3_932_160 },
    Kind {
        types: &[
            "application/pdf",
            "text/csv",
            "application/msword",
            WORD,
            "application/vnd.ms-excel",
            SHEET,
            "text/html",
            "text/plain",
            "text/markdown",
        ],
        max_bytes: 4_718_592,
    },
];

/// The interface's word for a type.
fn format(mimetype: &str) -> &str {
    match mimetype {
        "application/msword" => "doc",
        WORD => "docx",
        "application/vnd.ms-excel" => "xls",
        SHEET => "xlsx",
        "text/plain" => "txt",
        "text/markdown" => "md",
        other => other.split_once('/').map_or(other, |(_, format)| format),
    }
}

/// The block of an image or a document. Documents have a name, and names differ: `place` tells two apart.
pub fn block(media: &pb::Media, place: usize) -> Result<Value, InferenceError> {
    let mimetype = mimetype(media);
    let kind = kind_of(media, &mimetype, super::NAME, KINDS)?;
    let data = match &media.source {
        Some(Source::Data(data)) => base64(data),
        Some(Source::Url(_)) => {
            let words = "this provider fetches nothing by itself: send the bytes, or a file";
            return Err(InferenceError::invalid("messages.parts.media", words));
        }
        Some(Source::File(_)) | None => return Err(nowhere()),
    };
    let format = format(&mimetype);
    if kind == 0 {
        return Ok(json!({"image": {"format": format, "source": {"bytes": data}}}));
    }
    let name = name(&media.file_name, place);
    Ok(json!({"document": {"format": format, "name": name, "source": {"bytes": data}}}))
}

/// A name in the letters that the interface takes.
fn name(given: &str, place: usize) -> String {
    let stem = given.rsplit_once('.').map_or(given, |(stem, _)| stem);
    let is_taken = |letter: char| letter.is_ascii_alphanumeric() || "-()[]".contains(letter);
    let taken: String =
        stem.chars().map(|letter| if is_taken(letter) { letter } else { '-' }).take(100).collect();
    let taken = if taken.is_empty() { "document" } else { &taken };
    if place == 0 { taken.to_owned() } else { format!("{taken}-{place}") }
}
