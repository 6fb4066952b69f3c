//! What is bound to a statement.

use super::value::{ToValue, Value};

/// Values by place or by name.
#[derive(Debug)]
pub enum Bound<'a> {
    /// The first is `?1`.
    Places(Vec<Value<'a>>),
    /// With the colon.
    Names(Vec<(&'static str, Value<'a>)>),
}

/// What can be bound to a statement: an array of one type, [`params!`](crate::params),
/// [`named_params!`](crate::named_params), or a list of values.
pub trait Params {
    /// As values.
    fn bound(&self) -> Bound<'_>;
}

impl<T: ToValue, const N: usize> Params for [T; N] {
    fn bound(&self) -> Bound<'_> {
        Bound::Places(self.iter().map(ToValue::to_value).collect())
    }
}

impl Params for Vec<Value<'_>> {
    fn bound(&self) -> Bound<'_> {
        Bound::Places(self.iter().map(ToValue::to_value).collect())
    }
}

/// By name: see [`named_params!`](crate::named_params).
#[derive(Debug)]
pub struct Named<'a, const N: usize>(pub [(&'static str, Value<'a>); N]);

impl<const N: usize> Params for Named<'_, N> {
    fn bound(&self) -> Bound<'_> {
        Bound::Names(self.0.iter().map(|(name, value)| (*name, value.to_value())).collect())
    }
}

/// Values of several types by place.
#[macro_export]
macro_rules! params {
    () => { [] as [$crate::sql::Value<'static>; 0] };
    ($($value:expr),+ $(,)?) => { [$($crate::sql::ToValue::to_value(&$value)),+] };
}

/// Values by name: `named_params! { ":team": team }`.
#[macro_export]
macro_rules! named_params {
    ($($name:literal: $value:expr),+ $(,)?) => {
        $crate::sql::Named([$(($name, $crate::sql::ToValue::to_value(&$value))),+])
    };
}
