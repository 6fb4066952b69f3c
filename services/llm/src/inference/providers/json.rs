//! Reading JSON that a stranger wrote: whatever it is, nothing panics.

use serde_json::Value;

/// A member, taken out; null where there is none.
pub fn take(value: &mut Value, name: &str) -> Value {
    value.get_mut(name).map(Value::take).unwrap_or_default()
}
