//! Images and documents as content blocks.

use serde_json::{Value, json};
use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::media::Source;

use crate::inference::error::InferenceError;
use crate::inference::providers::media::{Kind, base64, kind_of, mimetype, nowhere};

/// Images, PDF, text: types and sizes of the API's documentation.
const KINDS: &[Kind] = &[
    Kind { types: &["image/png", "image/jpeg", "image/webp", "image/gif"], max_bytes: 5 << 20 },
    Kind { types: &["application/pdf"], max_bytes: 32 << 20 },
    Kind { types: &["text/*", "application/json"], max_bytes: 32 << 20 },
];
const IMAGE: usize = 0;
const TEXT: usize = 2;

/// The block of an image or a document.
pub fn block(media: &pb::Media) -> Result<Value, InferenceError> {
    let mimetype = mimetype(media);
    let kind = kind_of(media, &mimetype, super::NAME, KINDS)?;
    let source = match &media.source {
        Some(Source::Data(data)) if kind == TEXT => {
            json!({"type": "text", "media_type": "text/plain", "data": String::from_utf8_lossy(data)})
        }
        Some(Source::Data(data)) => json!({"type": "base64", "media_type": mimetype, "data": base64(data)}),
        Some(Source::Url(url)) if kind != TEXT => json!({"type": "url", "url": url}),
        Some(Source::Url(_)) => {
            let words = "texts cannot be named by address: send their bytes";
            return Err(InferenceError::invalid("messages.parts.media", words));
        }
        Some(Source::File(_)) | None => return Err(nowhere()),
    };
    if kind == IMAGE {
        return Ok(json!({"type": "image", "source": source}));
    }
    let mut block = json!({"type": "document", "source": source});
    if !media.file_name.is_empty() {
        block["title"] = media.file_name.clone().into();
    }
    Ok(block)
}
