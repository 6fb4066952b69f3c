//! Values under keys in namespaces.
//!
//! Read in this order: [`name`] (what is a namespace, what a key), [`model`] (values and changes),
//! [`connectors`] (where they are), `service.rs` (gRPC and access).

pub mod connectors;
mod lists;
pub mod model;
pub mod name;
mod service;
#[cfg(test)]
mod service_tests;

use std::time::Duration;

use sre_service::Host;
use sre_service::connectors::Instances;
use tokio::time::MissedTickBehavior;

pub use connectors::{NkvStore, REGISTRY};
pub use name::{KeyName, NameError, NamespaceName};
pub use service::NkvService;

/// The most bytes of one value.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// A page's values stay well below what a message may hold.
const PAGE_BYTES: usize = 2 << 20;
/// How often what nobody can see any more is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The configured stores.
pub type Stores = Instances<dyn NkvStore>;

/// Opens the configured stores, and gives the service.
pub async fn start(host: &Host) -> anyhow::Result<NkvService> {
    let stores = REGISTRY.open(host).await?;
    host.spawn("nkv: sweep", sweep(stores.clone()));
    Ok(NkvService::new(host.clone(), stores))
}

async fn sweep(stores: Stores) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for store in stores.all() {
            if let Err(error) = store.sweep().await {
                let instance = store.id();
                tracing::warn!(instance, %error, "sweeping values failed; it goes on with the next sweep");
            }
        }
    }
}
