//! A body that runs until it succeeds, with pauses between the attempts.

use regex::{Regex, RegexBuilder};

use super::{Leaves, Next, count, flag, object, whole};
use crate::node::Node;
use crate::value::Value;

/// Attempts of a Retry, unless it says otherwise, and at most.
pub(crate) const USUAL: u64 = 3;
pub(crate) const MOST: u64 = 100;
/// Milliseconds before the second attempt, and between any two at most.
pub(crate) const USUAL_DELAY_MS: u64 = 1000;
pub(crate) const USUAL_MOST_DELAY_MS: u64 = 60_000;
pub(crate) const MOST_DELAY_MS: u64 = 86_400_000;

const TIMEOUT: &str = r"timed?[ -]?out|deadline";
const RATE: &str = r"\b429\b|rate[ -]?limit|too many requests|overloaded";
const UNAVAILABLE: &str = r"\b50[0234]\b|unavailable|unreachable|connection|network|try again";
/// A pattern may be so big when it is compiled.
const PATTERN_BYTES: usize = 1 << 20;

/// Attempts.
#[derive(Debug)]
pub(crate) struct Attempts {
    most: usize,
    delay_ms: u64,
    most_delay_ms: u64,
    doubles: bool,
    jitter: bool,
    only: Vec<Regex>,
    unless: Option<Regex>,
}

impl Attempts {
    pub fn of(node: &Node) -> Self {
        let kind = match node.text_setting("retryOn") {
            Some("timeout") => Some(TIMEOUT.to_owned()),
            Some("rate-limit") => Some(RATE.to_owned()),
            Some("unavailable") => Some(UNAVAILABLE.to_owned()),
            Some("transient") => Some([TIMEOUT, RATE, UNAVAILABLE].join("|")),
            _ => None,
        };
        let written = |name: &str| node.text_setting(name).filter(|text| !text.is_empty());
        let only = [kind.as_deref(), written("pattern")];
        Self {
            most: whole(node, "maxAttempts", USUAL, MOST).max(1) as usize,
            delay_ms: whole(node, "delay", USUAL_DELAY_MS, MOST_DELAY_MS),
            most_delay_ms: whole(node, "maxDelay", USUAL_MOST_DELAY_MS, MOST_DELAY_MS),
            doubles: node.text_setting("backoff") != Some("fixed"),
            jitter: flag(node, "jitter"),
            only: only.into_iter().flatten().filter_map(pattern).collect(),
            unless: written("unless").and_then(pattern),
        }
    }

    pub fn after(
        &self,
        index: usize,
        errors: &mut Vec<Value>,
        leaves: &Leaves<'_>,
        seed: &dyn Fn() -> u64,
    ) -> Next {
        let attempts = count(index + 1);
        let Some(problem) = leaves.problems().next() else {
            let (result, errors) = (leaves.value(), std::mem::take(errors));
            return Next::Done(object([
                ("Result", result),
                ("Attempts", attempts),
                ("Errors", Value::array(errors)),
            ]));
        };
        errors.push(Value::from(problem.message.as_str()));
        if index + 1 < self.most && self.is_worth_it(&problem.message) {
            return Next::Pause(self.pause(index, seed));
        }
        let errors = Value::array(std::mem::take(errors));
        Next::Done(object([
            ("_error", Value::from(problem.message)),
            ("Attempts", attempts),
            ("Errors", errors),
        ]))
    }

    /// Whether a failure is one that another attempt may not have.
    fn is_worth_it(&self, message: &str) -> bool {
        self.only.iter().all(|pattern| pattern.is_match(message))
            && !self.unless.as_ref().is_some_and(|pattern| pattern.is_match(message))
    }

    /// The pause after the attempt `index`, in milliseconds.
    fn pause(&self, index: usize, seed: &dyn Fn() -> u64) -> u64 {
        let doublings = if self.doubles { index.min(32) as u32 } else { 0 };
        let pause = self.delay_ms.saturating_mul(1 << doublings).min(self.most_delay_ms);
        if !self.jitter || pause < 2 {
            return pause;
        }
        // Somewhere in its upper half, so that runs that failed together do not come back together.
        pause - seed() % (pause / 2 + 1)
    }
}

fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).case_insensitive(true).size_limit(PATTERN_BYTES).build().ok()
}

/// Refuses what is no pattern.
pub(crate) fn check_pattern(value: &Value) -> Result<(), String> {
    match value.as_str() {
        Some(text) if pattern(text).is_some() => Ok(()),
        Some(text) => Err(format!("\"{text}\" is no regular expression")),
        None => Err("a pattern must be text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(only: &[&str]) -> Attempts {
        Attempts {
            most: 9,
            delay_ms: 100,
            most_delay_ms: 1000,
            doubles: true,
            jitter: false,
            only: only.iter().filter_map(|text| pattern(text)).collect(),
            unless: None,
        }
    }

    #[test]
    fn pauses_double_up_to_the_most() {
        let mut it = attempts(&[]);
        let pauses = |it: &Attempts| [0, 1, 2, 3, 4, 60].map(|index| it.pause(index, &|| 7));
        assert_eq!(pauses(&it), [100, 200, 400, 800, 1000, 1000]);
        it.doubles = false;
        assert_eq!(pauses(&it), [100; 6]);
        it.jitter = true;
        for seed in [0, 1, 49, 50, 51, u64::MAX] {
            assert!((50..=100).contains(&it.pause(0, &|| seed)), "{seed}");
        }
    }

    #[test]
    fn kinds_of_failure_are_told_by_their_words() {
        for (kind, yes, no) in [
            (TIMEOUT, "the request timed out after 5 s", "404 not found"),
            (TIMEOUT, "deadline has elapsed", "denied"),
            (RATE, "429 Too Many Requests", "500 mock error"),
            (UNAVAILABLE, "error sending request: Connection refused", "401 unauthorized"),
            (UNAVAILABLE, "503 mock error", "1503 rows"),
        ] {
            assert!(attempts(&[kind]).is_worth_it(yes), "{yes}");
            assert!(!attempts(&[kind]).is_worth_it(no), "{no}");
        }
        let both = attempts(&[UNAVAILABLE, "mock"]);
        assert!(both.is_worth_it("503 mock error") && !both.is_worth_it("503 error"));
    }
}
