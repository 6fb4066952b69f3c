//! What is indexed: a text as it is, or the text of a document.

use sre_engine::value::Value;

use super::invalid;
use crate::context::{Call, ContextError};
use crate::{content, extraction};

/// The most bytes that one id holds.
const MAX_TEXT_BYTES: usize = 10 << 20;
/// The longest name of a source.
const MAX_NAME_BYTES: usize = 2_000;
/// What the reference says where there is nothing.
const MISSING: &str = "Input validation error: ValidationError: \"Source\" is required\n EXITING...";

/// A text, and where it is from.
pub(super) struct Source {
    pub text: String,
    /// File name or address; empty for a text that came as such.
    pub origin: String,
    /// Where pages begin, in characters, and their numbers.
    pub pages: Vec<(u64, u32)>,
}

/// Reads the input `Source`.
pub(super) async fn read(call: Call<'_>, label: &str) -> Result<Source, ContextError> {
    let value = match call.get("Source") {
        None | Some(Value::Null) => return Err(invalid(MISSING)),
        Some(value) => value,
    };
    let source = match value.as_str().filter(|text| !content::is_address(text)) {
        Some(text) => Source { text: text.to_owned(), origin: String::new(), pages: Vec::new() },
        None => of_document(call, value, label).await?,
    };
    if source.text.trim().is_empty() {
        return Err(invalid("the source has no text to index"));
    }
    if source.text.len() > MAX_TEXT_BYTES {
        return Err(invalid(format!(
            "the source has more than {MAX_TEXT_BYTES} bytes of text: index it in parts"
        )));
    }
    Ok(source)
}

async fn of_document(call: Call<'_>, value: &Value, label: &str) -> Result<Source, ContextError> {
    let address = value.as_str().filter(|text| !text.starts_with("data:"));
    let name = if label.is_empty() { "source" } else { label };
    let binary = content::bytes(call, Some(value), name).await?;
    let origin = address.map_or_else(|| binary.name.to_string(), str::to_owned);
    let document = extraction::extract(call, &binary, extraction::whole()).await?;
    if document.truncated {
        return Err(invalid("the document is larger than what is read of one: index it in parts"));
    }
    let pages =
        document.parts.iter().filter(|part| part.is_page).map(|part| (part.start as u64, part.number));
    Ok(Source { pages: pages.collect(), text: document.text, origin })
}

/// What citations call a text: the first of these names that says something, as long as it may be.
pub(super) fn told(names: [String; 3]) -> String {
    let name = names.into_iter().find(|name| !name.trim().is_empty()).unwrap_or_default();
    let tame: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    tame[..tame.floor_char_boundary(MAX_NAME_BYTES)].trim().to_owned()
}
