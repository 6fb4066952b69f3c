//! Reading what a stranger wrote: whatever it is, nothing panics.

use serde_json::Value;

/// A member, taken out; null where there is none.
pub fn take(value: &mut Value, name: &str) -> Value {
    value.get_mut(name).map(Value::take).unwrap_or_default()
}

/// Figures of a stranger, added up.
pub fn sum<const N: usize>(figures: [i64; N]) -> i64 {
    figures.into_iter().fold(0, i64::saturating_add)
}
