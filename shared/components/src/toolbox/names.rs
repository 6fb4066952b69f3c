//! Names of tools that every provider of models takes.

use std::collections::HashSet;

/// The longest.
const LONGEST: usize = 64;

/// A name of letters, digits, `_` and `-` that nothing else has yet.
pub(crate) fn unique(name: &str, taken: &mut HashSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    let base: String = name.chars().map(plain).take(LONGEST).collect();
    let base = if base.is_empty() { "tool".to_owned() } else { base };
    let mut unique = base.clone();
    let mut number = 2;
    while !taken.insert(unique.clone()) {
        let suffix = format!("_{number}");
        unique = format!("{}{suffix}", base.chars().take(LONGEST - suffix.len()).collect::<String>());
        number += 1;
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_short_and_each_there_once() {
        let mut taken = HashSet::new();
        assert_eq!(unique("a/b", &mut taken), "a_b");
        assert_eq!(unique("a.b", &mut taken), "a_b_2");
        let long = "x".repeat(100);
        assert_eq!(unique(&long, &mut taken).len(), 64);
        assert_eq!(unique(&long, &mut taken).len(), 64);
        assert_eq!(unique("", &mut taken), "tool");
    }
}
