//! The span tree of a run, built from its events in the ledger.

mod service;
mod tree;

pub use service::TelemetryService;
