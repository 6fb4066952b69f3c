//! The embedded store: one SQLite file, one writer thread, several readers.

mod backup;
mod connection;
mod error;
mod lock;
mod migrate;
mod options;
mod readers;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use backup::snapshot;
pub use options::{OpenOptions, Synchronous};
pub use store::Store;
