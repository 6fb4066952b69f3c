//! Files among values: bytes in memory, the object or address of a stored one, a data URL.

use sre_engine::data::binary as binaries;
use sre_engine::value::{Binary, Map, Value};

use crate::context::links::Links;
use crate::context::{Call, ContextError};

/// The scheme of stored files.
const STORED: &str = "smythfs://";

/// The address of a stored file that a value is.
pub(crate) fn stored(value: &Value) -> Option<&str> {
    let text = match value {
        Value::String(text) => text.as_ref(),
        Value::Object(map) => map.get("url")?.as_str()?,
        _ => return None,
    };
    text.starts_with(STORED).then_some(text)
}

/// The file a value is, read as the running agent; none where it is no file.
///
/// # Errors
/// If the file cannot be read.
pub(crate) async fn read(call: Call<'_>, value: Option<&Value>) -> Result<Option<Binary>, ContextError> {
    let Some(value) = value else { return Ok(None) };
    match value {
        Value::Binary(binary) => Ok(Some(binary.as_ref().clone())),
        Value::String(text) if text.starts_with("data:") => {
            let read = binaries::data_url(text);
            Ok(read.map(|(mimetype, bytes)| binaries::binary("file", Some(mimetype), bytes.into())))
        }
        _ => match stored(value) {
            Some(uri) => call.context.read_file(uri).await.map(Some),
            None => Ok(None),
        },
    }
}

/// The value with a link in place of each file, however deep. Bytes are stored first.
///
/// # Errors
/// If a file cannot be stored, or the agent may not read it.
pub(crate) async fn linked(
    call: Call<'_>,
    value: &Value,
    links: &mut Links<'_>,
) -> Result<Value, ContextError> {
    match value {
        Value::Binary(binary) => {
            let file = call.context.store_temp(binary).await?;
            let uri = stored(&file).unwrap_or_default().to_owned();
            links.link(&uri).await.map(Value::from)
        }
        Value::Object(map) => match stored(value) {
            Some(uri) => links.link(uri).await.map(Value::from),
            None => {
                let mut out = Map::with_capacity(map.len());
                for (name, member) in map.iter() {
                    out.insert(name.clone(), Box::pin(linked(call, member, links)).await?);
                }
                Ok(Value::object(out))
            }
        },
        Value::Array(items) => {
            let mut out = Vec::with_capacity(items.len());
            for item in items.iter() {
                out.push(Box::pin(linked(call, item, links)).await?);
            }
            Ok(Value::array(out))
        }
        plain => Ok(plain.clone()),
    }
}
