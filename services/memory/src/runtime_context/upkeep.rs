//! Housekeeping: waking what is due, reaping sessions, deleting what is past its retention.

use std::time::Duration;

use super::{Result, RuntimeContext, report};

/// The longest sleep of the waker, in case a clock was moved.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// Runs with payloads looked at in one round.
const ORPHAN_BATCH: usize = 1000;

impl RuntimeContext {
    /// Hints engines when a run comes due, and reaps sessions when they expire, until shutdown.
    pub async fn wake_due(self) {
        loop {
            let sleep = match self.wake_once().await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::warn!(%error, "looking for due runs failed, trying again");
                    self.settings.hint_repeat
                }
            };
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.rescheduled.notified() => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    /// How long to sleep then.
    async fn wake_once(&self) -> Result<Duration> {
        // What other processes wrote and did not tell.
        let longest = self.journal.poll_interval().unwrap_or(LONGEST_SLEEP);
        match self.journal.next_wake().await? {
            None => Ok(longest),
            Some(wait) if !wait.is_zero() => Ok(wait.min(longest)),
            Some(_) => {
                let reaped = self.journal.reap().await?;
                report(&reaped);
                self.commands.hint();
                Ok(self.settings.hint_repeat)
            }
        }
    }

    /// Deletes in batches what is past its retention, until shutdown.
    pub async fn sweep(self) {
        loop {
            if let Err(error) = self.sweep_once().await {
                tracing::warn!(%error, "a round of the journal's sweeper failed, the next goes on");
            }
            tokio::select! {
                () = tokio::time::sleep(self.settings.sweep_interval) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    pub(super) async fn sweep_once(&self) -> Result<()> {
        while self.journal.expire().await? >= self.settings.sweep_batch as usize {
            // One batch after the other, each its own transaction, so that others write in between.
            if self.shutdown.is_cancelled() {
                return Ok(());
            }
        }
        self.purge_deleted().await?;
        self.remove_orphans().await
    }

    /// Removes what deleted runs left behind: records, then payloads, then the note that they exist.
    pub(super) async fn purge_deleted(&self) -> Result<()> {
        loop {
            let purge = self.journal.purge().await?;
            let mut keys = Vec::with_capacity(purge.emptied.len());
            for emptied in &purge.emptied {
                if let Some(run) = emptied.payloads_of {
                    self.blobs.remove(run).await?;
                }
                keys.push(emptied.key);
            }
            if !keys.is_empty() {
                self.journal.purged(keys).await?;
            }
            if !purge.more || self.shutdown.is_cancelled() {
                return Ok(());
            }
        }
    }

    /// Payloads come before the record that names them: some were never named.
    async fn remove_orphans(&self) -> Result<()> {
        self.blobs.remove_unfinished(self.settings.orphaned_blobs).await?;
        let old = self.blobs.next_untouched(self.settings.orphaned_blobs, ORPHAN_BATCH).await?;
        let existing = self.journal.existing(old.clone()).await?;
        for run in old.into_iter().filter(|run| !existing.contains(run)) {
            self.blobs.remove(run).await?;
        }
        Ok(())
    }
}
