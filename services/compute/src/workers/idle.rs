//! Processes that have nothing to do, each for the one agent whose code it ran.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::process::Worker;

/// Whose code a process runs: nobody else's, ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The team.
    pub team: String,
    /// The agent.
    pub agent: String,
}

/// Idle processes. Those that it lets go end.
#[derive(Default)]
pub struct Idle {
    by_owner: HashMap<Owner, Vec<(Instant, Worker)>>,
    count: usize,
}

impl Idle {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// One of this owner, the one that was busy last.
    pub fn take(&mut self, owner: &Owner) -> Option<Worker> {
        let workers = self.by_owner.get_mut(owner)?;
        let found = workers.pop();
        if workers.is_empty() {
            self.by_owner.remove(owner);
        }
        self.count -= usize::from(found.is_some());
        found.map(|(_, worker)| worker)
    }

    /// Keeps one.
    pub fn put(&mut self, owner: Owner, worker: Worker) {
        self.by_owner.entry(owner).or_default().push((Instant::now(), worker));
        self.count += 1;
    }

    /// Takes the one that has been idle longest, whoever's it is.
    pub fn oldest(&mut self) -> Option<Worker> {
        let first = |workers: &Vec<(Instant, Worker)>| workers.first().map(|(since, _)| *since);
        let owner = self.by_owner.iter().min_by_key(|(_, workers)| first(workers))?.0.clone();
        let workers = self.by_owner.get_mut(&owner)?;
        let (_, worker) = workers.remove(0);
        if workers.is_empty() {
            self.by_owner.remove(&owner);
        }
        self.count -= 1;
        Some(worker)
    }

    /// Takes those that have been idle for longer than this.
    pub fn older_than(&mut self, age: Duration) -> Vec<Worker> {
        let mut old = Vec::new();
        for workers in self.by_owner.values_mut() {
            let kept = workers.iter().position(|(since, _)| since.elapsed() < age).unwrap_or(workers.len());
            old.extend(workers.drain(..kept).map(|(_, worker)| worker));
        }
        self.by_owner.retain(|_, workers| !workers.is_empty());
        self.count -= old.len();
        old
    }
}
