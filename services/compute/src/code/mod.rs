//! Code that agents bring: run once, or kept, deployed and run.

mod account;
mod codes;
mod execution;
mod message;
mod name;
mod service;
mod table;

pub use service::CodeService;

#[cfg(feature = "aws")]
pub(crate) use account::Account;
pub(crate) use execution::Places;

use sre_service::Host;
use sre_store::sql::Database;

/// The service over a store and the places where code runs.
pub(crate) fn service(host: Host, store: Database, places: Places) -> CodeService {
    CodeService::new(host, codes::Codes::new(store), places)
}
