//! Removes what nobody can see any more: expired files, and objects that no row names.

use std::time::Duration;

use super::Files;
use super::connectors::ObjectKey;
use super::index::Stray;
use crate::clock::millis;
use crate::error::IoError;

/// So many rows in one transaction, so that callers' writes never wait long.
const BATCH: u32 = 500;
/// After a failure an object is tried again so much later: a backend that is away holds up no other.
const RETRY: Duration = Duration::from_secs(300);

impl Files {
    /// Sweeps once; gives how many rows and objects went.
    pub async fn sweep(&self) -> Result<u64, IoError> {
        Ok(self.sweep_expired().await? + self.sweep_objects().await?)
    }

    async fn sweep_expired(&self) -> Result<u64, IoError> {
        let mut swept = 0;
        loop {
            let gone = self.index.drop_expired(self.at(), BATCH).await?;
            swept += gone as u64;
            if gone < BATCH as usize {
                return Ok(swept);
            }
        }
    }

    async fn sweep_objects(&self) -> Result<u64, IoError> {
        let mut swept = 0;
        loop {
            let due = self.index.condemn(self.clock.now(), BATCH).await?;
            let full = due.len() == BATCH as usize;
            let mut gone = Vec::new();
            for stray in due {
                match self.remove(&stray).await {
                    Ok(()) => gone.push(stray.object),
                    Err(error) => {
                        tracing::warn!(%error, "an object without a file is not removed yet; it is tried again");
                        self.index.due_at(&stray.object, self.clock.now() + millis(RETRY)).await?;
                    }
                }
            }
            swept += gone.len() as u64;
            self.index.forget(gone).await?;
            if !full {
                return Ok(swept);
            }
        }
    }

    async fn remove(&self, stray: &Stray) -> Result<(), IoError> {
        let Some(key) = ObjectKey::parse(&stray.object) else { return Ok(()) };
        Ok(self.objects.get(&stray.instance)?.remove(&key, stray.unfinished.as_deref()).await?)
    }
}
