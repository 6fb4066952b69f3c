//! What records add to the ledger, on its way there. It was written in the transactions of the records, so whatever
//! dies, it arrives; and since an event has an id, one that arrives twice counts once.

use std::time::Duration;

use prost::Message as _;
use sre_proto::observability::v1::{RecordUsageRequest, UsageEvent};
use sre_service::{Link, usage};

use super::RuntimeContext;
use super::usage_together::together;

/// Writes shipped at once; each holds a few events.
const BATCH: usize = 200;
/// How often it is looked for more.
const LOOK: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

impl RuntimeContext {
    /// Ships to the ledger until the process ends.
    pub async fn ship_usage(self, ledger: Link) {
        let mut wait = LOOK;
        loop {
            match self.ship_once(&ledger).await {
                Ok(BATCH) => {
                    wait = LOOK;
                    continue;
                }
                Ok(_) => wait = LOOK,
                Err(error) => {
                    tracing::debug!(error = format!("{error:#}"), "usage events wait");
                    wait = (wait * 2).min(LONGEST_RETRY);
                }
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Ships one batch; gives how many writes it holds.
    async fn ship_once(&self, ledger: &Link) -> anyhow::Result<usize> {
        let waiting = self.journal.unshipped(BATCH).await?;
        if waiting.is_empty() {
            return Ok(0);
        }
        let mut events = Vec::with_capacity(waiting.len());
        for written in &waiting {
            match RecordUsageRequest::decode(written.events.clone()) {
                Ok(request) => events.extend(together(request.events)),
                // A damaged row must not stop the others.
                Err(error) => tracing::warn!(%error, "usage events of a record do not decode"),
            }
        }
        for batch in batches(events) {
            match usage::record(ledger, batch).await {
                Ok(()) => {}
                Err(status) if usage::is_final(&status) => {
                    tracing::warn!(%status, "the ledger refuses usage events of runs");
                }
                Err(status) => return Err(status.into()),
            }
        }
        let shipped = waiting.len();
        self.journal.shipped(waiting.into_iter().map(|written| written.id).collect()).await?;
        Ok(shipped)
    }
}

/// Events in calls that the ledger takes.
fn batches(events: Vec<UsageEvent>) -> Vec<Vec<UsageEvent>> {
    let mut batches: Vec<Vec<UsageEvent>> = Vec::new();
    let mut room = 0;
    for event in events {
        let takes = usage::counted(&event);
        match batches.last_mut() {
            Some(batch) if takes <= room => {
                room -= takes;
                batch.push(event);
            }
            _ => {
                room = usage::BATCH.saturating_sub(takes);
                batches.push(vec![event]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use sre_proto::observability::v1::UsageTogether;
    use sre_proto::observability::v1::usage_event::Use;

    use super::*;

    #[test]
    fn a_call_has_as_many_events_as_the_ledger_takes_with_those_that_others_hold() {
        let holds = |count: usize| UsageEvent {
            r#use: Some(Use::Together(UsageTogether { events: vec![UsageEvent::default(); count] })),
            ..UsageEvent::default()
        };
        let sizes = |counts: &[usize]| {
            let batches = batches(counts.iter().map(|&count| holds(count)).collect());
            batches.iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[300, 200, 1, 499, 500, 2]), [2, 2, 1, 1]);
        assert!(batches(Vec::new()).is_empty());
    }
}
