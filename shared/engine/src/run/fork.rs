//! Forking a run: what a run that goes on from one of its steps keeps of its origin.
//!
//! Nothing is proved about the graph. The origin's reports are folded into a run in which the step is held
//! back: what gets under way there cannot depend on the step, and everything else is dropped.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Run, RunOptions, Running};
use crate::key::ActivationKey;
use crate::outcome::Outcome;
use crate::plan::{EntryId, Plan};
use crate::request::RequestData;
use crate::value::Value;

/// A report about an activation, as a journal keeps it.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// How an execution ended ([`Run::complete`]).
    Finished(Outcome),
    /// What was resolved for it ([`Run::resolve`]).
    Resolved(Vec<Result<Value, String>>),
}

/// Where a run forks, and what it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The step: the first activation that runs again.
    pub at: ActivationKey,
    /// Positions of the reports that do not depend on it, in an order in which they can be folded.
    pub keep: Vec<usize>,
}

/// A fork that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// The agent has no such component.
    #[error("the agent has no component '{0}'")]
    NoComponent(String),
    /// The run never came to the step.
    #[error("the run never ran '{0}', name a component or an activation that it lists as a step")]
    NeverRan(String),
}

/// What a run does not start, so that nothing behind it happens.
#[derive(Debug)]
pub(super) enum HoldBack {
    /// All activations of a component.
    Component(Arc<str>),
    /// One activation.
    Activation(ActivationKey),
}

impl Run {
    /// Works out a fork of the run that these reports, in the order of its journal, belong to. `at` is an
    /// activation's name or a component's id, which means its first activation.
    ///
    /// The new run starts with the same plan, entry and request, has its [`RunOptions::overrides`] for
    /// `at`, folds the kept reports and executes the rest. Reports of components that the engine settles
    /// itself are not wanted; they do no harm.
    ///
    /// # Errors
    /// [`ForkError`] if the run never came to the step.
    pub fn fork(
        plan: &Arc<Plan>,
        entry: EntryId,
        request: &RequestData,
        options: &RunOptions,
        reports: &[(ActivationKey, Report)],
        at: &str,
    ) -> Result<Fork, ForkError> {
        let held = |hold: HoldBack| {
            let mut run = Self::new(plan.clone(), entry, request.clone(), options.clone());
            run.hold_back = Some(hold);
            run.begin();
            let kept = run.fold_what_can_be(reports);
            let mut stopped: Vec<(usize, ActivationKey)> = run.held_back.drain(..).enumerate().collect();
            // The earliest by round; of one round the one that came first.
            stopped.sort_by_key(|(order, key)| (key.round, *order));
            (stopped.into_iter().next().map(|(_, key)| key), kept)
        };
        let never = || ForkError::NeverRan(at.to_owned());
        let step = match plan.node(at) {
            Some(node) => held(HoldBack::Component(node.id.clone())).0.ok_or_else(never)?,
            None => at.parse().map_err(|_| ForkError::NoComponent(at.to_owned()))?,
        };
        let (found, keep) = held(HoldBack::Activation(step));
        Ok(Fork { at: found.ok_or_else(never)?, keep })
    }

    /// Folds the reports that become possible, and gives their positions in that order.
    fn fold_what_can_be(&mut self, reports: &[(ActivationKey, Report)]) -> Vec<usize> {
        let mut by_key: HashMap<&ActivationKey, Vec<usize>> = HashMap::new();
        for (position, (key, _)) in reports.iter().enumerate().rev() {
            by_key.entry(key).or_default().push(position);
        }
        let mut kept = Vec::new();
        loop {
            // Whatever got under way and is not held back; each is looked at once.
            let mut ready: Vec<(usize, ActivationKey)> = Vec::new();
            for key in std::mem::take(&mut self.queue) {
                // An activation may have been resolved, then executed, then stored: one report at a time.
                let next = by_key.get_mut(&key).and_then(Vec::pop);
                ready.extend(next.map(|position| (position, key)));
            }
            if ready.is_empty() {
                return kept;
            }
            ready.sort_unstable_by_key(|(position, _)| *position);
            for (position, key) in ready {
                let done = match &reports[position].1 {
                    Report::Finished(outcome) => self.complete(&key, outcome.clone()),
                    Report::Resolved(values) => self.resolve(&key, values.clone()),
                };
                if done.is_ok() {
                    kept.push(position);
                }
            }
        }
    }

    /// Notes an activation that must not start; true if it is one.
    pub(super) fn hold_back(&mut self, scope: u32, place: u32, round: u32) -> bool {
        let Some(hold) = &self.hold_back else { return false };
        let node = &self.plan.nodes[self.place(scope, place).node as usize];
        let matches = match hold {
            HoldBack::Component(id) => *id == node.id,
            HoldBack::Activation(key) => key.component == node.id && *key == self.key(scope, place, round),
        };
        if matches {
            let key = self.key(scope, place, round);
            self.held_back.push(key.clone());
            // Under way for ever, and never handed out.
            self.running.insert(key, Running::held(scope, place, round));
        }
        matches
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::run::Observe;
    use crate::testing::support::Agent;
    use crate::testing::{Driver, Start, agents, give};

    /// Settled activations of a run, too: a fork may start at any of them.
    fn journal(start: &Start, seed: u64) -> (Run, Vec<(ActivationKey, Report)>, Vec<ActivationKey>) {
        let mut observed = start.clone();
        observed.options.observe = Observe::Settled;
        let mut run = observed.run();
        let reports = Driver::new(seed).finish(&mut run);
        let settled = run.take_settled().into_iter().map(|settled| settled.key);
        let steps = settled.chain(reports.iter().map(|(key, _)| key.clone())).collect();
        (run, reports, steps)
    }

    fn fork(start: &Start, reports: &[(ActivationKey, Report)], at: &str) -> Result<Fork, ForkError> {
        Run::fork(&start.plan, start.entry, &start.request, &start.options, reports, at)
    }

    #[test]
    fn what_is_independent_is_kept_and_the_rest_runs_again() {
        let agent = Agent::new().ep(&["x", "y"]).add("A", "E").add("B", "E").add("C", "E").add("D", "E");
        let agent = agent.links(&[
            ("e.x", "A.Input"),
            ("A.Output", "B.Input"),
            ("e.y", "C.Input"),
            ("C.Output", "D.Input"),
        ]);
        let start = Start::of(&agent);
        let (_, reports, _) = journal(&start, 0);
        let found = fork(&start, &reports, "A").unwrap();
        assert_eq!(found.at.to_string(), "A@1");
        let kept: Vec<String> = found.keep.iter().map(|at| reports[*at].0.to_string()).collect();
        assert_eq!(kept, ["C@1", "D@2"]);
        assert_eq!(fork(&start, &reports, "B").unwrap().keep.len(), 3);
        assert_eq!(fork(&start, &reports, "e").unwrap().keep, Vec::<usize>::new());
        assert_eq!(fork(&start, &reports, "Z"), Err(ForkError::NoComponent("Z".into())));
        assert_eq!(fork(&start, &reports, "A@7"), Err(ForkError::NeverRan("A@7".into())));
        // With another input, A and B alone give something else.
        let mut forked = start.clone();
        forked.options.overrides.insert(found.at, [("Input".into(), 7.into())].into());
        let mut run = forked.run();
        for at in found.keep {
            give(&mut run, &reports[at].0, &reports[at].1).unwrap();
        }
        let again = Driver::new(0).finish(&mut run);
        assert_eq!(again.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>(), ["A@1", "B@2"]);
        let answer = run.answer().legacy_json();
        assert_eq!(answer[0]["result"]["Input"]["Input"], json!(7));
        assert_eq!(answer[1]["result"]["Input"]["Input"], json!("k"));
    }

    #[test]
    fn an_endpoints_input_is_set_in_its_body() {
        let agent = Agent::new().ep(&["x"]).add("A", "E").link("e.x", "A.Input");
        let mut start = Start::of(&agent);
        start.options.overrides.insert("e@0".parse().unwrap(), [("x".into(), 9.into())].into());
        let mut run = start.run();
        Driver::new(0).finish(&mut run);
        assert_eq!(run.answer().legacy_json()["result"]["Input"], json!(9));
    }

    #[test]
    fn the_first_activation_in_a_loop_is_that_of_the_first_element() {
        let agent = Agent::new().ep(&["x"]).for_each("F", "minimal").add("A", "E").add("B", "E");
        let agent = agent.links(&[("e.x", "F.Input"), ("F.Loop", "A.Input"), ("F.Result", "B.Input")]);
        let start = Start::of(&agent);
        let (_, reports, _) = journal(&start, 0);
        assert_eq!(fork(&start, &reports, "A").unwrap().at.to_string(), "F:0/A@2");
        let later = fork(&start, &reports, "F:2/A@6").unwrap();
        assert_eq!(later.keep.len(), 2);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_fork_answers_as_a_run_from_the_start(
            agent in agents(), seed in 1u64..u64::MAX, pick in any::<usize>(), changed in any::<bool>(),
        ) {
            let start = Start::of(&agent);
            let (origin, reports, steps) = journal(&start, seed);
            let at = steps[pick % steps.len()].to_string();
            let Ok(found) = fork(&start, &reports, &at) else {
                // Beyond the place where the run went in circles nothing is repeatable.
                prop_assert!(origin.answer().aborted.is_some(), "{} of {:?}", at, steps.iter().map(ToString::to_string).collect::<Vec<_>>());
                return Ok(());
            };
            prop_assert_eq!(found.at.to_string(), at);
            let mut forked = start.clone();
            if changed {
                forked.options.overrides.insert(found.at.clone(), [("Input".into(), "bad".into())].into());
            }
            let mut run = forked.run();
            for position in &found.keep {
                let (key, report) = &reports[*position];
                prop_assert!(key != &found.at);
                // Where the change sends the run in circles earlier, a later report no longer matters.
                let given = give(&mut run, key, report);
                prop_assert!(given.is_ok() || run.answer().aborted.is_some(), "{} of {}", key, found.at);
            }
            Driver::new(seed).finish(&mut run);
            let expected = if changed {
                let mut whole = forked.run();
                Driver::new(1).finish(&mut whole);
                whole.answer()
            } else {
                origin.answer()
            };
            prop_assert_eq!(run.answer(), expected);
        }
    }
}
