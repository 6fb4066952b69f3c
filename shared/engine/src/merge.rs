//! How several values meet on one input.

use std::sync::Arc;

use crate::value::{Map, Value};

/// Adds a value to an input: the first is kept as it is, each further one is appended to a list. A list
/// that ends up with one element is that element.
pub fn merge_into(inputs: &mut Map, name: &Arc<str>, value: Value) {
    match inputs.get_mut(name) {
        None => {
            inputs.insert(name.clone(), value);
        }
        Some(held) => *held = merge(std::mem::take(held), value),
    }
}

fn merge(held: Value, value: Value) -> Value {
    let mut items = match held {
        Value::Array(mut items) => {
            // A list that arrived as a value is shared with its source; only then this copies.
            Arc::make_mut(&mut items).push(value);
            items
        }
        single => Arc::new(vec![single, value]),
    };
    if items.len() > 1 {
        return Value::Array(items);
    }
    Arc::make_mut(&mut items).pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_of_the_spec() {
        for (values, merged) in [
            (json!([1]), json!(1)),
            (json!([1, 1]), json!([1, 1])),
            (json!([[1, 2], [3]]), json!([1, 2, [3]])),
            (json!([5, [3, 4]]), json!([5, [3, 4]])),
            (json!([[], 5]), json!(5)),
            (json!([null, 2]), json!([null, 2])),
            (json!([1, 2, 3]), json!([1, 2, 3])),
        ] {
            let mut inputs = Map::new();
            for value in values.as_array().unwrap() {
                merge_into(&mut inputs, &"x".into(), Value::from(value));
            }
            assert_eq!(inputs["x"], Value::from(merged), "{values}");
        }
    }
}
