//! In-process suites for the tests of service crates: real layers, links, tokens and stores, no sockets
//! unless asked for, and a stand-in for the security service where the test does not bring the real one.
//!
//! ```no_run
//! use sre_service::testing::TestSuite;
//! use sre_service::Role;
//! # async fn start(host: sre_service::Host) -> anyhow::Result<sre_service::Routes> { todo!() }
//! # async fn test() -> anyhow::Result<()> {
//! let suite = TestSuite::builder()
//!     .role(Role::Io, start)
//!     .member("user/alice", "red", sre_service::accounts::TeamRole::Admin)
//!     .build()
//!     .await?;
//! // A client with a certificate of its own.
//! let link = suite.link_as("user/alice", Role::Io);
//! // A service acting for somebody.
//! let token = suite.token("agent/helper", Role::Engine, Role::Io, &["sre.io.v1.Storage:read"]);
//! let acting = suite.link_as("service/engine", Role::Io).with_jwt(&token);
//! # drop((link, acting));
//! suite.stop().await;
//! # Ok(())
//! # }
//! ```

mod backends;
mod component_server;
mod connector;
mod connector_server;
mod postgres;
#[cfg(test)]
pub(crate) mod scripted;
mod security;
mod servers;
mod tokens;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sre_identity::ca::{Authority, DEFAULT_LIFETIME, LOCAL_NAMES};
use sre_identity::{PatternTable, Principal, Svid, SvidSource, TrustDomain};
use sre_proto::security::v1::AuditRecord;

use crate::accounts::TeamRole;
use crate::bootstrap::{RoleStart, Running, start_with};
use crate::config::Config;
use crate::host::Host;
use crate::link::Link;
use crate::process::Sockets;
use crate::role::Role;
use crate::routes::Routes;
use crate::telemetry;

pub use backends::backend;
pub use component_server::serve_on;
pub use connector::{sample_connector, sample_connector_python};
pub use connector_server::ConnectorServer;
pub use postgres::{Schema, postgres};
pub use security::{Refuse, StandIn};

/// A suite in this process, in a temporary folder, with a certificate authority of its own.
pub struct TestSuite {
    folder: tempfile::TempDir,
    authority: Authority,
    patterns: PatternTable,
    running: Running,
    stand_in: Option<Arc<StandIn>>,
}

/// What a suite has; see [`TestSuite::builder`].
pub struct Builder {
    roles: Vec<RoleStart>,
    config: Config,
    members: Vec<(String, String, TeamRole)>,
    sockets: Sockets,
    authority: Option<Authority>,
}

impl TestSuite {
    /// An empty suite. `user/dev` administers the team `default`, as at first start.
    pub fn builder() -> Builder {
        let mut config = Config::default();
        config.admin.enabled = false;
        config.http.enabled = false;
        config.files.enabled = false;
        config.deadlines.drain_ms = 5_000;
        // Tests wait for nothing that takes seconds.
        config.deadlines.key_refresh_ms = 200;
        Builder {
            roles: Vec::new(),
            config,
            members: vec![("user/dev".to_owned(), "default".to_owned(), TeamRole::Admin)],
            sockets: Sockets::Configured,
            authority: None,
        }
    }

    /// Starts these roles with the defaults.
    pub async fn start(roles: Vec<RoleStart>) -> anyhow::Result<Self> {
        let mut builder = Self::builder();
        builder.roles = roles;
        builder.build().await
    }

    /// A way to a role under any identity of the suite's authority: `user/alice`, `agent/helper`,
    /// `service/engine`. A client with a certificate is its own Candidate; a service needs a token.
    ///
    /// Panics where the name is no principal.
    pub fn link_as(&self, principal: &str, to: Role) -> Link {
        Link::new(self.running.process(), &self.identity(principal), to)
    }

    /// An identity of the suite's authority, for clients over TLS. Panics like [`Self::link_as`].
    pub fn identity(&self, principal: &str) -> Arc<SvidSource> {
        must(issue(&self.authority, &self.patterns, principal, DEFAULT_LIFETIME))
    }

    /// A token for `presenter` to act for `subject` at `audience`, signed by the stand-in. Panics where the
    /// suite has the real security service: exchange there.
    pub fn token(&self, subject: &str, presenter: Role, audience: Role, scopes: &[&str]) -> String {
        self.stand_in().token(subject, presenter, audience, scopes)
    }

    /// The stand-in for the security service. Panics where the suite has the real one.
    pub fn stand_in(&self) -> &Arc<StandIn> {
        must(self.stand_in.as_ref().ok_or("the suite has the real security service"))
    }

    /// The audit records that reached the stand-in, in order of arrival, after everything queued has.
    pub async fn audit_records(&self) -> Vec<AuditRecord> {
        for role in Role::ALL {
            if let Some(host) = self.running.host(role) {
                host.inner.audit.flush_outboxes(&host.link(Role::Security)).await;
                host.inner.audit.flush(Duration::from_secs(5)).await;
            }
        }
        self.stand_in().records()
    }

    /// The host of a role. Panics where the suite has no such role.
    pub fn host(&self, role: Role) -> &Host {
        must(self.running.host(role).ok_or("the suite has no such role"))
    }

    /// The running process.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The temporary data folder.
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The suite's authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Drains and ends. Returns whether everything in flight finished in time. A suite that is dropped
    /// instead ends with the test's runtime.
    pub async fn stop(self) -> bool {
        self.running.shutdown().await
    }
}

impl Builder {
    /// Adds a role: `builder.role(Role::Io, sre_io::start)`.
    #[must_use]
    pub fn role<F, Fut, R>(mut self, role: Role, start: F) -> Self
    where
        F: Fn(Host) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<R>> + Send + 'static,
        R: Into<Routes>,
    {
        self.roles.push(RoleStart::new(role, start));
        self
    }

    /// Makes a principal known to the stand-in, as a member of a team; its first team is its home.
    #[must_use]
    pub fn member(mut self, principal: &str, team: &str, role: TeamRole) -> Self {
        self.members.push((principal.to_owned(), team.to_owned(), role));
        self
    }

    /// Changes the configuration.
    #[must_use]
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Takes identities from the authority of another suite, as a second process of the same deployment would.
    /// Panics where its files cannot be written.
    #[must_use]
    pub fn authority_of(mut self, other: &TestSuite) -> Self {
        let folder = other.folder.path().join("authority");
        must(other.authority.save(&folder));
        self.authority = Some(must(Authority::load(&folder, other.authority.trust_domain())));
        self
    }

    /// Opens a socket for every role, on free ports.
    #[must_use]
    pub fn listen(mut self) -> Self {
        self.sockets = Sockets::All;
        self
    }

    /// Starts the suite.
    pub async fn build(self) -> anyhow::Result<TestSuite> {
        let folder = tempfile::tempdir()?;
        let Self { mut roles, mut config, members, sockets, authority } = self;
        config.data_dir = folder.path().to_owned();
        config.check()?;
        let domain = TrustDomain::new(&config.trust_domain)?;
        let authority = authority.map_or_else(|| Authority::create(&domain), Ok)?;
        let patterns = PatternTable::new(domain.clone());
        let mut stand_in = None;
        if roles.iter().all(|start| start.role != Role::Security) {
            let fake = StandIn::new(&domain)?;
            for (principal, team, role) in &members {
                fake.set_member(principal, team, *role);
            }
            roles.push(fake.role());
            stand_in = Some(fake);
        }
        let sources = roles
            .iter()
            .map(|start| {
                let name = format!("service/{}", start.role);
                Ok((start.role, issue(&authority, &patterns, &name, DEFAULT_LIFETIME)?))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let telemetry = telemetry::Guard::default();
        let running = start_with(roles, config.shared(), sources, None, telemetry, sockets).await?;
        Ok(TestSuite { folder, authority, patterns, running, stand_in })
    }
}

fn issue(
    authority: &Authority,
    patterns: &PatternTable,
    principal: &str,
    lifetime: Duration,
) -> anyhow::Result<Arc<SvidSource>> {
    let principal: Principal = principal.parse()?;
    let issued = authority.issue(&principal, &LOCAL_NAMES, lifetime)?;
    let svid = Svid::from_pem(&issued.cert_pem, &issued.key_pem, patterns)?;
    Ok(SvidSource::new(svid, authority.roots()?, patterns.clone())?)
}

/// A mistake in a test ends the test.
#[expect(clippy::panic, reason = "only tests call this")]
fn must<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error:#}"),
    }
}

/// Seconds since 1970.
fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs().try_into().unwrap_or(i64::MAX)
}

impl std::fmt::Debug for TestSuite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestSuite").field("folder", &self.folder.path()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("roles", &self.roles).finish_non_exhaustive()
    }
}
