//! A body that runs as long as a condition holds, and carries a state from round to round.

use super::{Condition, Leaves, Next, count, object, whole};
use crate::node::Node;
use crate::value::{Map, Value};

/// Rounds of a Loop, unless it says otherwise, and at most.
pub(crate) const USUAL: u64 = 100;
pub(crate) const MOST: u64 = 100_000;

/// A loop with a condition.
#[derive(Debug)]
pub(crate) struct Repeat {
    condition: Condition,
    /// The first round needs no condition.
    tests_after: bool,
    most: usize,
    /// Reaching `most` is no failure.
    may_reach: bool,
    /// A failure in the body does not end it; the state stays.
    goes_on: bool,
}

impl Repeat {
    pub fn of(node: &Node, variables: &Map, most: usize) -> Self {
        Self {
            condition: Condition::of(node, variables),
            tests_after: node.text_setting("test") == Some("after"),
            most: (whole(node, "maxIterations", USUAL, MOST).max(1) as usize).min(most),
            may_reach: node.text_setting("onLimit") == Some("stop"),
            goes_on: node.text_setting("onError") == Some("continue"),
        }
    }

    /// Whether there is a first round.
    pub fn begins_with(&self, state: &Value) -> bool {
        self.most > 0 && (self.tests_after || self.condition.holds(state))
    }

    /// Its output after so many rounds.
    pub fn ended(&self, state: Value, rounds: usize) -> Value {
        object([("Result", state), ("Iterations", count(rounds))])
    }

    pub fn after(&self, index: usize, state: &Value, leaves: &Leaves<'_>) -> Next {
        let rounds = index + 1;
        let failed = leaves.problems().next();
        let state = match failed {
            Some(problem) if !self.goes_on => {
                let why = format!("round {rounds}: {}", problem.message);
                return Next::Done(broken(why, state.clone(), rounds));
            }
            // What a body without an end gives is nothing, and no new state.
            Some(_) => state.clone(),
            None if leaves.is_empty() => state.clone(),
            None => leaves.value(),
        };
        if !self.condition.holds(&state) {
            return Next::Done(self.ended(state, rounds));
        }
        if rounds < self.most {
            return Next::Again(state);
        }
        if self.may_reach {
            return Next::Done(self.ended(state, rounds));
        }
        let why = format!("the loop's condition still holds after {rounds} rounds, the most it may take");
        Next::Done(broken(why, state, rounds))
    }
}

fn broken(why: String, state: Value, rounds: usize) -> Value {
    object([("_error", Value::from(why)), ("Result", state), ("Iterations", count(rounds))])
}
