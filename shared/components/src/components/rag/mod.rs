//! Texts of the team found by likeness: remembered, searched and forgotten in the namespaces of its agents.

mod cleaner;
mod indexer;
mod lookup;
mod source;

use sre_engine::template;
use sre_engine::value::Value;

use crate::context::{Call, ContextError, Failure};
use crate::settings;

pub use cleaner::DataSourceCleaner;
pub use indexer::DataSourceIndexer;
pub use lookup::DataSourceLookup;

const READ: &str = "sre.io.v1.VectorDb:read";
const WRITE: &str = "sre.io.v1.VectorDb:write";
const VAULT: &str = "sre.security.v1.Vault";
/// The longest name of a namespace.
const MAX_NAMESPACE: usize = 80;
const BAD_ID: &str = "Invalid id. Accepted characters: 'a-z', 'A-Z', '0-9', '-', '_', '.'";

fn invalid(message: impl Into<String>) -> ContextError {
    ContextError::new(Failure::Invalid, message)
}

/// The namespace that a setting names: the same one for all three components.
async fn namespace(call: Call<'_>, setting: &str) -> Result<String, ContextError> {
    let written = settings::render(call, &settings::text(call, setting)).await?;
    let name = resolved(written.trim(), &call.context.agent().team);
    if name.is_empty() {
        return Err(invalid("Namespace is required"));
    }
    Ok(name.to_owned())
}

/// A namespace's name without the team that older editors wrote in front of it, which is the team's id or a
/// generated one. Any other name is what it is, whatever underscores it has.
fn resolved<'a>(written: &'a str, team: &str) -> &'a str {
    let after_team = written.strip_prefix(team).and_then(|rest| rest.strip_prefix('_'));
    let after_cuid = || written.split_once('_').filter(|(prefix, _)| is_cuid(prefix)).map(|(_, rest)| rest);
    after_team
        .filter(|_| !team.is_empty())
        .or_else(after_cuid)
        .filter(|rest| !rest.is_empty())
        .unwrap_or(written)
}

/// `c` and 24 letters and digits.
fn is_cuid(text: &str) -> bool {
    text.len() == 25 && text.starts_with('c') && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The id of a text, rendered.
async fn id(call: Call<'_>) -> Result<String, ContextError> {
    let id = settings::render(call, &settings::text(call, "id")).await?;
    if id.is_empty() {
        return Err(invalid("Id is required"));
    }
    if !is_id(&id) {
        return Err(invalid(BAD_ID));
    }
    Ok(id)
}

fn is_id(id: &str) -> bool {
    id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// The check of the setting `id`: what holds a placeholder is checked when it is rendered.
fn check_id(value: &Value) -> Result<(), String> {
    match value.as_str() {
        Some(text) if !template::is_template(text) && !is_id(text) => Err(BAD_ID.to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d25_one_rule_for_namespaces() {
        for (written, name) in [
            ("my_docs", "my_docs"),
            ("docs", "docs"),
            ("team7_docs", "docs"),
            ("team7_my_docs", "my_docs"),
            ("team7_", "team7_"),
            ("other_docs", "other_docs"),
            ("clull3pxo0058dr1ov3ghg1ye_sdk_test", "sdk_test"),
            ("clull3pxo0058dr1ov3ghg1y_docs", "clull3pxo0058dr1ov3ghg1y_docs"),
            ("My Docs", "My Docs"),
        ] {
            assert_eq!(resolved(written, "team7"), name, "{written}");
        }
        assert_eq!(resolved("a_b_docs", "a_b"), "docs");
        assert_eq!(resolved("_docs", ""), "_docs");
    }

    #[test]
    fn ids_are_checked_early_where_they_can_be() {
        assert!(check_id(&Value::from("a-b_c.9")).is_ok() && check_id(&Value::from("{{id}}")).is_ok());
        assert_eq!(check_id(&Value::from("a/b")).unwrap_err(), BAD_ID);
    }
}
