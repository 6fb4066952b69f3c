//! The runs that a run was started from. What one of them may use counts for all of it: whoever counts is told of the
//! whole way from the outermost down to the run that calls.

use std::sync::Arc;

use sre_identity::runs::{MOST, name};

/// A run and those it was started from, outermost first. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nesting(Arc<[String]>);

impl Nesting {
    /// A run of this team, and those above it as its first record has them.
    pub fn of(above: &[String], team: &str, run: &str) -> Self {
        // Where there are more than can be said, the outermost count: theirs is the larger part.
        let above = above.iter().take(MOST - 1).cloned();
        Self(above.chain([name(team, run)]).collect())
    }

    /// All of them.
    pub fn runs(&self) -> &[String] {
        &self.0
    }

    /// As the first record of a run that is started from it has them.
    pub fn to_kept(&self) -> Vec<String> {
        self.0.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_comes_after_those_it_was_started_from_and_the_outermost_is_never_lost() {
        let root = Nesting::of(&[], "red", "00-root");
        let child = Nesting::of(&root.to_kept(), "blue", "00-child");
        assert_eq!(child.runs(), ["red/00-root", "blue/00-child"]);
        let mut deep = root;
        for n in 0..2 * MOST {
            deep = Nesting::of(&deep.to_kept(), "red", &n.to_string());
        }
        assert!(sre_identity::runs::are_valid(deep.runs()), "{deep:?}");
        assert_eq!((deep.runs()[0].as_str(), deep.runs()[MOST - 1].as_str()), ("red/00-root", "red/95"));
    }
}
