//! Starts any set of roles in one process, and stops them in order.
//!
//! Start: configuration, telemetry, identity, each role's store and services, then listen, then ready.
//! Stop: not ready, no new connections, GOAWAY, work in flight up to the deadline, tasks, flush, close.

mod running;
mod start;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::config::Config;
use crate::host::Host;
use crate::process::Sockets;
use crate::role::Role;
use crate::routes::Routes;
use crate::workload::Workload;

pub use running::Running;

/// A service crate's `start`.
pub type StartFn =
    Arc<dyn Fn(Host) -> Pin<Box<dyn Future<Output = anyhow::Result<Routes>> + Send>> + Send + Sync>;

/// A role and how it starts.
#[derive(Clone)]
pub struct RoleStart {
    pub(crate) role: Role,
    pub(crate) start: StartFn,
}

impl RoleStart {
    /// `RoleStart::new(Role::Io, sre_io::start)`.
    pub fn new<F, Fut, R>(role: Role, start: F) -> Self
    where
        F: Fn(Host) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<R>> + Send + 'static,
        R: Into<Routes>,
    {
        let start: StartFn = Arc::new(move |host| {
            let started = start(host);
            Box::pin(async move { started.await.map(Into::into) })
        });
        Self { role, start }
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }
}

impl std::fmt::Debug for RoleStart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RoleStart").field(&self.role).finish()
    }
}

/// Where new certificates come from.
pub(crate) enum Renewal {
    /// Files.
    Files(crate::first_start::Identities),
    /// A SPIFFE Workload API.
    Workload(Box<Workload>),
}

/// Starts the roles in this process and returns when all of them are ready. A failure stops what has started.
pub async fn run(roles: Vec<RoleStart>, config: Config) -> anyhow::Result<Running> {
    config.check()?;
    let config = config.shared();
    let telemetry = crate::telemetry::init(&config.telemetry)?;
    let names: Vec<Role> = roles.iter().map(|start| start.role).collect();
    if let Some(endpoint) = config.certs.workload_api.clone() {
        let workload = Workload::connect(&endpoint, &config).await?;
        let sources = workload.identities(&names)?;
        let renewal = Some(Renewal::Workload(Box::new(workload)));
        return start::start(roles, config, sources, renewal, telemetry, Sockets::AsNeeded).await;
    }
    let identities = crate::first_start::Identities::new(&config);
    {
        let (identities, names) = (identities.clone(), names.clone());
        tokio::task::spawn_blocking(move || identities.prepare(&names)).await??;
    }
    let sources =
        names.iter().map(|role| Ok((*role, identities.load(*role)?))).collect::<anyhow::Result<Vec<_>>>()?;
    let renewal = Some(Renewal::Files(identities));
    start::start(roles, config, sources, renewal, telemetry, Sockets::AsNeeded).await
}

pub(crate) use start::start as start_with;

#[cfg(test)]
mod tests;
