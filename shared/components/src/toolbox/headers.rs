//! Headers that an author sets for a server: names and values between them, values are templates that may name vault
//! keys.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use sre_engine::data::permissive_json;
use sre_engine::value::{Map, Value};

use crate::context::Call;
use crate::settings;

/// Headers that one server gets.
const MOST: usize = 32;

/// The headers of a setting, rendered.
///
/// # Errors
/// What is wrong with one; a value is never shown.
pub(crate) async fn of_setting(call: Call<'_>, name: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, template) in &members(call, name)? {
        let header = HeaderName::try_from(name.trim())
            .map_err(|_| format!("{name:?} is no name of a header: letters, digits and dashes"))?;
        if is_reserved(&header) {
            return Err(format!("the header {header} is set by the client itself: leave it out"));
        }
        let text = settings::render(call, &template.to_text()).await.map_err(|error| error.message)?;
        let value = HeaderValue::from_str(text.trim());
        let mut value =
            value.map_err(|_| format!("the header {header} has characters that no header can carry"))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn members(call: Call<'_>, name: &str) -> Result<Map, String> {
    let wrong = || format!("{name} is an object of names and values, for example {{\"x-api-key\": \"...\"}}");
    let members = match call.node.setting(name) {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Map::new()),
        Some(Value::String(text)) => permissive_json::parse(text).ok_or_else(wrong)?,
        Some(value) => value.clone(),
    };
    let members = members.as_object().cloned().ok_or_else(wrong)?;
    match members.len() <= MOST {
        true => Ok(members),
        false => Err(format!("{name} has {} headers, and {MOST} is the most", members.len())),
    }
}

/// Headers that decide how a message is framed or read.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    let own = [
        ACCEPT,
        ACCEPT_ENCODING,
        CONNECTION,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        HOST,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    own.contains(name) || name.as_str().starts_with("mcp-") || name.as_str() == "last-event-id"
}
