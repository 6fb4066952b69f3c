//! Code that agents bring: run once, or kept, deployed and run.

mod codes;
mod execution;
mod message;
mod name;
mod service;
mod table;

pub use service::CodeService;

use sre_components::egress::Client;
use sre_service::Host;
use sre_store::Store;

use crate::workers::Workers;

/// The service over a store, the sandbox and the way to the network.
pub(crate) fn service(host: Host, store: Store, workers: Workers, http: Client) -> CodeService {
    CodeService::new(host, codes::Codes::new(store), workers, http)
}
