//! Numbers as JavaScript prints them.

use serde_json::Number;

/// Largest magnitude up to which a float holds every integer.
const EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// A number from a float: integral values become integers; infinities and NaN have no JSON form.
pub fn number_from_f64(value: f64) -> Option<Number> {
    if value.fract() == 0.0 && value.abs() <= EXACT_INTEGER {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

/// `1.0` as `1`, anything else as it is.
pub fn integral(number: Number) -> Number {
    if !number.is_f64() {
        return number;
    }
    number.as_f64().and_then(number_from_f64).unwrap_or(number)
}

/// The text JavaScript prints for a number: `1e+21`, `1e-7`, `100000000000000000000`.
pub fn number_text(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() => float_text(value),
        _ => number.to_string(),
    }
}

fn float_text(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if (1e-6..1e21).contains(&magnitude) {
        // Display of a float never uses an exponent and is the shortest text that reads back.
        return format!("{value}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_javascript() {
        for (value, text) in [
            (1.0, "1"),
            (1.5, "1.5"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1.5e-7, "1.5e-7"),
            (0.000001, "0.000001"),
            (-2.5e30, "-2.5e+30"),
            (1337.42, "1337.42"),
        ] {
            assert_eq!(number_text(&number_from_f64(value).unwrap()), text);
        }
    }

    #[test]
    fn exact_integers_survive() {
        let big: Number = serde_json::from_str("9007199254740993").unwrap();
        assert_eq!(number_text(&integral(big)), "9007199254740993");
    }
}
