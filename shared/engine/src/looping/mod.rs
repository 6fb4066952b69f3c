//! What components with a body do with it: a loop over elements, a map of several at a time, a loop with a
//! condition, attempts, a handler of failures. Runs and debug sessions share this; how a body is run is theirs.

mod attempts;
mod catch;
mod condition;
mod each;
mod leaves;
mod repeat;

pub(crate) use attempts::{Attempts, check_pattern};
pub(crate) use catch::{Catch, check_mappings};
pub(crate) use condition::{Condition, OPERATORS};
pub(crate) use each::{Each, elements};
pub(crate) use leaves::{Leaves, Problem};
pub(crate) use repeat::Repeat;

use std::sync::Arc;

use crate::node::Node;
use crate::prepare::error_output;
use crate::spec::Flow;
use crate::value::{Map, Value};

/// What a component does with its body.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Once per element.
    Each(Each),
    /// As long as a condition holds.
    Repeat(Repeat),
    /// Until it succeeds.
    Attempts(Attempts),
    /// Once, and what fails is handled.
    Catch(Catch),
}

/// How a component with a body begins.
pub(crate) enum Begin {
    /// With elements to hand to the body; of all kinds but [`Each`] it is one, which may change.
    Elements(Arc<Vec<Value>>),
    /// It has ended already.
    Done(Value),
}

/// What follows a round of the body.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// Another one, with this value.
    Again(Value),
    /// After a pause of so many milliseconds another one, with the same value.
    Pause(u64),
    /// The component's own output.
    Done(Value),
}

impl Kind {
    /// What a record says. `most` bounds the rounds of any body.
    pub fn of(node: &Node, variables: &Map, most: usize) -> Self {
        match node.entry.map(|entry| entry.spec.flow) {
            Some(Flow::While) => Self::Repeat(Repeat::of(node, variables, most)),
            Some(Flow::Retry) => Self::Attempts(Attempts::of(node)),
            Some(Flow::Catch) => Self::Catch(Catch::of(node)),
            Some(Flow::Map) => Self::Each(Each::map(node)),
            Some(Flow::Trigger) => Self::Each(Each::payloads()),
            _ => Self::Each(Each::for_each(node)),
        }
    }

    /// How it begins with an input.
    pub fn begin(&self, input: Option<&Value>, most: usize) -> Begin {
        let given = || Arc::new(vec![input.cloned().unwrap_or_default()]);
        match self {
            Self::Each(_) => {
                let elements = elements(input);
                if elements.len() > most {
                    let message = format!("the loop has {} elements, the limit is {most}", elements.len());
                    return Begin::Done(error_output(message));
                }
                Begin::Elements(elements)
            }
            Self::Repeat(repeat) => {
                let given = given();
                match repeat.begins_with(&given[0]) {
                    true => Begin::Elements(given),
                    false => Begin::Done(repeat.ended(given[0].clone(), 0)),
                }
            }
            Self::Attempts(_) | Self::Catch(_) => Begin::Elements(given()),
        }
    }

    /// What it gives where nothing is connected to its body.
    pub fn without_body(&self, elements: &Arc<Vec<Value>>) -> Value {
        let first = || elements.first().cloned().unwrap_or_default();
        match self {
            // Every element is its own result.
            Self::Each(each) => each.ended(elements.to_vec(), Vec::new()),
            Self::Repeat(repeat) => repeat.ended(first(), 0),
            Self::Attempts(_) | Self::Catch(_) => object([("Result", first())]),
        }
    }

    /// What the body gets in a round.
    pub fn offer(&self, index: usize, value: Value) -> Map {
        match self {
            Self::Each(each) if each.is_map => members_of([("Item", value), ("Index", count(index))]),
            Self::Each(each) => members_of([(each.offered, value)]),
            Self::Repeat(_) => members_of([("State", value), ("Index", count(index))]),
            Self::Attempts(_) => members_of([("Attempt", value), ("Number", count(index + 1))]),
            Self::Catch(_) => members_of([("Try", value)]),
        }
    }

    /// What follows the round `index` of a body that ran with `value`; not for [`Each`]. `errors` are the messages
    /// of earlier rounds, and `seed` makes the jitter of a pause.
    pub fn after(
        &self,
        index: usize,
        value: &Value,
        errors: &mut Vec<Value>,
        leaves: &Leaves<'_>,
        seed: &dyn Fn() -> u64,
    ) -> Next {
        match self {
            Self::Each(_) => Next::Done(object([])),
            Self::Repeat(repeat) => repeat.after(index, value, leaves),
            Self::Attempts(attempts) => attempts.after(index, errors, leaves, seed),
            Self::Catch(catch) => Next::Done(catch.ended(value, leaves)),
        }
    }

    /// Whether rounds of the body do not wait for each other.
    pub fn is_map(&self) -> bool {
        matches!(self, Self::Each(each) if each.is_map)
    }

    /// Rounds of the body that may be under way at a time.
    pub fn at_a_time(&self) -> usize {
        match self {
            Self::Each(each) => each.at_a_time,
            _ => 1,
        }
    }
}

/// An output with some members.
pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::object(members_of(members))
}

fn members_of<const N: usize>(members: [(&str, Value); N]) -> Map {
    members.into_iter().map(|(name, value)| (name.into(), value)).collect()
}

/// A number of things.
pub(crate) fn count(number: usize) -> Value {
    Value::Number(number.into())
}

/// A whole number of a setting, written as a number or as text.
fn whole(node: &Node, name: &str, default: u64, most: u64) -> u64 {
    let number = node.setting(name).and_then(Value::to_f64_lenient).filter(|number| *number >= 0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates, as wanted"
    )]
    number.map_or(default, |number| number as u64).min(most)
}

/// Whether a setting is on.
fn flag(node: &Node, name: &str) -> bool {
    node.setting(name).and_then(Value::to_bool_lenient).unwrap_or(false)
}
