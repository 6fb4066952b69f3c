//! A started process, and its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::first_start::Look;
use crate::host::Host;
use crate::process::Process;
use crate::readiness::{Readiness, State};
use crate::role::Role;
use crate::server::role_server::RoleServer;
use crate::telemetry;

/// For flushing records and telemetry after the work is done.
const FLUSH: Duration = Duration::from_secs(2);
/// For tasks, after they were told to end.
const END: Duration = Duration::from_secs(5);

/// A process whose roles run.
pub struct Running {
    process: Arc<Process>,
    telemetry: telemetry::Guard,
    hosts: Vec<Host>,
    servers: Vec<Arc<RoleServer>>,
    pub(super) certificates: Arc<Look>,
}

impl Running {
    pub(super) fn new(process: Arc<Process>, telemetry: telemetry::Guard) -> Self {
        Self { process, telemetry, hosts: Vec::new(), servers: Vec::new(), certificates: Arc::default() }
    }

    pub(super) fn add_host(&mut self, host: Host) {
        self.hosts.push(host);
    }

    pub(super) fn add_server(&mut self, server: Arc<RoleServer>) {
        self.servers.push(server);
    }

    pub(super) fn readiness(&self) -> Vec<(Role, Readiness)> {
        self.hosts.iter().map(|host| (host.role(), host.inner.readiness.clone())).collect()
    }

    /// Waits until every role is ready: services may hold guards of their own.
    pub(super) async fn ready(&self, at_most: Duration) -> anyhow::Result<()> {
        for (role, readiness) in self.readiness() {
            let mut states = readiness.watch();
            let ready = states.wait_for(|state| *state == State::Ready);
            if tokio::time::timeout(at_most, ready).await.is_err() {
                anyhow::bail!(
                    "role {role} is not ready: it waits for {}",
                    readiness.waiting_for().join(", ")
                );
            }
        }
        Ok(())
    }

    /// Where this process listens, by role or door: `edge`, `http`, `admin`.
    pub fn endpoints(&self) -> BTreeMap<String, SocketAddr> {
        super::start::addresses(&self.process)
    }

    /// The host of a role of this process.
    pub fn host(&self, role: Role) -> Option<&Host> {
        self.hosts.iter().find(|host| host.role() == role)
    }

    pub(crate) fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// Returns at SIGTERM or SIGINT. SIGHUP looks for changed certificates meanwhile. A second signal during
    /// the drain that follows ends the process at once.
    pub async fn wait_for_signal(&self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => self.certificates.wanted.notify_one(),
            }
        }
        drop(crate::task::spawn("second-signal", async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        }));
        Ok(())
    }

    /// Drains and ends: not ready, nothing new, work in flight up to the deadline, tasks, flush, close.
    /// Returns whether all work in flight was finished in time.
    pub async fn shutdown(self) -> bool {
        let drain = self.process.config.deadlines.drain();
        for host in &self.hosts {
            host.inner.readiness.drain();
        }
        self.process.draining.cancel();
        let finished = tokio::time::timeout(drain, self.idle()).await.is_ok();
        if !finished {
            tracing::warn!(?drain, "work in flight is cut: the drain deadline is over");
        }
        self.flush_audit().await;
        self.process.shutdown.cancel();
        if !self.process.tasks.wait(END).await {
            tracing::warn!("some tasks did not end in time");
        }
        self.process.connectors.close().await;
        let stores = std::mem::take(&mut *self.process.stores.lock());
        for store in stores {
            if let Err(error) = store.close().await {
                tracing::warn!(%error, "a store was not closed in order");
            }
        }
        self.telemetry.flush().await;
        finished
    }

    /// Returns when no call and no stream is in flight in any role. Roles call each other, so all of them
    /// must be idle at the same time.
    async fn idle(&self) {
        loop {
            for server in &self.servers {
                // The outer deadline bounds this.
                server.calls.idle(Duration::MAX).await;
                server.streams.idle(Duration::MAX).await;
            }
            if self.servers.iter().all(|server| server.calls.inside() + server.streams.inside() == 0) {
                return;
            }
        }
    }

    /// Records in outboxes that cannot be shipped now are after the next start; those of queues are gone with
    /// the process, so they get their time.
    async fn flush_audit(&self) {
        let flushed = tokio::time::timeout(FLUSH, async {
            for host in &self.hosts {
                host.inner.audit.flush_outboxes(&host.link(Role::Security)).await;
                host.inner.audit.flush(FLUSH).await;
            }
        });
        if flushed.await.is_err() {
            tracing::warn!("audit records were not shipped in time");
        }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("endpoints", &self.endpoints()).finish_non_exhaustive()
    }
}
