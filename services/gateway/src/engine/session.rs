//! The one lease of this engine. It is renewed at a third of its time; its end is judged by this process's
//! own monotonic clock, counted from before the renewal was sent, so that it ends here before it ends in the
//! store, whatever the clocks and the network do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

/// Part of the lease in which no effect starts any more: an effect needs time to reach its target.
const CAUTION: u32 = 10;
const RETRY: Duration = Duration::from_millis(100);

/// Where leases come from.
#[async_trait]
pub trait Leases: Send + Sync + 'static {
    /// Opens a session: its id, and how long it lives.
    async fn open(&self) -> Result<(String, Duration), Status>;

    /// Renews it. NOT_FOUND where it is over.
    async fn renew(&self, id: &str) -> Result<Duration, Status>;

    /// Ends it and hands its runs back.
    async fn close(&self, id: &str) -> Result<(), Status>;
}

/// A session of this engine.
#[derive(Clone)]
pub struct Lease {
    id: Arc<str>,
    until: watch::Receiver<Instant>,
    lost: CancellationToken,
}

/// The session is over: its runs belong to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine's session is over")]
pub struct Lost;

impl Lease {
    /// The session's id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Cancelled once the session is over.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Whether an effect may start now.
    pub fn holds(&self) -> bool {
        !self.lost.is_cancelled() && Instant::now() < *self.until.borrow()
    }

    /// Ready when an effect may start: at once, or after the next renewal.
    pub async fn held(&self) -> Result<(), Lost> {
        let mut until = self.until.clone();
        loop {
            if self.lost.is_cancelled() {
                return Err(Lost);
            }
            if Instant::now() < *until.borrow_and_update() {
                return Ok(());
            }
            tokio::select! {
                () = self.lost.cancelled() => return Err(Lost),
                changed = until.changed() => changed.map_err(|_| Lost)?,
            }
        }
    }
}

/// The current session of this engine, if it has one.
#[derive(Clone)]
pub struct Sessions {
    current: watch::Receiver<Option<Lease>>,
    suspected: Arc<tokio::sync::Notify>,
}

impl Sessions {
    /// The engine's sessions, and the future that keeps one open until `shutdown`.
    pub fn new(
        leases: Arc<dyn Leases>,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (publish, current) = watch::channel(None);
        let suspected = Arc::new(tokio::sync::Notify::new());
        let keeper = Keeper { leases, publish, shutdown, suspected: suspected.clone() };
        (Self { current, suspected }, keeper.run())
    }

    /// The session, if there is one now.
    pub fn current(&self) -> Option<Lease> {
        self.current.borrow().clone()
    }

    /// The session, waited for at most so long.
    pub async fn wait(&self, patience: Duration) -> Option<Lease> {
        let mut current = self.current.clone();
        let found = tokio::time::timeout(patience, current.wait_for(Option::is_some)).await;
        found.ok()?.ok()?.clone()
    }

    /// Ready when another session (or none) is the current one.
    pub async fn changed(&mut self) {
        if self.current.changed().await.is_err() {
            // The keeper ended: so does the engine.
            std::future::pending::<()>().await;
        }
    }

    /// Somebody heard that the session is over: ask the store now.
    pub fn suspect(&self) {
        self.suspected.notify_one();
    }
}

struct Keeper {
    leases: Arc<dyn Leases>,
    publish: watch::Sender<Option<Lease>>,
    shutdown: CancellationToken,
    suspected: Arc<tokio::sync::Notify>,
}

impl Keeper {
    async fn run(self) {
        while !self.shutdown.is_cancelled() {
            let sent = Instant::now();
            let opened = tokio::select! {
                () = self.shutdown.cancelled() => return,
                opened = self.leases.open() => opened,
            };
            match opened {
                Ok((id, time_to_live)) => self.keep(id, time_to_live, sent).await,
                Err(status) => {
                    tracing::debug!(%status, "no session yet: the journal does not answer");
                    self.pause(RETRY).await;
                }
            }
        }
    }

    async fn keep(&self, id: String, mut time_to_live: Duration, sent: Instant) {
        let (until, seen) = watch::channel(trusted(sent, time_to_live));
        let lease = Lease { id: id.as_str().into(), until: seen, lost: CancellationToken::new() };
        let lost = lease.lost.clone();
        let _ends = lost.clone().drop_guard();
        tracing::debug!(session = %id, "session opened");
        self.publish.send_replace(Some(lease));
        loop {
            tokio::select! {
                () = self.shutdown.cancelled() => {
                    // Work stops before the runs are handed back.
                    lost.cancel();
                    self.publish.send_replace(None);
                    if let Err(status) = self.leases.close(&id).await {
                        tracing::debug!(%status, "the session could not be closed; it expires by itself");
                    }
                    return;
                }
                () = tokio::time::sleep(time_to_live / 3) => {}
                () = self.suspected.notified() => {}
            }
            loop {
                let sent = Instant::now();
                match self.leases.renew(&id).await {
                    Ok(renewed) => {
                        time_to_live = renewed;
                        until.send_replace(trusted(sent, renewed));
                        break;
                    }
                    Err(status) if over(&status) => {
                        tracing::warn!(session = %id, "the session is over; its runs are claimed anew");
                        self.publish.send_replace(None);
                        return;
                    }
                    Err(status) => {
                        tracing::debug!(%status, "the session could not be renewed");
                        // Until somebody reaps it the session can still be renewed, so its runs are kept;
                        // effects wait meanwhile.
                        if self.shutdown.is_cancelled() {
                            break;
                        }
                        self.pause(RETRY.min(time_to_live / 10)).await;
                    }
                }
            }
        }
    }

    async fn pause(&self, wait: Duration) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn trusted(sent: Instant, time_to_live: Duration) -> Instant {
    sent + time_to_live - time_to_live / CAUTION
}

fn over(status: &Status) -> bool {
    matches!(status.code(), Code::NotFound | Code::FailedPrecondition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use tokio::task::JoinSet;

    const TTL: Duration = Duration::from_secs(9);

    #[derive(Default)]
    struct Store {
        opened: Mutex<usize>,
        renewals: Mutex<Vec<Instant>>,
        closed: Mutex<Vec<String>>,
        refuse: Mutex<Option<Code>>,
    }

    #[async_trait]
    impl Leases for Store {
        async fn open(&self) -> Result<(String, Duration), Status> {
            let mut opened = self.opened.lock();
            *opened += 1;
            Ok((format!("s{opened}"), TTL))
        }

        async fn renew(&self, _id: &str) -> Result<Duration, Status> {
            if let Some(code) = *self.refuse.lock() {
                return Err(sre_proto::error::status(code, sre_proto::error::Reason::Internal, "refused"));
            }
            self.renewals.lock().push(Instant::now());
            Ok(TTL)
        }

        async fn close(&self, id: &str) -> Result<(), Status> {
            self.closed.lock().push(id.to_owned());
            Ok(())
        }
    }

    struct Kept {
        store: Arc<Store>,
        sessions: Sessions,
        shutdown: CancellationToken,
        tasks: JoinSet<()>,
    }

    fn kept() -> Kept {
        let store = Arc::new(Store::default());
        let shutdown = CancellationToken::new();
        let (sessions, keeper) = Sessions::new(store.clone(), shutdown.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(keeper);
        Kept { store, sessions, shutdown, tasks }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_renewed_at_a_third_of_its_time() {
        let kept = kept();
        let lease = kept.sessions.wait(TTL).await.unwrap();
        let began = Instant::now();
        tokio::time::sleep(TTL * 2).await;
        assert!(lease.holds());
        let renewals = kept.store.renewals.lock().clone();
        assert!(renewals.len() >= 5, "{}", renewals.len());
        assert_eq!((renewals[0] - began).as_millis() / 100, TTL.as_millis() / 300);
    }

    #[tokio::test(start_paused = true)]
    async fn no_effect_starts_when_it_cannot_be_renewed_in_time() {
        let kept = kept();
        let lease = kept.sessions.wait(TTL).await.unwrap();
        *kept.store.refuse.lock() = Some(Code::Unavailable);
        tokio::time::sleep(TTL - TTL / CAUTION).await;
        assert!(!lease.holds());
        assert!(!lease.lost().is_cancelled(), "it can still be renewed");
        let waiting = lease.held();
        let renew = async {
            tokio::time::sleep(TTL).await;
            *kept.store.refuse.lock() = None;
        };
        let (held, ()) = tokio::join!(waiting, renew);
        assert_eq!(held, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_is_over_is_followed_by_another() {
        let mut kept = kept();
        let first = kept.sessions.wait(TTL).await.unwrap();
        *kept.store.refuse.lock() = Some(Code::NotFound);
        kept.sessions.suspect();
        first.lost().cancelled().await;
        assert_eq!(first.held().await, Err(Lost));
        *kept.store.refuse.lock() = None;
        let second = loop {
            match kept.sessions.current() {
                Some(lease) if lease.id() != first.id() => break lease,
                _ => kept.sessions.changed().await,
            }
        };
        assert!(second.holds());
        assert_eq!(&**second.id(), "s2");
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_hands_the_runs_back() {
        let mut kept = kept();
        let lease = kept.sessions.wait(TTL).await.unwrap();
        kept.shutdown.cancel();
        kept.tasks.join_next().await.unwrap().unwrap();
        assert_eq!(*kept.store.closed.lock(), ["s1"]);
        assert!(lease.lost().is_cancelled());
    }
}
