//! Files in the body of a call: what a model names by its address, or gives as a data URL, is sent as bytes.

use std::collections::BTreeMap;

use serde_json::Value;
use sre_engine::value::Binary;

use super::operations::{BODY, Operation};
use crate::context::Call;
use crate::{files, wait};

/// Files of one call, and their bytes.
const MOST: usize = 32;
const MOST_BYTES: usize = 64 << 20;

/// The files of a call's body by the field that holds them; under the empty name the body itself, where it is one.
pub(super) type Files = BTreeMap<String, Vec<Binary>>;

/// Reads the files that a body names, as the running agent.
pub(super) async fn of(
    call: Call<'_>,
    operation: &Operation,
    arguments: &serde_json::Map<String, Value>,
) -> Result<Files, String> {
    let Some(body) = arguments.get(BODY) else { return Ok(Files::new()) };
    let fields: Vec<(&str, &Value)> = match (operation.body.as_deref(), body) {
        (Some("multipart/form-data"), Value::Object(fields)) => {
            fields.iter().map(|(name, value)| (name.as_str(), value)).collect()
        }
        // In JSON and in forms of texts an address is a text like others.
        (Some(media_type), _) if holds_bytes(media_type) => vec![("", body)],
        _ => Vec::new(),
    };
    let (mut found, mut count, mut bytes) = (Files::new(), 0, 0);
    for (name, value) in fields {
        let values = match value {
            Value::Array(items) if !items.is_empty() && items.iter().all(names_file) => items.as_slice(),
            one if names_file(one) => std::slice::from_ref(one),
            _ => continue,
        };
        for value in values {
            count += 1;
            let Some(file) = read(call, value).await? else {
                return Err(format!(
                    "{} is no data URL that can be read",
                    if name.is_empty() { BODY } else { name }
                ));
            };
            bytes += file.data.len();
            if count > MOST || bytes > MOST_BYTES {
                return Err(format!(
                    "the files are more than {MOST}, or more than {MOST_BYTES} bytes: send fewer"
                ));
            }
            found.entry(name.to_owned()).or_default().push(file);
        }
    }
    Ok(found)
}

/// Media types whose body is neither JSON nor a form nor a text.
fn holds_bytes(media_type: &str) -> bool {
    !media_type.contains("json")
        && media_type != "application/x-www-form-urlencoded"
        && !media_type.starts_with("text/")
}

fn names_file(value: &Value) -> bool {
    let text = value.as_str().or_else(|| value.get("url")?.as_str()).unwrap_or_default();
    text.starts_with("smythfs://") || text.starts_with("data:") && text.contains(',')
}

async fn read(call: Call<'_>, value: &Value) -> Result<Option<Binary>, String> {
    // An object that holds a data URL is its file too, under the name that it has.
    let url = value.get("url").filter(|url| url.as_str().is_some_and(|url| url.starts_with("data:")));
    let named = sre_engine::value::Value::from(url.unwrap_or(value));
    let mut file =
        wait::for_run(call, files::read(call, Some(&named))).await.map_err(|error| error.message)?;
    if let (Some(file), Some(name)) = (&mut file, value.get("name").and_then(Value::as_str)) {
        file.name = name.into();
    }
    Ok(file)
}

/// Says in the schema of a form which fields are files, so that a model knows how to name one.
pub(super) fn describe(schema: &mut Value) {
    const HOW: &str = "a file: its smythfs:// address, or a data URL";
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for property in properties.values_mut() {
        let file = if property.get("items").is_some_and(is_file) {
            property.get_mut("items")
        } else {
            Some(property)
        };
        if let Some(file) = file.filter(|file| is_file(file)) {
            let said = file.get("description").and_then(Value::as_str).unwrap_or_default();
            let description = if said.is_empty() { HOW.to_owned() } else { format!("{said} ({HOW})") };
            file["description"] = description.into();
        }
    }
}

/// `format: binary` of OpenAPI 3.0, a media type of its own of 3.1.
fn is_file(schema: &Value) -> bool {
    schema.get("format").is_some_and(|format| format == "binary") || schema.get("contentMediaType").is_some()
}
