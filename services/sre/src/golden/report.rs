//! What the vectors showed, counted by agent.

use std::collections::BTreeMap;
use std::fmt;

/// What one vector showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Equal to what was recorded.
    Same,
    /// Different on purpose, and right; by this order.
    Deliberate(String),
    /// Different; how.
    Different(String),
    /// Not sent; why.
    Skipped(String),
}

/// All outcomes.
#[derive(Debug, Default)]
pub struct Report {
    agents: BTreeMap<String, Vec<(String, Outcome)>>,
}

/// How many of each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Equal.
    pub same: usize,
    /// Different on purpose.
    pub deliberate: usize,
    /// Different.
    pub different: usize,
    /// Not sent.
    pub skipped: usize,
}

impl Report {
    /// Adds one outcome.
    pub fn add(&mut self, agent: &str, vector: String, outcome: Outcome) {
        self.agents.entry(agent.to_owned()).or_default().push((vector, outcome));
    }

    /// Whether a vector is in it.
    pub fn has(&self, vector: &str) -> bool {
        self.agents.values().flatten().any(|(id, _)| id == vector)
    }

    /// The outcomes of each agent file.
    pub fn agents(&self) -> impl Iterator<Item = (&str, &[(String, Outcome)])> {
        self.agents.iter().map(|(agent, outcomes)| (agent.as_str(), outcomes.as_slice()))
    }

    /// The counts of all.
    pub fn counts(&self) -> Counts {
        Counts::of(self.agents.values().flatten())
    }
}

impl Counts {
    /// Counts outcomes.
    pub fn of<'a>(outcomes: impl IntoIterator<Item = &'a (String, Outcome)>) -> Self {
        let mut counts = Self::default();
        for (_, outcome) in outcomes {
            match outcome {
                Outcome::Same => counts.same += 1,
                Outcome::Deliberate(_) => counts.deliberate += 1,
                Outcome::Different(_) => counts.different += 1,
                Outcome::Skipped(_) => counts.skipped += 1,
            }
        }
        counts
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { same, deliberate, different, skipped } = self;
        write!(f, "{same} same, {deliberate} deliberate, {different} different, {skipped} skipped")
    }
}
