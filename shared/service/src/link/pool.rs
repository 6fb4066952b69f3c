//! The connections to all instances of a role, and the choice among them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rand::seq::index;
use tokio::time::Instant;

use super::address;
use super::connection::{Lease, Slot, Tls};
use crate::config::Deadlines;
use crate::process::Process;
use crate::role::Role;
use crate::task;

/// Connections to a role's instances.
pub(super) struct Pool {
    role: Role,
    slots: ArcSwap<Vec<Arc<Slot>>>,
    /// When the names were resolved last; none before the first time.
    resolved_at: Mutex<Option<Instant>>,
    resolving: tokio::sync::Mutex<()>,
    last_error: Mutex<String>,
}

impl Pool {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            slots: ArcSwap::default(),
            resolved_at: Mutex::new(None),
            resolving: tokio::sync::Mutex::default(),
            last_error: Mutex::default(),
        }
    }

    /// An open connection: the less loaded of two at random. Opens one, or waits for one: attempts begin until
    /// `give_up`, and one that has begun has its own time. Cut off, a machine too busy for a handshake in time
    /// would never have one. The error names addresses and cause.
    pub(super) async fn lease(
        self: &Arc<Self>,
        process: &Arc<Process>,
        tls: &Tls,
        give_up: Instant,
    ) -> Result<Lease, (String, String)> {
        self.refresh_when_stale(process);
        if let Some(lease) = self.pick(process, tls) {
            return Ok(lease);
        }
        let deadlines = &process.config.deadlines;
        loop {
            let wait_until = match self.open_any(process, tls, deadlines, give_up).await {
                Ok(lease) => return Ok(lease),
                Err(wait_until) => wait_until,
            };
            if wait_until >= give_up || Instant::now() >= give_up {
                return Err(self.failure());
            }
            tokio::time::sleep_until(wait_until).await;
        }
    }

    /// Two open connections at random, the less loaded one. A closed one that comes up is opened beside.
    fn pick(self: &Arc<Self>, process: &Arc<Process>, tls: &Tls) -> Option<Lease> {
        let slots = self.slots.load();
        if slots.len() == 1 {
            return slots[0].open();
        }
        if slots.is_empty() {
            return None;
        }
        let two = index::sample(&mut rand::rng(), slots.len(), 2);
        let (first, second) = (&slots[two.index(0)], &slots[two.index(1)]);
        let (first, second) = if first.load() <= second.load() { (first, second) } else { (second, first) };
        if let Some(lease) = first.open() {
            return Some(lease);
        }
        let lease = second.open().or_else(|| slots.iter().find_map(Slot::open))?;
        self.open_beside(first, process, tls);
        Some(lease)
    }

    fn open_beside(self: &Arc<Self>, slot: &Arc<Slot>, process: &Arc<Process>, tls: &Tls) {
        if slot.retry_at().is_some() || slot.is_connecting() {
            return;
        }
        let (slot, process, tls) = (Arc::clone(slot), Arc::clone(process), tls.clone());
        drop(task::spawn("link-connect", async move {
            drop(slot.connect(&tls, &process.config.deadlines).await);
        }));
    }

    /// Tries every address once, as long as there is time; the error is when to try again.
    async fn open_any(
        self: &Arc<Self>,
        process: &Arc<Process>,
        tls: &Tls,
        deadlines: &Deadlines,
        give_up: Instant,
    ) -> Result<Lease, Instant> {
        let before = Instant::now();
        if tokio::time::timeout_at(give_up, self.resolve(process, before)).await.is_err() {
            return Err(give_up);
        }
        let slots = self.slots.load_full();
        let mut again = Instant::now() + std::time::Duration::from_millis(50);
        // A random start spreads the callers; every distinct address gets its turn.
        let start = if slots.is_empty() { 0 } else { rand::random_range(0..slots.len()) };
        let mut seen = Vec::new();
        for slot in slots.iter().cycle().skip(start).take(slots.len()) {
            if let Some(lease) = slot.open() {
                return Ok(lease);
            }
            if seen.contains(&slot.address) {
                continue;
            }
            if !seen.is_empty() && Instant::now() >= give_up {
                return Err(give_up);
            }
            seen.push(slot.address);
            match slot.connect(tls, deadlines).await {
                Ok(lease) => return Ok(lease),
                Err(error) => {
                    *self.last_error.lock() = error;
                    again = slot.retry_at().map_or(again, |at| at.min(again));
                }
            }
        }
        Err(again)
    }

    /// Resolves the names unless somebody did so after `before`.
    async fn resolve(&self, process: &Arc<Process>, before: Instant) {
        let _turn = self.resolving.lock().await;
        if self.resolved_at.lock().is_some_and(|at| at >= before) {
            return;
        }
        let names = address::names(process, self.role);
        let resolved = address::resolve(&names).await;
        *self.resolved_at.lock() = Some(Instant::now());
        match resolved {
            Ok(addresses) => self.adopt(&addresses, process.config.limits.connections_per_address),
            // The addresses known before may still be right.
            Err(error) => *self.last_error.lock() = error,
        }
    }

    fn adopt(&self, addresses: &[std::net::SocketAddr], per_address: usize) {
        let old = self.slots.load();
        let mut slots = Vec::with_capacity(addresses.len() * per_address);
        for address in addresses {
            let mut kept: Vec<_> = old.iter().filter(|slot| slot.address == *address).cloned().collect();
            kept.truncate(per_address);
            kept.resize_with(per_address, || Arc::new(Slot::new(*address)));
            slots.extend(kept);
        }
        self.slots.store(Arc::new(slots));
    }

    fn refresh_when_stale(self: &Arc<Self>, process: &Arc<Process>) {
        let now = Instant::now();
        let interval = process.config.deadlines.resolve_interval();
        let stale = self.resolved_at.lock().is_some_and(|at| now.duration_since(at) > interval);
        if stale && self.resolving.try_lock().is_ok() {
            let (pool, process) = (Arc::clone(self), Arc::clone(process));
            drop(task::spawn("link-resolve", async move { pool.resolve(&process, now).await }));
        }
    }

    /// The addresses tried and the last cause.
    fn failure(&self) -> (String, String) {
        let mut addresses: Vec<String> =
            self.slots.load().iter().map(|slot| slot.address.to_string()).collect();
        addresses.dedup();
        let cause = match self.last_error.lock().clone() {
            empty if empty.is_empty() => "no connection in time".to_owned(),
            cause => cause,
        };
        (addresses.join(", "), cause)
    }
}
