//! How long a run whose owner died stands still: from the death to the first record of a later epoch.

use std::collections::HashMap;
use std::time::Duration;

use crate::evidence::{self, Journal};
use crate::executions::Executions;
use crate::processes::Kill;

/// The times of every run that a dead gateway owned.
pub fn times(kills: &[Kill], journals: &HashMap<String, Journal>, executions: &Executions) -> Vec<Duration> {
    let mut times = Vec::new();
    for kill in kills {
        for (run, journal) in journals {
            let Some(last) = journal.records.iter().rfind(|record| evidence::time(record) <= kill.dead)
            else {
                continue;
            };
            let owner = executions.owners.get(&(run.clone(), last.epoch));
            if owner.is_none_or(|owner| *owner != kill.name) {
                continue;
            }
            // None where it had ended.
            let next = journal.records.iter().find(|record| record.epoch > last.epoch);
            if let Some(next) = next {
                times.push(evidence::time(next).duration_since(kill.dead).unwrap_or_default());
            }
        }
    }
    times.sort_unstable();
    times
}

/// The value below which this share of the sorted times lies.
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or_default()
}
