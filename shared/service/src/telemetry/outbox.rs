//! Spans on their way out: written by whoever ends them, sent in batches by a task of their own. What waits is bounded;
//! what finds no place, because a collector is slow, is dropped: a call never waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BufMut as _;
use parking_lot::Mutex;
use prost::encoding::encode_varint;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::collector::{Collector, Refused};
use super::tally::Tally;
use super::wire::SPAN;

/// Bytes of spans that may wait.
const MOST_BYTES: usize = 32 << 20;
/// Bytes of one export: a collector takes 4 MiB.
const BATCH_BYTES: usize = 512 << 10;
/// How long the first of a batch waits.
const LINGER: Duration = Duration::from_secs(1);
/// How often a batch is tried, and how long is waited in between.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Spans for one export, one message behind the other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: u64,
}

/// Where spans wait.
#[derive(Debug)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    /// A batch is full.
    full: Notify,
    /// Made with the first span: the recorder is not there before.
    ended: OnceLock<&'static Tally>,
}

#[derive(Debug, Default)]
struct Waiting {
    open: Batch,
    sealed: VecDeque<Batch>,
    /// Bytes of those that are sealed.
    sealed_bytes: usize,
}

impl Outbox {
    /// One that lives as long as the process.
    pub(super) fn leaked() -> &'static Self {
        Box::leak(Box::new(Self { waiting: Mutex::default(), full: Notify::new(), ended: OnceLock::new() }))
    }

    /// Takes a span's message.
    pub(super) fn put(&self, span: &[u8]) {
        let counter = || Tally::leaked(metrics::counter!("sre_telemetry_spans_total", "result" => "ended"));
        self.ended.get_or_init(counter).one_more();
        let mut waiting = self.waiting.lock();
        if waiting.sealed_bytes + waiting.open.bytes.len() + span.len() > MOST_BYTES {
            return;
        }
        let sealed = waiting.open.spans > 0 && waiting.open.bytes.len() + span.len() > BATCH_BYTES;
        if sealed {
            waiting.seal();
        }
        let open = &mut waiting.open;
        if open.spans == 0 {
            open.bytes.reserve(BATCH_BYTES);
        }
        open.spans += 1;
        open.bytes.put_u8(SPAN);
        encode_varint(span.len() as u64, &mut open.bytes);
        open.bytes.put_slice(span);
        drop(waiting);
        if sealed {
            self.full.notify_one();
        }
    }

    /// The next full batch; with `rest`, what there is of one.
    fn take(&self, rest: bool) -> Option<Batch> {
        let mut waiting = self.waiting.lock();
        if rest && waiting.sealed.is_empty() && waiting.open.spans > 0 {
            waiting.seal();
        }
        let batch = waiting.sealed.pop_front()?;
        waiting.sealed_bytes -= batch.bytes.len();
        Some(batch)
    }
}

impl Waiting {
    fn seal(&mut self) {
        let batch = std::mem::take(&mut self.open);
        self.sealed_bytes += batch.bytes.len();
        self.sealed.push_back(batch);
    }
}

/// Sends what waits until it is stopped, and then what is left.
pub(super) struct Sender {
    outbox: &'static Outbox,
    collector: Collector,
    stop: CancellationToken,
    /// Whether the last batch failed: said once.
    failing: bool,
}

impl Sender {
    pub(super) fn new(outbox: &'static Outbox, collector: Collector, stop: CancellationToken) -> Self {
        Self { outbox, collector, stop, failing: false }
    }

    pub(super) async fn run(mut self) {
        let mut linger = tokio::time::interval_at(Instant::now() + LINGER, LINGER);
        linger.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let rest = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                _ = linger.tick() => true,
                () = self.outbox.full.notified() => false,
            };
            // At most what waits now and what fills up meanwhile; the rest of it only once.
            while let Some(batch) = self.outbox.take(false) {
                self.send(batch).await;
            }
            if rest && let Some(batch) = self.outbox.take(true) {
                self.send(batch).await;
            }
        }
        while let Some(batch) = self.outbox.take(true) {
            self.send(batch).await;
            if self.failing {
                break;
            }
        }
    }

    async fn send(&mut self, batch: Batch) {
        let spans = batch.spans;
        match self.tried(Arc::new(batch)).await {
            Ok(rejected) => {
                self.failing = false;
                count("exported", spans.saturating_sub(rejected));
                count("failed", rejected);
            }
            Err(refused) => {
                count("failed", spans);
                if !self.failing {
                    let error = refused.error;
                    tracing::warn!(%error, "spans cannot be exported: they are dropped until the collector is back");
                }
                self.failing = true;
            }
        }
    }

    /// Tries a batch, more often where another attempt may help. While a collector is away each has one.
    async fn tried(&self, batch: Arc<Batch>) -> Result<u64, Refused> {
        let mut attempt = 1;
        loop {
            let refused = match self.collector.export(&batch).await {
                Ok(rejected) => return Ok(rejected),
                Err(refused) => refused,
            };
            if !refused.transient || attempt >= ATTEMPTS || self.failing || self.stop.is_cancelled() {
                return Err(refused);
            }
            attempt += 1;
            drop(tokio::time::timeout(PAUSE, self.stop.cancelled()).await);
        }
    }
}

fn count(result: &'static str, spans: u64) {
    if spans > 0 {
        metrics::counter!("sre_telemetry_spans_total", "result" => result).increment(spans);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_leaves_in_batches() {
        let outbox = Outbox::leaked();
        let span = vec![0; 1_000];
        assert!(outbox.take(true).is_none());
        outbox.put(&span);
        assert!(outbox.take(false).is_none(), "none is full");
        assert_eq!(outbox.take(true).unwrap().spans, 1);
        for _ in 0..100_000 {
            outbox.put(&span);
        }
        let batches: Vec<Batch> = std::iter::from_fn(|| outbox.take(true)).collect();
        assert!(batches.iter().all(|batch| batch.bytes.len() <= BATCH_BYTES + 8));
        let spans: u64 = batches.iter().map(|batch| batch.spans).sum();
        assert!((30_000..34_000).contains(&spans), "{spans}");
        assert_eq!(outbox.waiting.lock().sealed_bytes, 0);
    }

    #[test]
    fn a_span_that_is_larger_than_a_batch_is_one() {
        let outbox = Outbox::leaked();
        outbox.put(&[1]);
        outbox.put(&vec![0; BATCH_BYTES * 2]);
        outbox.put(&[1]);
        let batches: Vec<u64> = std::iter::from_fn(|| outbox.take(true)).map(|batch| batch.spans).collect();
        assert_eq!(batches, [1, 1, 1]);
    }
}
