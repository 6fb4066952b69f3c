//! Values with bytes in them, as they travel to a component and back: `{mimetype, size, name, data}`, the data in
//! base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use sre_engine::value::{Binary, Map, Value};

/// A value with its bytes.
pub(super) fn to_json(value: &Value) -> Json {
    match value {
        Value::Binary(binary) => json!({
            "mimetype": binary.mimetype.as_ref(),
            "size": binary.data.len(),
            "name": binary.name.as_ref(),
            "data": STANDARD.encode(&binary.data),
        }),
        Value::Array(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Object(map) => Json::Object(members_to_json(map)),
        plain => Json::from(plain),
    }
}

/// The members of an object with their bytes.
pub(super) fn members_to_json(map: &Map) -> serde_json::Map<String, Json> {
    map.iter().map(|(name, value)| (name.to_string(), to_json(value))).collect()
}

/// The bytes that a value of a binary output stands for; none where it is something else, for example the address of
/// a file that is stored already.
pub(super) fn bytes_of(value: &Json) -> Result<Option<Binary>, String> {
    let Some(data) = value.get("data").and_then(Json::as_str) else { return Ok(None) };
    let data = STANDARD.decode(data).map_err(|_| "has data that is not base64".to_owned())?;
    let text = |member: &str, otherwise: &str| {
        let found = value.get(member).and_then(Json::as_str).filter(|text| !text.is_empty());
        found.unwrap_or(otherwise).to_owned()
    };
    let name = text("name", "output");
    if name.contains(['/', '\\', '\0']) || name == ".." || name == "." {
        return Err("has a name that leads out of its folder".to_owned());
    }
    Ok(Some(Binary {
        name: name.into(),
        mimetype: text("mimetype", "application/octet-stream").into(),
        data: data.into(),
    }))
}
