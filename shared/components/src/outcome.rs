//! Making outcomes.

use sre_engine::Outcome;
use sre_engine::value::{Map, Value};

/// An outcome with one value.
pub(crate) fn one(name: &str, value: impl Into<Value>) -> Outcome {
    values([(name, value.into())])
}

/// An outcome with some values.
pub(crate) fn values<const N: usize>(members: [(&str, Value); N]) -> Outcome {
    Outcome::output(map(members))
}

/// A failure beside values that exist all the same.
pub(crate) fn failed_with<const N: usize>(members: [(&str, Value); N], message: &str) -> Outcome {
    let mut map = map(members);
    map.insert("_error".into(), Value::from(message));
    Outcome::output(map)
}

fn map<const N: usize>(members: [(&str, Value); N]) -> Map {
    members.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// Turns the result of an inner function with `?` into an outcome.
pub(crate) fn or_error<E: std::fmt::Display>(result: Result<Outcome, E>) -> Outcome {
    result.unwrap_or_else(|error| Outcome::error(error.to_string()))
}
