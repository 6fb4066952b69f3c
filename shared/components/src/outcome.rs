//! Making outcomes.

use sre_engine::value::{Map, Value};
use sre_engine::{ERROR_DETAILS, Outcome};

use crate::context::ContextError;

/// A failure that may have more to say than its text: the status and the body of a refusal, what code threw.
#[derive(Debug, PartialEq)]
pub(crate) struct Failed {
    message: String,
    details: Option<Value>,
}

impl Failed {
    /// A failure with its details.
    pub(crate) fn with(message: impl Into<String>, details: Option<Value>) -> Self {
        Self { message: message.into(), details }
    }

    /// The same details under another text.
    pub(crate) fn told(self, tell: impl FnOnce(String) -> String) -> Self {
        Self { message: tell(self.message), details: self.details }
    }
}

impl From<String> for Failed {
    fn from(message: String) -> Self {
        Self { message, details: None }
    }
}

impl From<&str> for Failed {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl From<ContextError> for Failed {
    fn from(error: ContextError) -> Self {
        error.message.into()
    }
}

impl From<Failed> for Outcome {
    fn from(failed: Failed) -> Self {
        let mut map: Map = [("_error".into(), Value::from(failed.message))].into();
        map.extend(failed.details.map(|details| (ERROR_DETAILS.into(), details)));
        Self::output(map)
    }
}

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

/// The same for failures with details.
pub(crate) fn or_failed(result: Result<Outcome, Failed>) -> Outcome {
    result.unwrap_or_else(Outcome::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_stand_beside_the_text() {
        let failed = Failed::with("no", Some(Value::from(404))).told(|text| format!("it said: {text}"));
        let outcome = Value::object(
            [("_error".into(), "it said: no".into()), (ERROR_DETAILS.into(), 404.into())].into(),
        );
        assert_eq!(or_failed(Err(failed)).output, Some(outcome));
        assert_eq!(or_failed(Err("no".into())), Outcome::error("no"));
    }
}
