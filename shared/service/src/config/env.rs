//! Texts from the environment and from flags, read as what their key takes.

use super::keys::{Kind, Node};

/// Reads a text as the value of a key. Lists may be written with commas, or as TOML.
pub(super) fn read(text: &str, kind: Kind) -> Result<toml::Value, String> {
    match kind {
        Kind::Text => Ok(toml::Value::String(text.to_owned())),
        Kind::List if !text.trim_start().starts_with('[') => Ok(toml::Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| toml::Value::String(item.to_owned()))
                .collect(),
        )),
        Kind::Bool => match text {
            "true" | "1" | "yes" | "on" => Ok(toml::Value::Boolean(true)),
            "false" | "0" | "no" | "off" => Ok(toml::Value::Boolean(false)),
            _ => Err(format!("{text:?} is neither true nor false")),
        },
        Kind::Number => parse(text).map_err(|_| format!("{text:?} is not a number")),
        Kind::List | Kind::Table => parse(text),
        Kind::Any => Ok(parse(text).unwrap_or_else(|_| toml::Value::String(text.to_owned()))),
    }
}

fn parse(text: &str) -> Result<toml::Value, String> {
    let mut table: toml::Table =
        toml::from_str(&format!("value = {text}")).map_err(|error| error.message().to_owned())?;
    table.remove("value").ok_or_else(|| "there is no value".to_owned())
}

/// What the key takes; anything for keys that are not known (they are reported afterwards).
pub(super) fn kind_of(root: Node<'_>, path: &[String]) -> Kind {
    let mut node = root;
    for name in path {
        match node.child(name) {
            Some(child) => node = child,
            None => return Kind::Any,
        }
    }
    node.kind()
}
