//! What an activation is sent: inputs, and the settings that the type declares, rendered.

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Map as JsonMap, Value as Json};
use sre_engine::spec::SettingSpec;
use sre_engine::value::{Map, Value};

use super::Declaration;
use super::binary::members_to_json;
use crate::context::{Call, ContextError, Failure};
use crate::settings::render;

/// Inputs and settings as JSON objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The inputs.
    pub inputs: Bytes,
    /// The settings.
    pub settings: Bytes,
}

/// Renders what a component is sent: its inputs, whatever the record declares, and of its settings those that its
/// type declares. Secrets come along where such a setting names them, and nowhere else.
///
/// # Errors
/// What is missing or wrong, in words for `_error`.
pub async fn render_call(
    call: Call<'_>,
    declared: &Declaration,
    max_bytes: usize,
) -> Result<Rendered, ContextError> {
    let inputs = inputs(&call.declared(), declared)?;
    let mut settings = JsonMap::new();
    for spec in declared.entry.spec.settings {
        let Some(value) = call.node.setting(spec.name) else { continue };
        let value = if spec.template { rendered(call, value).await? } else { value.clone() };
        check_setting(declared, spec, &value)?;
        settings.insert(spec.name.to_owned(), Json::from(&value));
    }
    let rendered = Rendered { inputs: text(&inputs), settings: text(&settings) };
    let size = rendered.inputs.len() + rendered.settings.len();
    let limit = declared.bounds.input_bytes.map_or(max_bytes, |own| own.min(max_bytes));
    if size > limit {
        return Err(invalid(format!(
            "{}: its inputs are {size} bytes, and {limit} is the most that it takes",
            declared.name()
        )));
    }
    Ok(rendered)
}

fn inputs(given: &Map, declared: &Declaration) -> Result<JsonMap<String, Json>, ContextError> {
    let json = members_to_json(given);
    for (port, schema) in declared.entry.spec.inputs.iter().zip(&declared.input_schemas) {
        match (json.get(port.name), schema) {
            (None, _) if !port.optional => {
                return Err(invalid(format!("{}: input '{}' is missing", declared.name(), port.name)));
            }
            (Some(value), Some(schema)) => schema
                .check_json(value)
                .map_err(|detail| invalid(format!("{}: input '{}' {detail}", declared.name(), port.name)))?,
            _ => {}
        }
    }
    Ok(json)
}

/// A template was not held to the schema before.
fn check_setting(declared: &Declaration, spec: &SettingSpec, value: &Value) -> Result<(), ContextError> {
    let checked = spec.schema.filter(|_| spec.template).map_or(Ok(()), |schema| schema.check(value));
    checked.map_err(|detail| invalid(format!("{}: setting '{}' {detail}", declared.name(), spec.name)))
}

/// A value with every text in it rendered.
fn rendered<'a>(call: Call<'a>, value: &'a Value) -> BoxFuture<'a, Result<Value, ContextError>> {
    Box::pin(async move {
        Ok(match value {
            Value::String(text) => Value::from(render(call, text).await?),
            Value::Array(items) => {
                let mut done = Vec::with_capacity(items.len());
                for item in items.iter() {
                    done.push(rendered(call, item).await?);
                }
                Value::array(done)
            }
            Value::Object(map) => {
                let mut done = Map::with_capacity(map.len());
                for (name, value) in map.iter() {
                    done.insert(name.clone(), rendered(call, value).await?);
                }
                Value::object(done)
            }
            plain => plain.clone(),
        })
    })
}

fn text(members: &JsonMap<String, Json>) -> Bytes {
    // Writing JSON to memory does not fail; an empty object would be noticed at once.
    serde_json::to_vec(members).unwrap_or_else(|_| b"{}".to_vec()).into()
}

fn invalid(message: String) -> ContextError {
    ContextError::new(Failure::Invalid, message)
}
