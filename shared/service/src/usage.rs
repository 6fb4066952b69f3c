//! Events on their way to the ledger, `sre.observability.v1.Usage`.
//!
//! They are handed over in batches from a bounded queue, and again until the ledger has them: an event has an id, so
//! that a repeat counts nothing. What does not fit, because the ledger is away for long, is lost and counted. What
//! must not be lost travels with the records of a run's journal instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sre_proto::observability::v1::usage_client::UsageClient;
use sre_proto::observability::v1::usage_event::Use;
use sre_proto::observability::v1::{RecordUsageRequest, UsageEvent};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::host::Host;
use crate::link::Link;
use crate::role::Role;

/// Events that may wait.
const CAPACITY: usize = 16_384;
/// Events of one call, with those that others hold.
pub const BATCH: usize = 500;
/// How long a batch waits for company.
const LINGER: Duration = Duration::from_millis(20);
/// The longest id of an event; one of a longer id is refused.
pub const MAX_ID_BYTES: usize = 200;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// How long the last events of a process that stops are tried.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The near end of the ledger. Clones share the queue.
#[derive(Clone, Debug)]
pub struct UsageReporter {
    queue: mpsc::Sender<UsageEvent>,
    lost: Arc<AtomicU64>,
}

impl UsageReporter {
    /// The queue of this role, emptied until the process ends.
    pub fn of(host: &Host) -> Self {
        let (reporter, writer) = Self::over(host.link(Role::Observability), host.shutdown());
        host.spawn_to_end("usage", writer);
        reporter
    }

    fn over(link: Link, shutdown: CancellationToken) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(CAPACITY);
        let reporter = Self { queue, lost: Arc::default() };
        (reporter.clone(), write(link, waiting, reporter.lost, shutdown))
    }

    /// Hands an event over; never waits.
    pub fn report(&self, event: UsageEvent) {
        if self.queue.try_send(event).is_err() {
            count_lost(&self.lost, 1);
        }
    }
}

fn count_lost(lost: &AtomicU64, more: usize) {
    let more = more as u64;
    let before = lost.fetch_add(more, Ordering::Relaxed);
    metrics::counter!("sre_usage_events_lost_total").increment(more);
    // Once per power of two: a full queue must not fill the log.
    if before.checked_ilog2() != (before + more).checked_ilog2() {
        tracing::warn!(lost = before + more, "usage events were lost: is observability reachable?");
    }
}

async fn write(
    link: Link,
    mut waiting: mpsc::Receiver<UsageEvent>,
    lost: Arc<AtomicU64>,
    shutdown: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut stopping = false;
    loop {
        if batch.is_empty() && !stopping {
            tokio::select! {
                event = waiting.recv() => match event {
                    Some(event) => batch.push(event),
                    None => return,
                },
                () = shutdown.cancelled() => stopping = true,
            }
            // Also at the end: others hand over their last ones.
            if waiting.len() < BATCH {
                tokio::time::sleep(LINGER).await;
            }
        }
        while batch.len() < BATCH {
            let Ok(event) = waiting.try_recv() else { break };
            batch.push(event);
        }
        if batch.is_empty() {
            // Only when stopping: everything is handed over.
            return;
        }
        let size = batch.len();
        let sent = deliver(&link, std::mem::take(&mut batch));
        let delivered = if stopping {
            tokio::time::timeout(LAST_WORDS, sent).await.unwrap_or(false)
        } else {
            tokio::select! {
                delivered = sent => delivered,
                () = stopped_for(&shutdown) => false,
            }
        };
        if !delivered {
            count_lost(&lost, size);
            stopping |= shutdown.is_cancelled();
            if stopping {
                return;
            }
        }
    }
}

/// Ready a while after the process was told to stop.
async fn stopped_for(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// Tries until the ledger has the events. False where it refuses them for good.
async fn deliver(link: &Link, events: Vec<UsageEvent>) -> bool {
    let mut wait = FIRST_RETRY;
    loop {
        match record(link, events.clone()).await {
            Ok(()) => return true,
            Err(status) if is_final(&status) => {
                tracing::warn!(%status, "the ledger refuses usage events");
                return false;
            }
            Err(status) => {
                tracing::debug!(%status, "usage events wait");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_RETRY);
            }
        }
    }
}

/// Records events once, or fails.
pub async fn record(link: &Link, events: Vec<UsageEvent>) -> Result<(), Status> {
    UsageClient::new(link.clone()).record_usage(RecordUsageRequest { events }).await?;
    Ok(())
}

/// How many events are in one: it, or those that it holds.
pub fn counted(event: &UsageEvent) -> usize {
    match &event.r#use {
        Some(Use::Together(together)) => together.events.len(),
        _ => 1,
    }
}

/// Whether a repeat would be refused, too.
pub fn is_final(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::PermissionDenied | Code::Unimplemented)
}
