//! The handle that services hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::FileScope;
use super::lock::FileLock;
use super::options::OpenOptions;
use super::readers::Readers;
use super::writer::{Request, Writer};
use super::{backup, connection, migrate};
use crate::job::{Answer, Job, Undo, enqueue, job};
use crate::{Migration, SchemaState, StoreError};

/// One SQLite file, held by this process. Clones share it.
///
/// Reads and writes need a tokio runtime. [`close`](Store::close) ends it in order; dropping the last
/// clone does the same but for waiting on reads that are still running.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    file: Arc<Path>,
    /// None only while dropping.
    requests: Option<mpsc::Sender<Request>>,
    queue_timeout: Duration,
    readers: Readers,
    commits: watch::Receiver<u64>,
    migrations: &'static [Migration],
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("file", &self.shared.file).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the file, creating it when missing, takes its lock, and migrates its schema. Blocks for
    /// the time that takes; meant for the start of a service.
    pub fn open(options: OpenOptions) -> Result<Self, StoreError> {
        let file: Arc<Path> = connection::prepare_file(&options.path)?.into();
        let _scope = FileScope::enter(&file);
        let lock = Arc::new(FileLock::acquire(&file, &options.setting_name)?);
        let conn = connection::open_writer(&file, &options)?;
        migrate::migrate(&conn, &file.display().to_string(), options.migrations)?;
        let idle = (0..options.readers.max(1))
            .map(|_| connection::open_reader(&file, &options))
            .collect::<Result<Vec<_>, _>>()?;
        let (sender, requests) = mpsc::channel(options.queue_capacity.max(1));
        let (commits, commits_seen) = watch::channel(0);
        let writer = Writer {
            conn,
            file: Arc::clone(&file),
            requests,
            commits,
            migrations: options.migrations,
            group_limit: options.group_limit.max(1),
            group_time: options.group_time,
            lock: Arc::clone(&lock),
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::io(&*file, error))?;
        let shared = Shared {
            readers: Readers::new(idle, Arc::clone(&file), lock, options.queue_timeout),
            file,
            requests: Some(sender),
            queue_timeout: options.queue_timeout,
            commits: commits_seen,
            migrations: options.migrations,
            thread: Some(thread),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Runs `work` in the writer's current transaction and waits until it is durable.
    ///
    /// Work of several callers shares a transaction and a commit, each in a savepoint: an error or
    /// panic undoes its own changes only. Work sees all writes that came before it. It must be short,
    /// must not block or wait for the store, and must not begin, commit or roll back transactions
    /// (savepoints are fine).
    ///
    /// A caller that goes away before its turn withdraws the work; afterwards it is done all the same.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.try_write(work).await
    }

    /// [`write`](Store::write) for work with an error type of its own: a refusal by the service's rules
    /// undoes the work like any other error.
    pub async fn try_write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.try_write_then(work, |value| value).await
    }

    /// [`try_write`](Store::try_write) with something to do once the work is durable, on the writer's
    /// thread, whether or not the caller still waits: telling others of it. It must be short.
    pub async fn try_write_then<T, U, E, F, G>(&self, work: F, then: G) -> Result<U, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        G: FnOnce(T) -> U + Send + 'static,
        T: Send + 'static,
        U: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.done(job(Undo::Alone, work, then)).await
    }

    /// [`try_write_then`](Store::try_write_then) for work that makes all its decisions before its first change: an error
    /// after that is the database's, and takes the whole group of writes with it. In return it costs no savepoint,
    /// for which SQLite copies each page that the work changes.
    pub async fn try_write_decided_then<T, U, E, F, G>(&self, work: F, then: G) -> Result<U, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        G: FnOnce(T) -> U + Send + 'static,
        T: Send + 'static,
        U: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.done(job(Undo::WithItsGroup, work, then)).await
    }

    async fn done<U, E: From<StoreError>>(
        &self,
        (job, answer): (Box<dyn Job<Connection>>, Answer<U, E>),
    ) -> Result<U, E> {
        self.send(Request::Write(job)).await?;
        // No answer: the writer ended before this job's turn.
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// Runs `work` on a connection that can only read, on a thread for blocking work. All of its
    /// statements see one snapshot of what is committed.
    pub async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.shared.readers.run(work).await
    }

    /// [`read`](Store::read) for work with an error type of its own.
    pub async fn try_read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.shared.readers.run(work).await
    }

    /// [`read`](Store::read) for work that looks up a few rows by their keys: microseconds, so it is done on the
    /// caller's thread where a connection is idle. Handing it to another thread would cost more than the work.
    pub async fn look_up<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        match self.shared.readers.run_here(work) {
            Ok(done) => done,
            Err(work) => self.shared.readers.run(work).await,
        }
    }

    /// A counter that rises after each commit that changed something, for wake-ups. It ends with the
    /// store.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.commits.clone()
    }

    /// Copies the store, as committed now, to a new file, while reads and writes go on. The file
    /// appears when it is whole; one that exists is not overwritten.
    pub async fn backup(&self, to: impl Into<PathBuf>) -> Result<(), StoreError> {
        let to = to.into();
        self.read(move |conn| backup::copy(conn, &to)).await
    }

    /// Where the schema stands.
    pub async fn schema(&self) -> Result<SchemaState, StoreError> {
        self.read(migrate::state).await
    }

    /// Runs the newest migration's contract now, when no binary of the version before may come back.
    pub async fn contract(&self) -> Result<SchemaState, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Contract(reply)).await?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The schema that this binary brings.
    pub fn migrations(&self) -> &'static [Migration] {
        self.shared.migrations
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.file
    }

    /// Refuses new work, finishes what is queued, moves the log into the file and releases the lock.
    /// Later calls wait for the same end.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.shared.readers.close().await;
        if let Some(sender) = &self.shared.requests {
            // Refused when another caller closes already.
            drop(sender.send(Request::Close).await);
        }
        let mut commits = self.shared.commits.clone();
        // The counter ends when the thread has closed the file.
        while commits.changed().await.is_ok() {}
        Ok(())
    }

    async fn send(&self, request: Request) -> Result<(), StoreError> {
        let Some(sender) = &self.shared.requests else { return Err(StoreError::Closed) };
        enqueue(sender, request, self.shared.queue_timeout, || self.shared.file.display().to_string()).await
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.requests.take();
        // Waits for the last commit, so that the file can be opened again at once. No caller is left,
        // hence nothing new is queued. The last clone may die inside a write, on the thread itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            drop(thread.join());
        }
    }
}
