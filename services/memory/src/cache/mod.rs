//! The cache: values that may be lost, each one record with its version, its end, its notes and its access list.
//!
//! Read in this order: [`record`] (what a record is and what can be done to it), [`connectors`] (where records
//! are), `service.rs` (gRPC and access). A caller looks at an entry, has its list checked, and then acts on
//! exactly that entry: where the list was changed in between, the act says so and the check is made again.

pub mod clock;
pub mod connectors;
pub mod error;
mod message;
pub mod name;
pub mod record;
mod service;
mod stream;

use std::time::Duration;

use sre_service::Host;
use sre_service::connectors::Instances;
use tokio::time::MissedTickBehavior;

use connectors::CacheStore;

pub use connectors::REGISTRY;
pub use service::CacheService;

/// How often what nobody can see any more is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The configured backends.
pub type Stores = Instances<dyn CacheStore>;

/// Limits of the cache.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest value.
    pub max_value_bytes: u64,
    /// How long an entry lives unless its writer says.
    pub default_ttl: Duration,
    /// The longest that a writer may say, but for no end at all.
    pub max_ttl: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_value_bytes: 8 << 20,
            default_ttl: Duration::from_secs(3600),
            max_ttl: Duration::from_secs(365 * 24 * 3600),
        }
    }
}

/// Opens the configured backends, and gives the service.
pub async fn start(host: &Host) -> anyhow::Result<CacheService> {
    let stores = connectors::REGISTRY.open(host).await?;
    host.spawn("cache: sweep", sweep(stores.clone()));
    let config = host.config();
    let limits = Limits {
        max_value_bytes: config.cache.max_entry_bytes,
        default_ttl: Duration::from_millis(config.cache.default_ttl_ms),
        ..Limits::default()
    };
    Ok(CacheService::new(host.clone(), stores, limits))
}

async fn sweep(stores: Stores) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for store in stores.all() {
            if let Err(error) = store.sweep().await {
                tracing::warn!(instance = store.id(), %error, "sweeping a cache failed; it goes on with the next sweep");
            }
        }
    }
}
