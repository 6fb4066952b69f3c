//! The role `io`: files, links to files, named key-value stores, and vectors.
//!
//! Read in this order: [`storage`] (files: an index in a database, bytes in a backend), [`router`] (links that
//! serve them over HTTP), [`nkv`] (values), [`vector_db`] (vectors), [`basis`] (how a decision and the change it
//! allows become one), [`rescue`] (errors to statuses).

pub mod backup;
pub mod basis;
pub mod clock;
mod connectors;
pub mod database;
pub mod error;
mod ledger;
pub mod nkv;
mod quotas;
mod request;
mod rescue;
pub mod router;
mod schema;
pub mod storage;
#[cfg(test)]
pub(crate) mod testing;
pub mod usage;
pub mod vector_db;

use std::sync::Arc;
use std::time::Duration;

use sre_proto::io::v1::connectors_server::ConnectorsServer;
use sre_proto::io::v1::nkv_server::NkvServer;
use sre_proto::io::v1::quotas_server::QuotasServer;
use sre_proto::io::v1::router_server::RouterServer;
use sre_proto::io::v1::storage_server::StorageServer;
use sre_proto::io::v1::vector_db_server::VectorDbServer;
use sre_service::{Host, Routes, UsageReporter};
use tokio::time::MissedTickBehavior;

pub use connectors::backends;

use clock::Clock;
use connectors::ConnectorsService;
use database::Database;
use quotas::QuotasService;
use router::{Links, RouterService, Serving};
use storage::connectors::STORAGE;
use storage::{Files, StorageService};

/// How often what nobody can see any more is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Starts the role: opens its database and its backends and the door of links, and gives its gRPC routes.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    let objects = STORAGE.open(&host).await?;
    let database = Database::open(&host).await?;
    let files = Files::new(database.files(), objects, Clock::system()).limited(host.limits().clone());
    let links = Links::new(database.links(), Clock::system(), host.config().files.key_time());
    let vectors = vector_db::start(&host).await?;
    let ledger = ledger::Reports::new(UsageReporter::of(&host), database.clone(), vectors.vectors().clone());
    host.spawn("storage in the ledger", ledger.report_forever());
    let quotas = QuotasService::new(host.clone(), database, vectors.vectors().clone());
    host.spawn("io sweeper", sweep(files.clone(), links.clone()));
    let nkv = nkv::start(&host).await?;
    let base = door(&host, Serving::new(host.clone(), files.clone(), links.clone())).await?;
    let routes = Routes::new(StorageServer::new(StorageService::new(host.clone(), files.clone())))
        .add_service(VectorDbServer::new(vectors).max_decoding_message_size(vector_db::MESSAGE_BYTES))
        .add_service(QuotasServer::new(quotas))
        .add_service(RouterServer::new(RouterService::new(host.clone(), files, links, base)))
        .add_service(NkvServer::new(nkv))
        .add_service(ConnectorsServer::new(ConnectorsService(host)));
    Ok(routes)
}

/// Opens the door of links; gives what their addresses begin with.
async fn door(host: &Host, serving: Serving) -> anyhow::Result<Option<Arc<str>>> {
    let address = host.serve_files(router::routes(serving)).await?;
    let config = &host.config().files;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let own = address.map(|address| format!("{scheme}://{address}"));
    Ok(config.base_url.clone().or(own).map(Arc::from))
}

async fn sweep(files: Files, links: Links) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = files.sweep().await {
            tracing::warn!(%error, "sweeping files failed; it goes on with the next sweep");
        }
        if let Err(error) = links.sweep().await {
            tracing::warn!(%error, "sweeping links failed; it goes on with the next sweep");
        }
    }
}
