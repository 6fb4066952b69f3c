//! A schema that the replicas of a service share, with the promises of the embedded store.
//!
//! One thread of each replica writes, in groups of many callers' work, each in a savepoint, under a lock that holds
//! the writers of other replicas back until the commit. Commits are told to all replicas by `notify`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::{Loan, Pg, PgConfig};
use crate::job::{Job, Undo, enqueue, isolate, job};
use crate::sql::Session;
use crate::{Migration, StoreError};

/// Writes that may wait.
const QUEUE: usize = 1024;
/// Writes in one commit at most, and for how long they are gathered at most.
const GROUP: usize = 256;
const GROUP_TIME: Duration = Duration::from_millis(20);
/// Without a connection that listens, others may have changed something at any time.
const DEAF: Duration = Duration::from_secs(2);

type Write = Box<dyn Job<Session>>;

/// Clones share it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Inner>);

struct Inner {
    pg: Pg,
    writes: parking_lot::Mutex<Option<mpsc::Sender<Write>>>,
    queue_timeout: Duration,
    commits: watch::Receiver<u64>,
    others: watch::Receiver<u64>,
    /// Ends with the last clone.
    _listening: JoinSet<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.pg.fmt(f)
    }
}

impl Shared {
    pub(crate) async fn connect(
        config: &PgConfig,
        migrations: &'static [Migration],
    ) -> Result<Self, StoreError> {
        let pg = Pg::connect_portable(config, migrations).await?;
        // A schema of its own is told apart by its name; without one, by the program's tables.
        let channel = format!("sre_{}", pg.schema_name().unwrap_or("public"));
        let me = fresh_name();
        let (sender, writes) = mpsc::channel(QUEUE);
        let (commits, commits_seen) = watch::channel(0);
        let (others, others_seen) = watch::channel(0);
        let writer = Writer {
            pg: pg.clone(),
            runtime: Handle::current(),
            writes,
            commits: commits.clone(),
            notice: format!("select pg_notify('{channel}', '{me}'); commit"),
        };
        std::thread::Builder::new()
            .name("pg-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::io("", error))?;
        let mut listening = JoinSet::new();
        listening.spawn(listen(pg.clone(), channel, me, commits, others));
        Ok(Self(Arc::new(Inner {
            queue_timeout: config.acquire_timeout(),
            pg,
            writes: parking_lot::Mutex::new(Some(sender)),
            commits: commits_seen,
            others: others_seen,
            _listening: listening,
        })))
    }

    pub(crate) fn pg(&self) -> &Pg {
        &self.0.pg
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.0.commits.clone()
    }

    pub(crate) fn watch_others(&self) -> watch::Receiver<u64> {
        self.0.others.clone()
    }

    pub(crate) async fn write<T, U, E, F, G>(&self, work: F, then: G) -> Result<U, E>
    where
        F: FnOnce(&Session) -> Result<T, E> + Send + 'static,
        G: FnOnce(T) -> U + Send + 'static,
        T: Send + 'static,
        U: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        // A savepoint here, whatever the work promises: it goes with a statement that is sent anyway.
        let (job, answer) = job(Undo::Alone, work, then);
        self.send(job).await?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    async fn send(&self, write: Write) -> Result<(), StoreError> {
        let Some(sender) = self.0.writes.lock().clone() else { return Err(StoreError::Closed) };
        enqueue(&sender, write, self.0.queue_timeout, || self.0.pg.name.clone()).await
    }

    /// In a transaction that sees one snapshot and can only read.
    pub(crate) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Session) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.on_thread(move |session| {
            session.batch("begin isolation level repeatable read read only")?;
            let read = isolate(|| work(session))?;
            session.batch("commit")?;
            Ok(read)
        })
        .await
    }

    pub(crate) async fn look_up<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Session) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.on_thread(move |session| isolate(|| work(session))).await
    }

    /// Connections bound how many of these there are.
    async fn on_thread<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&Session) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let loan = self.0.pg.lend().await?;
        let runtime = Handle::current();
        let done = tokio::task::spawn_blocking(move || {
            let session = Session::new(loan, runtime);
            let outcome = work(&session);
            session.finish(outcome)
        });
        done.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
    }

    /// A connection whose transaction holds a lock by a name.
    pub(crate) async fn turn(&self, of: &str) -> Result<Loan, StoreError> {
        let loan = self.0.pg.lend().await?;
        let client = loan.client()?;
        let sql =
            "select pg_advisory_xact_lock(hashtextextended('sre-turn:' || current_schema() || ':' || $1, 0))";
        loan.run(async {
            client.batch_execute("begin").await?;
            client.execute(sql, &[&of]).await?;
            Ok::<_, StoreError>(())
        })
        .await?;
        Ok(loan)
    }

    /// Refuses new work and finishes what is queued.
    pub(crate) async fn close(&self) {
        drop(self.0.writes.lock().take());
        let mut commits = self.0.commits.clone();
        // The listener has a sender of the counter too, so the end is told by the pool: closed by the writer.
        while !self.0.pg.pool.is_closed() && commits.changed().await.is_ok() {}
    }
}

/// The writer's thread.
struct Writer {
    pg: Pg,
    runtime: Handle,
    writes: mpsc::Receiver<Write>,
    commits: watch::Sender<u64>,
    notice: String,
}

impl Writer {
    fn run(mut self) {
        while let Some(first) = self.writes.blocking_recv() {
            self.group(first);
        }
        self.pg.close();
        self.commits.send_modify(|count| *count += 1);
    }

    /// Runs `first` and what waits behind it in one transaction, commits, and answers.
    fn group(&mut self, first: Write) {
        let mut jobs = Vec::new();
        let changed = match self.runtime.block_on(self.pg.lend()) {
            Ok(loan) => {
                let session = Session::new(loan, self.runtime.clone());
                let outcome = self.transaction(&session, first, &mut jobs);
                session.finish(outcome)
            }
            Err(error) => {
                jobs.push(first);
                Err(error)
            }
        };
        match changed {
            Ok(true) => self.commits.send_modify(|count| *count += 1),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(database = self.pg.name, %error, "a group of writes was rolled back");
                jobs.iter_mut().for_each(|job| job.fail(&error));
            }
        }
        jobs.into_iter().for_each(Job::answer);
    }

    /// Whether something was changed.
    fn transaction(
        &mut self,
        session: &Session,
        first: Write,
        jobs: &mut Vec<Write>,
    ) -> Result<bool, StoreError> {
        let started = Instant::now();
        let mut next = Some(first);
        // Each replica's writer waits here for its turn, so that a write sees all that came before it.
        let begun = session.batch(
            "begin; select pg_advisory_xact_lock(hashtextextended('sre-writer:' || current_schema(), 0));
             savepoint sre_write",
        );
        let mut changed = false;
        while let Some(mut job) = next.take() {
            if begun.is_ok() && !job.is_withdrawn() {
                let done = job.run(session);
                jobs.push(job);
                changed |= session.take_changed() && done;
                session.batch(if done {
                    "release savepoint sre_write; savepoint sre_write"
                } else {
                    "rollback to savepoint sre_write"
                })?;
            } else {
                jobs.push(job);
            }
            // Where the transaction cannot begin, all that wait learn it now, not one by one.
            if jobs.len() < GROUP && started.elapsed() < GROUP_TIME {
                next = self.writes.try_recv().ok();
            }
        }
        begun?;
        session.batch(if changed { &self.notice } else { "commit" })?;
        Ok(changed)
    }
}

/// Counts what other replicas commit, until the store ends.
async fn listen(
    pg: Pg,
    channel: String,
    me: String,
    commits: watch::Sender<u64>,
    others: watch::Sender<u64>,
) {
    let mut first = true;
    loop {
        if let Ok((_listener, mut notices)) = pg.listen(&channel, 64).await {
            if !first {
                tell(&commits, &others);
            }
            first = false;
            while let Some(notice) = notices.recv().await {
                if notice != me {
                    tell(&commits, &others);
                }
            }
        }
        // Nobody says what happens meanwhile.
        tokio::time::sleep(DEAF).await;
        tell(&commits, &others);
    }
}

fn tell(commits: &watch::Sender<u64>, others: &watch::Sender<u64>) {
    for counter in [commits, others] {
        counter.send_modify(|count| *count += 1);
    }
}

/// A name for this replica that no other has.
fn fresh_name() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}
