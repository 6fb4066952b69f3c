//! The logic components: each counts how many of its declared inputs are set.

mod and;
mod at_least;
mod at_most;
mod or;
mod xor;

pub use and::LogicAnd;
pub use at_least::LogicAtLeast;
pub use at_most::LogicAtMost;
pub use or::LogicOr;
use sre_engine::Outcome;
use sre_engine::spec::PortSpec;
use sre_engine::value::{Map, Value};
pub use xor::LogicXor;

use crate::context::Call;
use crate::outcome::one;
use crate::settings;

/// The native outputs of every logic component.
const OUTPUTS: &[PortSpec] = &[
    PortSpec::new("Output", "Boolean", "true, if the condition holds"),
    PortSpec::new("Verified", "Boolean", "true, if the condition holds"),
    PortSpec::new("Unverified", "Boolean", "true, if it does not"),
];

/// How many inputs are declared, and how many of them are set.
struct Count {
    declared: usize,
    set: usize,
}

fn count(call: Call<'_>) -> Count {
    let ports = &call.node.inputs;
    let set = ports.iter().filter(|port| call.get(&port.name).is_some_and(Value::truthy)).count();
    Count { declared: ports.len(), set }
}

fn verdict(holds: bool) -> Outcome {
    match holds {
        true => {
            Outcome::output(Map::from_iter(["Output", "Verified"].map(|name| (name.into(), true.into()))))
        }
        false => one("Unverified", true),
    }
}

/// The verdict over a limit from a setting; none at all if the limit cannot be used.
fn limited(call: Call<'_>, setting: &str, holds: fn(set: f64, limit: f64) -> bool) -> Outcome {
    let count = count(call);
    // Counts are small, so they are exact as floats.
    let [declared, set] = [count.declared, count.set].map(|n| u32::try_from(n).map_or(f64::MAX, f64::from));
    match settings::number(call, setting) {
        Some(limit) if limit <= declared => verdict(holds(set, limit)),
        _ => Outcome::output(Map::new()),
    }
}

/// Refuses what is no number from 0 to 9; other text passes and gives no verdict, as in the reference.
fn check_limit(label: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) if text.is_empty() => Err(format!("\"{label}\" is not allowed to be empty")),
        Value::String(_) | Value::Number(_) => match value.to_f64_lenient() {
            Some(number) if !(0.0..=9.0).contains(&number) => Err(format!(
                "\"{label}\" failed custom validation because The value for '{label}' must be from 0 to 9"
            )),
            _ => Ok(()),
        },
        _ => Err(format!("\"{label}\" must be one of [string, number]")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_single_digits() {
        let check = |value: serde_json::Value| check_limit("Minimum Inputs", &Value::from(value));
        for good in [serde_json::json!("2"), serde_json::json!(0), serde_json::json!("x")] {
            assert_eq!(check(good.clone()), Ok(()), "{good}");
        }
        assert_eq!(check("".into()).unwrap_err(), "\"Minimum Inputs\" is not allowed to be empty");
        assert!(check(10.into()).unwrap_err().contains("must be from 0 to 9"));
        assert!(check("-1".into()).unwrap_err().contains("must be from 0 to 9"));
    }
}
