//! Images, sound, film and documents as parts.

use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;

use super::request::Flavour;
use crate::inference::error::InferenceError;
use crate::inference::providers::media::{Kind, base64, kind_of, mimetype, nowhere};

/// A request with what is inside it ends at 20 MB; what is larger goes through the files of Google AI.
pub const INLINE_BYTES: usize = 14 << 20;

/// Types of the API's documentation.
const TYPES: &[&str] = &[
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/heic",
    "image/heif",
    "video/mp4",
    "video/mpeg",
    "video/mov",
    "video/quicktime",
    "video/avi",
    "video/x-flv",
    "video/mpg",
    "video/webm",
    "video/wmv",
    "video/3gpp",
    "audio/wav",
    "audio/mpeg",
    "audio/aiff",
    "audio/aac",
    "audio/ogg",
    "audio/flac",
    "application/pdf",
    "application/json",
    "application/rtf",
    "application/x-javascript",
    "application/x-python",
    "text/*",
];

const FILES: &[Kind] = &[Kind { types: TYPES, max_bytes: 2 << 30 }];
const INLINE: &[Kind] = &[Kind { types: TYPES, max_bytes: INLINE_BYTES }];

/// The part of something.
pub fn part(media: &pb::Media, flavour: Flavour) -> Result<Value, InferenceError> {
    let mimetype = mimetype(media);
    let (kinds, provider) = match flavour {
        Flavour::GoogleAi => (FILES, super::NAME),
        Flavour::Vertex => (INLINE, super::vertex::NAME),
    };
    kind_of(media, &mimetype, provider, kinds)?;
    match &media.source {
        Some(Source::Data(data)) => Ok(json!({"inlineData": {"mimeType": mimetype, "data": base64(data)}})),
        Some(Source::Url(url)) => Ok(json!({"fileData": {"mimeType": mimetype, "fileUri": url}})),
        Some(Source::File(_)) | None => Err(nowhere()),
    }
}

/// Films: one alone, and nothing beside it, in one message.
pub fn check_films(parts: &[Value]) -> Result<(), InferenceError> {
    let kind = |part: &Value| {
        let of = |name: &str| part[name]["mimeType"].as_str().map(str::to_owned);
        of("inlineData").or_else(|| of("fileData"))
    };
    let kinds: Vec<String> = parts.iter().filter_map(kind).collect();
    let films = kinds.iter().filter(|kind| kind.starts_with("video/")).count();
    if films > 0 && kinds.len() > 1 {
        let words = "a film goes alone: send one film and no other file in a message";
        return Err(InferenceError::invalid("messages.parts.media", words));
    }
    Ok(())
}
