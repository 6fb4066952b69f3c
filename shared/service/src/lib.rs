//! One bootstrap for all roles: configuration, identity, listeners, links, telemetry, health, drain.
//!
//! A service crate is a library with `start(host)`. The [`Host`] it gets owns everything a role shares with
//! the others; the service brings its gRPC routes. [`run`] starts any set of roles in one process.
//!
//! Read in this order: [`host`] (what a service gets), [`link`] (how it calls others), [`authorizer`] and
//! [`audit`] (what a handler does before and after its work), [`connectors`] (the backends it works on),
//! [`bootstrap`] (how it all starts and stops).

pub mod accounts;
pub mod admin;
pub mod audit;
pub mod authorizer;
pub mod bootstrap;
pub mod config;
pub mod connectors;
mod context;
pub mod dial;
mod endpoints;
pub mod first_start;
pub mod host;
mod keys;
pub mod limits;
pub mod link;
mod process;
pub mod readiness;
pub mod role;
mod routes;
mod server;
pub mod task;
pub mod telemetry;
pub mod testing;
pub mod tokens;
pub mod usage;
mod workload;

pub use accounts::{Accounts, Memberships};
pub use audit::AuditSink;
pub use authorizer::{Authorizer, Granted};
pub use bootstrap::{RoleStart, Running, StartFn, run};
pub use config::{Config, LoadOptions, Profile};
pub use host::Host;
pub use limits::Limiter;
pub use link::Link;
pub use readiness::ReadyGuard;
pub use role::Role;
pub use routes::Routes;
pub use tokens::{ExchangeKey, Proof, Token, Tokens};
pub use tokio_util::sync::CancellationToken;
pub use usage::UsageReporter;
