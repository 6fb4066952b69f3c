//! What records add to the ledger, on its way there. It was written in the transactions of the records, so whatever
//! dies, it arrives; and since an event has an id, one that arrives twice counts once.

use std::time::Duration;

use prost::Message as _;
use sre_proto::observability::v1::RecordUsageRequest;
use sre_service::{Link, usage};

use super::RuntimeContext;

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
                Ok(request) => events.extend(request.events),
                // A damaged row must not stop the others.
                Err(error) => tracing::warn!(%error, "usage events of a record do not decode"),
            }
        }
        for batch in events.chunks(usage::BATCH) {
            match usage::record(ledger, batch.to_vec()).await {
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
