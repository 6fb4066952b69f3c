//! Wakes those who follow a run.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::ids::RunId;

type Runs = Mutex<HashMap<RunId, watch::Sender<()>>>;

/// Tells followers of a run that something was written. Holds only runs that are followed.
#[derive(Debug, Clone, Default)]
pub struct Feed {
    runs: Arc<Runs>,
}

impl Feed {
    /// Follows a run from now on.
    pub fn follow(&self, run: RunId) -> Follower {
        let changes = self.runs.lock().entry(run).or_insert_with(|| watch::channel(()).0).subscribe();
        Follower { run, changes, runs: Arc::clone(&self.runs) }
    }

    /// Says that a run changed.
    pub fn changed(&self, run: RunId) {
        if let Some(sender) = self.runs.lock().get(&run) {
            sender.send_replace(());
        }
    }

    /// Says that any run may have changed.
    pub fn all_changed(&self) {
        for sender in self.runs.lock().values() {
            sender.send_replace(());
        }
    }
}

/// One who follows a run.
#[derive(Debug)]
pub struct Follower {
    run: RunId,
    changes: watch::Receiver<()>,
    runs: Arc<Runs>,
}

impl Follower {
    /// Forgets changes so far: call it before reading, so that what comes during the read is not missed.
    pub fn catch_up(&mut self) {
        self.changes.mark_unchanged();
    }

    /// Waits for a change after the last [`Follower::catch_up`].
    pub async fn changed(&mut self) {
        // The sender lives as long as a follower does.
        let _ = self.changes.changed().await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut runs = self.runs.lock();
        if runs.get(&self.run).is_some_and(|sender| sender.receiver_count() <= 1) {
            runs.remove(&self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn followers_hear_and_leave_no_trace() {
        let feed = Feed::default();
        let run = sre_proto::ids::new_id().parse().unwrap();
        let mut one = feed.follow(run);
        let mut two = feed.follow(run);
        one.catch_up();
        feed.changed(run);
        one.changed().await;
        two.changed().await;
        drop(one);
        assert_eq!(feed.runs.lock().len(), 1);
        drop(two);
        assert!(feed.runs.lock().is_empty());
        feed.changed(run);
    }
}
