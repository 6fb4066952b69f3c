//! Removes what nobody can see any more: expired files, and objects that no row names.

use super::connectors::ObjectKey;
use super::{Files, drop_row, index, stray};
use crate::error::IoError;

/// So many rows in one transaction, so that callers' writes never wait long.
const BATCH: u32 = 500;

impl Files {
    /// Sweeps once; gives how many rows and objects went.
    pub async fn sweep(&self) -> Result<u64, IoError> {
        Ok(self.sweep_expired().await? + self.sweep_objects().await?)
    }

    async fn sweep_expired(&self) -> Result<u64, IoError> {
        let mut swept = 0;
        loop {
            let now = self.clock.now();
            let gone = self
                .store
                .write(move |tx| {
                    let rows = index::expired(tx, now, BATCH)?;
                    rows.iter().try_for_each(|row| drop_row(tx, row, now))?;
                    Ok(rows.len())
                })
                .await?;
            swept += gone as u64;
            if gone < BATCH as usize {
                return Ok(swept);
            }
        }
    }

    async fn sweep_objects(&self) -> Result<u64, IoError> {
        let mut swept = 0;
        loop {
            let now = self.clock.now();
            let due = self.store.write(move |tx| stray::condemn(tx, now, BATCH)).await?;
            let full = due.len() == BATCH as usize;
            for object in due {
                if let Some(key) = ObjectKey::parse(&object) {
                    self.objects.remove(&key).await?;
                }
                self.store.write(move |tx| stray::forget(tx, &object)).await?;
                swept += 1;
            }
            if !full {
                return Ok(swept);
            }
        }
    }
}
