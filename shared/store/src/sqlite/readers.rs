//! The readers: a few connections, each read on a snapshot of what is committed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::FileScope;
use super::lock::FileLock;
use crate::StoreError;
use crate::job::isolate;

/// The pool of reading connections.
pub(super) struct Readers {
    /// One permit per idle connection.
    permits: Arc<Semaphore>,
    shelf: Arc<Shelf>,
    count: u32,
    patience: Duration,
}

struct Shelf {
    file: Arc<Path>,
    /// None once the store is closed.
    open: Mutex<Option<Open>>,
}

struct Open {
    idle: Vec<Connection>,
    lock: Arc<FileLock>,
}

impl Readers {
    pub(super) fn new(
        idle: Vec<Connection>,
        file: Arc<Path>,
        lock: Arc<FileLock>,
        patience: Duration,
    ) -> Self {
        let count = u32::try_from(idle.len()).unwrap_or(u32::MAX);
        let permits = Arc::new(Semaphore::new(idle.len()));
        let open = Mutex::new(Some(Open { idle, lock }));
        Self { permits, shelf: Arc::new(Shelf { file, open }), count, patience }
    }

    /// Runs `work` on a connection of the pool, off the runtime's threads. A caller that goes away does
    /// not stop work that has begun.
    pub(super) async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let permit = self.permit().await?;
        let shelf = Arc::clone(&self.shelf);
        let task = tokio::task::spawn_blocking(move || {
            let loan = Loan::take(shelf, permit)?;
            let _scope = FileScope::enter(&loan.shelf.file);
            let Some(conn) = loan.conn.as_ref() else { return Err(StoreError::Closed.into()) };
            in_snapshot(conn, work)
        });
        // Refused only by a runtime that shuts down.
        task.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// Runs `work` on the caller's thread, if a connection is idle; gives it back where none is.
    pub(super) fn run_here<T, E, F>(&self, work: F) -> Result<Result<T, E>, F>
    where
        F: FnOnce(&Connection) -> Result<T, E>,
        E: From<StoreError>,
    {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return Err(work) };
        let loan = match Loan::take(Arc::clone(&self.shelf), permit) {
            Ok(loan) => loan,
            Err(error) => return Ok(Err(error.into())),
        };
        let _scope = FileScope::enter(&loan.shelf.file);
        match loan.conn.as_ref() {
            Some(conn) => Ok(in_snapshot(conn, work)),
            None => Ok(Err(StoreError::Closed.into())),
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        match tokio::time::timeout(self.patience, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(StoreError::Closed),
            Err(_elapsed) => Err(StoreError::Overloaded {
                store: self.shelf.file.display().to_string(),
                waited: self.patience,
            }),
        }
    }

    /// Lets running reads end, refuses new ones, closes the connections.
    pub(super) async fn close(&self) {
        // Permits are granted in order: reads that come later wait behind this, and are refused.
        let all = tokio::time::timeout(self.patience, self.permits.acquire_many(self.count)).await;
        if all.is_err() {
            tracing::warn!(file = %self.shelf.file.display(), "a read is still running while the store closes");
        }
        self.permits.close();
        self.shelf.open.lock().take();
    }
}

/// A connection on loan. Its permit is given back after it.
struct Loan {
    conn: Option<Connection>,
    shelf: Arc<Shelf>,
    /// A read that is still running keeps the file locked, though its store is closed or gone.
    _lock: Arc<FileLock>,
    _permit: OwnedSemaphorePermit,
}

impl Loan {
    fn take(shelf: Arc<Shelf>, permit: OwnedSemaphorePermit) -> Result<Self, StoreError> {
        let taken =
            shelf.open.lock().as_mut().and_then(|open| Some((open.idle.pop()?, Arc::clone(&open.lock))));
        let Some((conn, lock)) = taken else { return Err(StoreError::Closed) };
        Ok(Self { conn: Some(conn), shelf, _lock: lock, _permit: permit })
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let conn = self.conn.take();
        // A connection that comes back to a closed store closes with this call.
        if let Some(open) = self.shelf.open.lock().as_mut() {
            open.idle.extend(conn);
        }
    }
}

/// All statements of one read see the same commit.
fn in_snapshot<T, E: From<StoreError>>(
    conn: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let statement = |sql: &str| -> Result<(), StoreError> {
        conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    };
    statement("begin")?;
    let result = isolate(|| work(conn));
    if !conn.is_autocommit() {
        statement("rollback")?;
    }
    result
}
