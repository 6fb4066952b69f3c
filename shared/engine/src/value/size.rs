//! How large a value is when it is written out. Values share their parts, so one that is small in memory can be
//! endless on paper: a component that hands its input on twice doubles it each time.

use super::Value;

/// What any value takes: a comma, a bracket, a digit.
const LEAST_BYTES: usize = 2;

impl Value {
    /// Whether writing it out takes more than about so many bytes. Looks at no more than that.
    pub fn is_larger_than(&self, bytes: usize) -> bool {
        let mut left = bytes;
        let mut open = vec![self];
        while let Some(value) = open.pop() {
            let own = match value {
                Self::String(text) => text.len(),
                Self::Binary(binary) => binary.data.len(),
                Self::Object(map) => {
                    open.extend(map.values());
                    map.keys().map(|key| key.len() + LEAST_BYTES).sum()
                }
                Self::Array(items) => {
                    open.extend(items.iter());
                    0
                }
                Self::Null | Self::Bool(_) | Self::Number(_) => 0,
            };
            match left.checked_sub(own + LEAST_BYTES) {
                Some(rest) => left = rest,
                None => return true,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_counts_each_time() {
        let mut value = Value::from("text");
        assert!(!value.is_larger_than(6));
        assert!(value.is_larger_than(5));
        for _ in 0..200 {
            value = Value::array(vec![value.clone(), value]);
        }
        assert!(value.is_larger_than(1 << 20));
    }
}
