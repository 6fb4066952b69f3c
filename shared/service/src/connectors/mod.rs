//! Connectors: backends that a service opens by configuration, several at once, each under an id.
//!
//! A service states what it needs of a backend in an object-safe trait of its own, with [`Connector`] as its
//! supertrait, and lists the kinds it knows, one line each:
//!
//! ```
//! # use std::sync::Arc;
//! # use sre_service::connectors::{Backends, Connector, Instances, Kind, Opening, Registry, Unhealthy};
//! # use sre_service::{Host, Role};
//! # #[async_trait::async_trait] trait ObjectStore: Connector {}
//! # struct Local;
//! # #[async_trait::async_trait] impl Connector for Local {
//! #     async fn check(&self) -> Result<(), Unhealthy> { Ok(()) }
//! # }
//! # impl ObjectStore for Local {}
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(rename_all = "camelCase")]
//! struct LocalSettings {
//!     folder: Option<std::path::PathBuf>,
//! }
//!
//! async fn open(opening: Opening) -> anyhow::Result<Arc<dyn ObjectStore>> {
//!     let settings: LocalSettings = opening.settings()?;
//!     # drop(settings);
//!     Ok(Arc::new(Local))
//! }
//!
//! static STORAGE: Registry<dyn ObjectStore> = Registry {
//!     role: Role::Io,
//!     service: "storage",
//!     kinds: &[
//!         Kind { name: "local", open: |it| Box::pin(open(it)), check: Opening::check::<LocalSettings> },
//!         sre_service::connector_compiled_out!("s3", "sre-io/s3"),
//!     ],
//!     built_in: "local",
//! };
//!
//! # async fn start(host: Host) -> anyhow::Result<()> {
//! let instances = STORAGE.open(&host).await?;
//! let objects = instances.get("archive")?; // "" is the default
//! # drop(objects); Ok(()) }
//! ```
//!
//! Read in this order: this file, `plan.rs` (what the configuration asks for), [`Instances`] (opens it),
//! `table.rs` (states, probes and the end of all instances of a process), `registry.rs` (the same without a
//! running service, for `sre config check` and `sre connectors`).

pub mod grpc;
mod health;
mod instances;
mod opening;
mod plan;
mod registry;
mod rpc;
mod secret;
mod settings;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

pub(crate) use health::follow;
pub(crate) use instances::time_to_open;
pub use instances::{Instance, Instances, NoInstance};
pub use opening::{NeedsService, Opening};
pub use registry::{Backends, Finding, Registry};
pub use rpc::list;
pub use secret::SecretSetting;
pub(crate) use table::Table;
pub use table::{Snapshot, State};

/// What every backend instance can do besides its service's own trait, which has this as a supertrait.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// A cheap call to the backend: PING, HEAD of a bucket, `SELECT 1`. It is made every few seconds and
    /// given two seconds; it changes nothing.
    async fn check(&self) -> Result<(), Unhealthy>;

    /// Ends its connections: called once when the process stops, in reverse order of opening, with ten seconds
    /// at most. Calls made after it may fail.
    async fn close(&self) {}
}

/// Why a backend is not well, for the operator: no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unhealthy(pub String);

impl Unhealthy {
    /// From any cause.
    pub fn new(cause: impl fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

impl fmt::Display for Unhealthy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unhealthy {}

/// One kind of backend that a service knows.
pub struct Kind<C: ?Sized> {
    /// What `Connector` says in the configuration; the reference's names are aliases of these.
    pub name: &'static str,
    /// Opens an instance, connections included, so that what is wrong is known at start. It has 60 seconds.
    pub open: fn(Opening) -> BoxFuture<'static, anyhow::Result<Arc<C>>>,
    /// Checks the settings alone, without connecting and without changing anything. Most kinds pass
    /// `Opening::check::<TheirSettings>`.
    pub check: fn(&Opening) -> anyhow::Result<()>,
}

impl<C: ?Sized> fmt::Debug for Kind<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A [`Kind`] that this build leaves out: asking for it names the cargo feature to switch on.
///
/// ```ignore
/// #[cfg(not(feature = "qdrant"))]
/// sre_service::connector_compiled_out!("qdrant", "sre-io/qdrant"),
/// ```
#[macro_export]
macro_rules! connector_compiled_out {
    ($name:literal, $feature:literal) => {
        $crate::connectors::Kind {
            name: $name,
            open: |_| {
                ::std::boxed::Box::pin(::std::future::ready(::std::result::Result::Err(
                    $crate::connectors::CompiledOut { name: $name, feature: $feature }.into(),
                )))
            },
            check: |_| {
                ::std::result::Result::Err(
                    $crate::connectors::CompiledOut { name: $name, feature: $feature }.into(),
                )
            },
        }
    };
}

/// A kind that exists, but not in this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("connector {name} is not in this build: build it with `cargo build -p sre --features {feature}`")]
pub struct CompiledOut {
    /// The kind.
    pub name: &'static str,
    /// The feature that brings it, with its crate.
    pub feature: &'static str,
}
