//! The bounded queue and its shipper.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sre_proto::security::v1::audit_client::AuditClient;
use sre_proto::security::v1::{AuditRecord, WriteRecordsRequest};
use sre_store::Store;
use sre_store::pg::Pg;
use tokio::sync::{Notify, mpsc};
use tonic::Status;

use super::{chain, outbox, pg_outbox};
use crate::host::Host;
use crate::link::Link;
use crate::role::Role;

/// As many as the contract allows in a call.
pub(super) const BATCH: usize = 1_000;
/// Records wait this long for company.
pub(super) const GATHER: Duration = Duration::from_millis(20);
pub(super) const RETRY: Duration = Duration::from_millis(500);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Where audit records of a role go. Clones share the queue.
#[derive(Clone, Debug)]
pub struct AuditSink(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    role: Role,
    queue: mpsc::Sender<AuditRecord>,
    receiver: Mutex<Option<mpsc::Receiver<AuditRecord>>>,
    /// Records that were taken in and are not stored yet, in the queue or in a batch under way.
    unstored: AtomicUsize,
    /// Told when a batch was stored.
    shipped: Notify,
    outboxes: Mutex<Vec<Store>>,
    pg_outboxes: Mutex<Vec<Pg>>,
}

/// A place in the queue.
#[derive(Debug)]
pub(crate) struct Place {
    permit: mpsc::OwnedPermit<AuditRecord>,
    sink: AuditSink,
}

impl Place {
    pub(crate) fn fill(self, record: AuditRecord) {
        self.sink.0.unstored.fetch_add(1, Ordering::AcqRel);
        self.permit.send(record);
    }
}

impl AuditSink {
    pub(crate) fn new(role: Role, capacity: usize) -> Self {
        let (queue, receiver) = mpsc::channel(capacity);
        Self(Arc::new(Inner {
            role,
            queue,
            receiver: Mutex::new(Some(receiver)),
            unstored: AtomicUsize::new(0),
            shipped: Notify::new(),
            outboxes: Mutex::default(),
            pg_outboxes: Mutex::default(),
        }))
    }

    /// Takes a place for a record that must not go missing; refused when the queue is full.
    pub(crate) fn reserve(&self) -> Result<Place, Status> {
        let permit = self.0.queue.clone().try_reserve_owned().map_err(|_| super::full())?;
        Ok(Place { permit, sink: self.clone() })
    }

    /// Records a refusal. The call is refused whether or not there is room. Refusals take half of the queue at
    /// most: a flood of them must not stop audited work.
    pub(crate) fn denied(&self, record: AuditRecord) {
        let has_room = self.0.queue.capacity() > self.0.queue.max_capacity() / 2;
        if !has_room || self.record(record).is_err() {
            metrics::counter!("sre_audit_denials_dropped_total", "role" => self.0.role.name()).increment(1);
        }
    }

    /// Records in a queue that is bounded; waits for none. Fails when it is full: refuse the call then.
    pub fn record(&self, record: AuditRecord) -> Result<(), Status> {
        self.reserve().map(|place| place.fill(record))
    }

    /// How many records are not stored yet.
    pub fn waiting(&self) -> usize {
        self.0.unstored.load(Ordering::Acquire)
    }

    /// Waits until the queue is empty, or for so long. Returns whether it is.
    pub async fn flush(&self, at_most: Duration) -> bool {
        let empty = async {
            loop {
                let shipped = self.0.shipped.notified();
                if self.waiting() == 0 {
                    return;
                }
                shipped.await;
            }
        };
        tokio::time::timeout(at_most, empty).await.is_ok()
    }

    /// Ships what is queued until the process ends.
    pub(crate) async fn ship(self, security: Link) {
        // A process's queue starts a chain of its own: its instance id is part of the writer's name.
        let writer = format!("{}/{}", self.0.role, sre_proto::ids::new_uuid());
        let Some(mut receiver) = self.0.receiver.lock().take() else { return };
        let (mut sequence, mut previous) = (0_i64, [0_u8; 32]);
        let mut batch = Vec::new();
        loop {
            // At most one batch is under way; the queue behind it is bounded.
            if batch.is_empty() {
                let Some(first) = receiver.recv().await else { return };
                batch.push(first);
                tokio::time::sleep(GATHER).await;
                while batch.len() < BATCH
                    && let Ok(record) = receiver.try_recv()
                {
                    batch.push(record);
                }
                for record in &mut batch {
                    sequence += 1;
                    previous = chain::chained(record, &writer, sequence, &previous);
                }
            }
            match write(&security, batch.clone()).await {
                Ok(_) => {
                    self.0.unstored.fetch_sub(batch.len(), Ordering::AcqRel);
                    batch.clear();
                    self.0.shipped.notify_waiters();
                }
                Err(status) => {
                    tracing::debug!(status = status.message(), records = batch.len(), "audit records wait");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Ships a store's outbox from now on, where its schema has one.
    pub(crate) async fn ship_outbox(&self, host: &Host, store: &Store) -> anyhow::Result<()> {
        if !outbox::exists(store).await? {
            return Ok(());
        }
        self.0.outboxes.lock().push(store.clone());
        let writer = outbox::writer(store, self.0.role).await?;
        host.spawn("audit-outbox", outbox::ship(store.clone(), host.link(Role::Security), writer));
        Ok(())
    }

    /// The same of a database.
    pub(crate) async fn ship_pg_outbox(&self, host: &Host, pg: &Pg) -> anyhow::Result<()> {
        if !pg_outbox::exists(pg).await? {
            return Ok(());
        }
        pg_outbox::prepare(pg, self.0.role).await?;
        self.0.pg_outboxes.lock().push(pg.clone());
        host.spawn("audit-outbox", pg_outbox::ship(pg.clone(), host.link(Role::Security)));
        Ok(())
    }

    /// Ships what the outboxes still hold, once; what cannot be shipped now is after the next start.
    pub(crate) async fn flush_outboxes(&self, security: &Link) {
        let stores = self.0.outboxes.lock().clone();
        for store in stores {
            if let Err(error) = outbox::ship_once(&store, security).await {
                tracing::debug!(error = format!("{error:#}"), "the outbox is shipped after the next start");
            }
        }
        let databases = self.0.pg_outboxes.lock().clone();
        for pg in databases {
            if let Err(error) = pg_outbox::ship_once(&pg, security).await {
                tracing::debug!(
                    error = format!("{error:#}"),
                    "another replica, or the next start, ships the rest"
                );
            }
        }
    }
}

/// Stores a batch. Returns the writer's last sequence.
pub(super) async fn write(security: &Link, records: Vec<AuditRecord>) -> Result<i64, Status> {
    let mut request = tonic::Request::new(WriteRecordsRequest { records });
    request.set_timeout(CALL_TIMEOUT);
    let answer = AuditClient::new(security.clone()).write_records(request).await?;
    Ok(answer.into_inner().last_sequence)
}
