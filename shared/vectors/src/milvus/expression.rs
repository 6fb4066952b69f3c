//! Conditions as Milvus' expressions: digits of our own and numbers, never a text that somebody wrote.

use super::columns::{GENERATION, KEY, NUMBERS, TAGS};
use crate::features::Tag;
use crate::filter::Condition;
use crate::model::{Generation, Query};

/// The expression of a search.
pub fn search_expression(query: &Query) -> String {
    let mut parts = vec![format!("{GENERATION} < {}", query.visibility.below)];
    if !query.visibility.except.is_empty() {
        let except: Vec<String> = query.visibility.except.iter().map(ToString::to_string).collect();
        parts.push(format!("{GENERATION} not in [{}]", except.join(", ")));
    }
    if let Some(condition) = &query.condition {
        parts.push(expression(condition));
    }
    parts.join(" and ")
}

/// The generation is this.
pub fn generation_is(generation: Generation) -> String {
    format!("{GENERATION} == {generation}")
}

/// The key is one of these: hex digits each.
pub fn key_is(keys: impl IntoIterator<Item = String>) -> String {
    format!("{KEY} in [{}]", quoted(keys))
}

fn expression(condition: &Condition) -> String {
    let joined = |inner: &[Condition], word: &str, none: &str| match inner {
        [] => none.to_owned(),
        inner => format!("({})", inner.iter().map(expression).collect::<Vec<_>>().join(word)),
    };
    match condition {
        Condition::All(inner) => joined(inner, " and ", &format!("{GENERATION} >= 0")),
        Condition::Any(inner) => joined(inner, " or ", &format!("{GENERATION} < 0")),
        Condition::Tagged(tags) => {
            format!("array_contains_any({TAGS}, [{}])", quoted(tags.iter().map(Tag::hex)))
        }
        Condition::Number(key, bounds) => {
            let number = format!("{NUMBERS}[\"{}\"]", key.name());
            let bounds = [(bounds.gt, ">"), (bounds.gte, ">="), (bounds.lt, "<"), (bounds.lte, "<=")];
            let all: Vec<String> = bounds
                .into_iter()
                .filter_map(|(bound, operator)| bound.map(|bound| (bound, operator)))
                .map(|(bound, operator)| format!("{number} {operator} {bound:?}"))
                .collect();
            format!("({})", all.join(" and "))
        }
    }
}

fn quoted(digits: impl IntoIterator<Item = String>) -> String {
    digits.into_iter().map(|digits| format!("\"{digits}\"")).collect::<Vec<_>>().join(", ")
}
