//! What entries of the catalogue say for clouds.

use serde_json::Value;

use crate::models::Resolved;

/// A setting that is a text and not empty: in the entry's settings, under whichever of the names.
pub fn setting<'m>(model: &'m Resolved, names: &[&str]) -> Option<&'m str> {
    names
        .iter()
        .filter_map(|name| model.settings.get(*name).and_then(Value::as_str))
        .map(str::trim)
        .find(|text| !text.is_empty())
}
