//! The writer thread: many callers' work, one commit.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::FileScope;
use super::lock::FileLock;
use super::migrate;
use crate::job::{Job, Undo};
use crate::{Migration, SchemaState, StoreError};

/// What the writer is asked to do.
pub(super) enum Request {
    /// Run in the current group.
    Write(Box<dyn Job<Connection>>),
    /// Run the newest migration's contract, alone.
    Contract(oneshot::Sender<Result<SchemaState, StoreError>>),
    /// Finish what is queued and end.
    Close,
}

/// The state of the writer thread.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) file: Arc<Path>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) commits: watch::Sender<u64>,
    pub(super) migrations: &'static [Migration],
    pub(super) group_limit: usize,
    pub(super) group_time: Duration,
    /// Released when the last connection is gone.
    pub(super) lock: Arc<FileLock>,
}

impl Writer {
    /// Serves requests until the store is closed or dropped, and leaves the file checkpointed.
    pub(super) fn run(mut self) {
        let _scope = FileScope::enter(&self.file);
        let mut next = self.requests.blocking_recv();
        while let Some(request) = next {
            next = match request {
                Request::Write(job) => self.run_group(job),
                Request::Contract(reply) => {
                    let store = self.file.display().to_string();
                    drop(reply.send(migrate::contract(&self.conn, &store, self.migrations)));
                    None
                }
                Request::Close => {
                    // What is already queued is still served; then the channel gives None.
                    self.requests.close();
                    None
                }
            };
            if next.is_none() {
                next = self.requests.blocking_recv();
            }
        }
        self.finish();
    }

    /// Runs `first` and what waits behind it in one transaction, commits, and answers. Gives back the
    /// request that ended the group, if one did.
    fn run_group(&mut self, first: Box<dyn Job<Connection>>) -> Option<Request> {
        let mut group = Group::default();
        let mut ended_by = None;
        let mut outcome = self.statement("begin immediate");
        let begun = outcome.is_ok();
        let started = Instant::now();
        let changes_before = self.conn.total_changes();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            if outcome.is_err() || job.is_withdrawn() {
                group.jobs.push(job);
            } else {
                outcome = self.run_job(job, &mut group);
            }
            // When the transaction cannot begin, all that wait learn it now, not one by one.
            let lost = begun && outcome.is_err();
            if lost || group.jobs.len() >= self.group_limit || started.elapsed() >= self.group_time {
                break;
            }
            match self.requests.try_recv() {
                Ok(Request::Write(job)) => next = Some(job),
                Ok(other) => ended_by = Some(other),
                Err(_) => {}
            }
        }
        if outcome.is_ok() {
            outcome = self.statement(if group.done > 0 { "commit" } else { "rollback" });
        }
        if let Err(error) = &outcome {
            self.abandon(error);
            group.jobs.iter_mut().for_each(|job| job.fail(error));
        } else if group.done > 0 && self.conn.total_changes() > changes_before {
            // A commit that changed nothing wakes nobody, or a watcher that looks for work with a write
            // would wake itself for ever. Before the answers, so that a caller finds its commit counted.
            self.commits.send_modify(|count| *count += 1);
        }
        group.jobs.into_iter().for_each(Job::answer);
        ended_by
    }

    /// Runs one job, in a savepoint where it may have to be undone alone. An error means that the whole transaction is
    /// lost.
    fn run_job(&self, mut job: Box<dyn Job<Connection>>, group: &mut Group) -> Result<(), StoreError> {
        let undo = job.undo();
        if undo == Undo::Alone
            && let Err(error) = self.statement("savepoint sre_write")
        {
            group.jobs.push(job);
            return Err(error);
        }
        let changes_before = self.conn.total_changes();
        let done = job.run(&self.conn);
        group.jobs.push(job);
        if self.conn.is_autocommit() {
            // SQLite rolls everything back when the disk is full or fails; or the closure ended the
            // transaction, which is not its to end.
            return Err(StoreError::backend("the transaction of the group was ended by one of its writes"));
        }
        group.done += usize::from(done);
        match undo {
            Undo::Alone => {
                if !done {
                    self.statement("rollback to sre_write")?;
                }
                self.statement("release sre_write")
            }
            Undo::WithItsGroup if !done && self.conn.total_changes() > changes_before => {
                Err(StoreError::backend("a write of the group failed in the middle of its changes"))
            }
            Undo::WithItsGroup => Ok(()),
        }
    }

    fn abandon(&self, error: &StoreError) {
        tracing::warn!(file = %self.file.display(), %error, "a group of writes was rolled back");
        if !self.conn.is_autocommit()
            && let Err(error) = self.statement("rollback")
        {
            tracing::warn!(file = %self.file.display(), %error, "the rollback failed too");
        }
    }

    fn statement(&self, sql: &str) -> Result<(), StoreError> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    fn finish(self) {
        let Self { conn, file, lock, .. } = self;
        // Moves the log into the file, so that the file alone is the store. Not needed for durability.
        let checkpoint = conn.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
        if let Err(error) = checkpoint.and_then(|()| conn.close().map_err(|(_, error)| error)) {
            tracing::warn!(file = %file.display(), %error, "the store did not close cleanly; its log is kept");
        }
        drop(lock);
    }
}

/// The jobs of one transaction.
#[derive(Default)]
struct Group {
    jobs: Vec<Box<dyn Job<Connection>>>,
    /// How many have something to commit.
    done: usize,
}
