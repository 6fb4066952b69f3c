//! Conditions on rows.

use crate::features::{Features, NumberKey, Tag};

/// The most conditions of a filter, and how deep they may be nested.
const MAX_CONDITIONS: usize = 256;
const MAX_DEPTH: usize = 16;
/// The most bytes of a key, and of a value to compare with.
const MAX_KEY_BYTES: usize = 1024;
const MAX_TEXT_BYTES: usize = 65_535;

/// A condition on the features of rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// All of these hold; with none, it holds.
    All(Vec<Condition>),
    /// At least one of these holds; with none, it does not.
    Any(Vec<Condition>),
    /// The row has at least one of these tags.
    Tagged(Vec<Tag>),
    /// The row has a number under this key, within these bounds.
    Number(NumberKey, Bounds),
}

/// Bounds of a number; what is none does not bound.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Bounds {
    /// Greater than this.
    pub gt: Option<f64>,
    /// At least this.
    pub gte: Option<f64>,
    /// Less than this.
    pub lt: Option<f64>,
    /// At most this.
    pub lte: Option<f64>,
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// A string.
    Text(String),
    /// A number.
    Number(f64),
    /// A boolean.
    Boolean(bool),
}

/// Why a condition is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Nothing to compare with.
    #[error("compares with nothing: give a value")]
    Empty,
    /// A range without bounds.
    #[error("the range has no bound: give one")]
    NoBound,
    /// A bound or value that is no finite number.
    #[error("a number is not finite")]
    NotFinite,
    /// The key is empty or too long.
    #[error("a key has 1 to {MAX_KEY_BYTES} bytes")]
    Key,
    /// A value is too long.
    #[error("a value has {MAX_TEXT_BYTES} bytes at most")]
    Value,
    /// More than can be answered.
    #[error("has more than {MAX_CONDITIONS} conditions or is nested deeper than {MAX_DEPTH}: ask for less")]
    TooLarge,
}

impl Condition {
    /// The value under a key is one of these, or a list that holds one.
    pub fn one_of(key: &str, values: &[Scalar]) -> Result<Self, ConditionError> {
        check_key(key)?;
        if values.is_empty() {
            return Err(ConditionError::Empty);
        }
        let tags = values.iter().map(|value| match value {
            Scalar::Text(text) if text.len() > MAX_TEXT_BYTES => Err(ConditionError::Value),
            Scalar::Text(text) => Ok(Tag::text(key, text)),
            Scalar::Number(number) if !number.is_finite() => Err(ConditionError::NotFinite),
            Scalar::Number(number) => Ok(Tag::number(key, *number)),
            Scalar::Boolean(value) => Ok(Tag::boolean(key, *value)),
        });
        Ok(Self::Tagged(tags.collect::<Result<_, _>>()?))
    }

    /// The number under a key lies within bounds.
    pub fn range(key: &str, bounds: Bounds) -> Result<Self, ConditionError> {
        check_key(key)?;
        let given = [bounds.gt, bounds.gte, bounds.lt, bounds.lte];
        if given.iter().all(Option::is_none) {
            return Err(ConditionError::NoBound);
        }
        if given.iter().flatten().any(|bound| !bound.is_finite()) {
            return Err(ConditionError::NotFinite);
        }
        Ok(Self::Number(NumberKey::of(key), bounds))
    }

    /// There is a value under a key.
    pub fn exists(key: &str) -> Result<Self, ConditionError> {
        check_key(key)?;
        Ok(Self::Tagged(vec![Tag::exists(key)]))
    }

    /// Refuses what is too large to be answered.
    pub fn check(&self) -> Result<(), ConditionError> {
        if self.depth() > MAX_DEPTH || self.size() > MAX_CONDITIONS {
            return Err(ConditionError::TooLarge);
        }
        Ok(())
    }

    /// Whether it holds. This is what every backend must find.
    pub fn holds(&self, features: &Features) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(features)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(features)),
            Self::Tagged(tags) => tags.iter().any(|tag| features.has(*tag)),
            Self::Number(key, bounds) => features.number(*key).is_some_and(|number| bounds.hold(number)),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::All(inner) | Self::Any(inner) => 1 + inner.iter().map(Self::depth).max().unwrap_or(0),
            Self::Tagged(_) | Self::Number(..) => 1,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::All(inner) | Self::Any(inner) => 1 + inner.iter().map(Self::size).sum::<usize>(),
            Self::Tagged(_) | Self::Number(..) => 1,
        }
    }
}

impl Bounds {
    /// Whether a number lies within.
    pub fn hold(&self, number: f64) -> bool {
        self.gt.is_none_or(|bound| number > bound)
            && self.gte.is_none_or(|bound| number >= bound)
            && self.lt.is_none_or(|bound| number < bound)
            && self.lte.is_none_or(|bound| number <= bound)
    }
}

fn check_key(key: &str) -> Result<(), ConditionError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES { Err(ConditionError::Key) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn features(metadata: Value) -> Features {
        Features::of(metadata.as_object().unwrap(), "d").unwrap()
    }

    fn text(key: &str, value: &str) -> Condition {
        Condition::one_of(key, &[Scalar::Text(value.into())]).unwrap()
    }

    #[test]
    fn conditions_see_the_top_level_by_type() {
        let row =
            features(json!({"s": "x", "n": 2, "b": true, "l": ["p", "q"], "m": [1, 2], "o": {"s": "x"},
            "z": null}));
        let number = |n| Condition::one_of("n", &[Scalar::Number(n)]).unwrap();
        let range = |gt, lte| {
            Condition::range("n", Bounds { gt: Some(gt), lte: Some(lte), ..Bounds::default() }).unwrap()
        };
        for (holds, condition) in [
            (true, text("s", "x")),
            (false, text("s", "y")),
            (false, text("n", "2")),
            (true, number(2.0)),
            (false, number(2.5)),
            (true, Condition::one_of("b", &[Scalar::Boolean(true)]).unwrap()),
            (true, text("l", "q")),
            (false, text("o", "x")),
            (true, Condition::exists("o").unwrap()),
            (true, Condition::exists("m").unwrap()),
            (false, Condition::exists("z").unwrap()),
            (false, Condition::exists("absent").unwrap()),
            (true, range(1.0, 2.0)),
            (false, range(2.0, 9.0)),
            (true, Condition::All(vec![])),
            (false, Condition::Any(vec![])),
            (true, Condition::Any(vec![text("s", "y"), number(2.0)])),
            (false, Condition::All(vec![text("s", "y"), number(2.0)])),
            (true, Condition::Tagged(vec![Tag::datasource("d")])),
        ] {
            assert_eq!(condition.holds(&row), holds, "{condition:?}");
        }
    }

    #[test]
    fn keys_and_values_cannot_be_mistaken_for_each_other() {
        assert_ne!(Tag::text("a", "bc"), Tag::text("ab", "c"));
        assert_ne!(Tag::text("datasource", "d"), Tag::datasource("d"));
        assert_eq!(Tag::number("a", 0.0), Tag::number("a", -0.0));
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        assert_eq!(Condition::range("a", Bounds::default()), Err(ConditionError::NoBound));
        assert_eq!(Condition::one_of("a", &[Scalar::Number(f64::NAN)]), Err(ConditionError::NotFinite));
        assert_eq!(Condition::exists(""), Err(ConditionError::Key));
        assert_eq!(Condition::one_of("a", &[]), Err(ConditionError::Empty));
        let deep = (0..17).fold(text("a", "b"), |inner, _| Condition::All(vec![inner]));
        assert_eq!(deep.check(), Err(ConditionError::TooLarge));
        let wide = Condition::Any(vec![text("a", "b"); 256]);
        assert_eq!(wide.check(), Err(ConditionError::TooLarge));
        assert_eq!(Condition::Any(vec![text("a", "b"); 255]).check(), Ok(()));
    }
}
