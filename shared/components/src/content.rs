//! Bytes of what a component was given: a text, bytes in memory, a stored file, an address.

use bytes::Bytes;
use sre_engine::data::binary::{self, NeedsIo, Recognised, recognise};
use sre_engine::value::{Binary, Value};

use crate::binary_io;
use crate::context::{Call, ContextError, Failure};
use crate::wait;

/// The bytes of a value. Files are read as the running agent; addresses are fetched within the egress policy; a list
/// or an object that is no file is its JSON. `name` is the name of what has none.
///
/// # Errors
/// If there is nothing, several files, or the file or address cannot be read.
pub(crate) async fn bytes(call: Call<'_>, value: Option<&Value>, name: &str) -> Result<Binary, ContextError> {
    let invalid = |message: &str| ContextError::new(Failure::Invalid, message);
    let value = value.ok_or_else(|| invalid("there is nothing to read: connect the input"))?;
    if let Some(plain) = plain(value, name) {
        return Ok(plain);
    }
    match recognise(value, name) {
        Some(Recognised::Ready(Value::Binary(binary))) => Ok(binary.as_ref().clone()),
        Some(Recognised::Ready(file)) => {
            let url = file.get("url").and_then(Value::as_str).unwrap_or_default();
            wait::for_run(call, call.context.read_file(url)).await
        }
        Some(Recognised::Needs(NeedsIo::Stat { url })) => {
            wait::for_run(call, call.context.read_file(&url)).await
        }
        Some(Recognised::Needs(need)) => {
            match wait::for_run(call, binary_io::perform(call.context, &need)).await? {
                Value::Binary(binary) => Ok(binary.as_ref().clone()),
                _ => Err(invalid("this kind of value cannot be read as bytes")),
            }
        }
        Some(Recognised::List(_)) => {
            Err(invalid("these are several files: take them one by one with ForEach"))
        }
        None => Ok(json(value, name)),
    }
}

/// A value that is its own content: text that is no address, numbers and flags. Text is never decoded as base64
/// here: an input that shall be is typed Binary.
fn plain(value: &Value, name: &str) -> Option<Binary> {
    match value {
        Value::String(text) => {
            let is_data =
                binary::data_url(text.trim()).is_none() && binary::bare_base64(text.trim()).is_some();
            is_data.then(|| text_of(text, name))
        }
        Value::Number(_) | Value::Bool(_) => Some(text_of(&value.to_text(), name)),
        _ => None,
    }
}

fn text_of(text: &str, name: &str) -> Binary {
    binary::binary(name, Some("text/plain"), Bytes::copy_from_slice(text.as_bytes()))
}

fn json(value: &Value, name: &str) -> Binary {
    binary::binary(name, Some("application/json"), value.to_json_text().into_bytes().into())
}

/// True for a text that stands for something else: a stored file, an address to fetch, data.
pub(crate) fn is_address(text: &str) -> bool {
    let trimmed = text.trim();
    // The content of a text that is long is never an address.
    trimmed.len() <= MAX_ADDRESS_BYTES && !trimmed.contains(char::is_whitespace) && is_single(trimmed)
        || binary::data_url(trimmed).is_some()
}

/// The longest address.
const MAX_ADDRESS_BYTES: usize = 8_192;

fn is_single(text: &str) -> bool {
    let is_fetched = text.starts_with("http://") || text.starts_with("https://");
    (is_fetched || text.starts_with("smythfs://"))
        && matches!(recognise(&Value::from(text), "x"), Some(Recognised::Needs(_)))
}
