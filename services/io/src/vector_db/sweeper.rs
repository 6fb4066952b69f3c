//! Removes what does not count any more.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Vectors;
use super::registry::Due;
use super::write::REQUEST_TIME;
use crate::clock::millis;
use crate::error::IoError;

const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Generations and collections that are looked at in one step.
const BATCH: usize = 100;

/// Sweeps until it is dropped.
pub async fn run(vectors: Vectors) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = vectors.sweep().await {
            tracing::warn!(%error, "sweeping vectors failed; it goes on with the next sweep");
        }
    }
}

impl Vectors {
    /// Removes rows that do not count and collections whose namespace is gone; gives how many of both.
    pub async fn sweep(&self) -> Result<usize, IoError> {
        let now = self.clock.now();
        let mut swept = 0;
        for due in self.registry.due(now, BATCH).await? {
            // One backend that is away does not hold up the others.
            match self.remove_due(&due).await {
                Ok(()) => swept += 1,
                Err(error) => tracing::warn!(%error, instance = due.instance, "rows wait to be removed"),
            }
        }
        for (collection, instance) in self.registry.dropped(BATCH).await? {
            let removing = async {
                self.instance(&instance)?.backend().remove(&collection).await?;
                self.registry.forget(collection.id).await
            };
            match removing.await {
                Ok(()) => swept += 1,
                Err(error) => tracing::warn!(%error, instance, "a collection waits to be removed"),
            }
        }
        self.registry.forget_requests(now.saturating_sub(millis(REQUEST_TIME))).await?;
        Ok(swept)
    }

    async fn remove_due(&self, due: &Due) -> Result<(), IoError> {
        let store = self.instance(&due.instance)?;
        store.backend().delete_generation(&due.collection, due.generation).await?;
        self.registry.removed(due.collection.id, due.generation).await
    }
}
