//! The calls that a run is nested in. A call that is one of them, with the same input, would come round for ever and
//! is refused at once; others at a depth.

use std::sync::Arc;

use sre_components::context::calls::{CallError, CallFailure};

/// Calls that may be nested in each other.
pub const DEEPEST: usize = 16;

/// The calls that a run is nested in, outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(Arc<[String]>);

impl Lineage {
    /// As a run's first record has it.
    pub fn kept(calls: &[String]) -> Self {
        Self(calls.into())
    }

    /// As a record has it.
    pub fn to_kept(&self) -> Vec<String> {
        self.0.to_vec()
    }

    /// One call deeper. `digest` stands for the call's input.
    pub fn enter(&self, what: &str, digest: &str) -> Result<Self, CallError> {
        let call = format!("{what}#{digest}");
        if self.0.contains(&call) {
            let message =
                format!("{what} is called with the same input inside of its own call: {}", self.path(what));
            return Err(CallError::new(CallFailure::Circular, message));
        }
        if self.0.len() >= DEEPEST {
            let message = format!("calls are nested {DEEPEST} deep, which is the most: {}", self.path(what));
            return Err(CallError::new(CallFailure::TooDeep, message));
        }
        Ok(Self(self.0.iter().cloned().chain([call]).collect()))
    }

    /// For people: who called whom.
    fn path(&self, last: &str) -> String {
        let names = self.0.iter().map(|call| call.split('#').next().unwrap_or_default());
        names.chain([last]).collect::<Vec<_>>().join(" > ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_inside_of_itself_is_refused_and_so_is_one_too_many() {
        let root = Lineage::default();
        let once = root.enter("a/go", "1").unwrap();
        assert_eq!(Lineage::kept(&once.to_kept()), once);
        let circular = once.enter("b/go", "1").unwrap().enter("a/go", "1").unwrap_err();
        assert_eq!(circular.kind, CallFailure::Circular);
        assert!(circular.message.contains("a/go > b/go > a/go"), "{circular}");
        let mut deep = root;
        for n in 0..DEEPEST {
            deep = deep.enter("a/go", &n.to_string()).unwrap();
        }
        assert_eq!(deep.enter("a/go", "other").unwrap_err().kind, CallFailure::TooDeep);
    }
}
