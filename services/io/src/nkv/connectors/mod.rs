//! Where values are kept.

use async_trait::async_trait;
use sre_service::Role;
use sre_service::connectors::{Connector, Kind, Registry};

use super::model::{Found, Names, Namespace, Page, Range, Set, ValueRow};
use super::name::{KeyName, NamespaceName};
use crate::basis::{Basis, Condition, Recorder};
use crate::error::IoError;

#[cfg(test)]
mod contract;
mod grpc;
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;
pub mod sqlite;
#[cfg(test)]
mod tests;

/// A store of namespaces. It knows neither access lists nor Candidates: a list is a text that it keeps and compares.
///
/// - Each change is one step: list, condition, value, end, version, the team's books, and where the store can the
///   audit record, hold together or not at all. What was answered is durable, as far as the backend is.
/// - A change whose [`Basis`] is not what is there any more answers [`IoError::AclChanged`] and does nothing.
/// - [`IoError::Unavailable`] means that nothing was done; [`IoError::Uncertain`] that it may have been.
/// - Names are compared byte by byte; no character means anything. Lists are in the order of bytes.
/// - What is past its end is not there, to the millisecond by the service's clock, but counts in the books until it
///   is swept or replaced.
/// - Deleting a namespace takes its values with it at once, whatever it holds; one of the same name that comes
///   after it holds nothing of the old one.
#[async_trait]
pub trait NkvStore: Connector {
    /// A namespace.
    async fn find(&self, name: &NamespaceName) -> Result<Option<Namespace>, IoError>;

    /// A namespace and one of its values, of one moment.
    async fn get(&self, name: &KeyName) -> Result<Found, IoError>;

    /// A namespace and a page of its values, of one moment. Bytes end a page, too; one value always fits.
    async fn list(&self, name: &NamespaceName, range: &Range) -> Result<(Option<Namespace>, Page), IoError>;

    /// A team's namespaces after `after`.
    async fn namespaces(&self, team: &str, after: &str, limit: usize) -> Result<Names, IoError>;

    /// Sets a value, creating its namespace with the first.
    async fn set(&self, set: Set, record: Recorder) -> Result<ValueRow, IoError>;

    /// Deletes a value.
    async fn delete(
        &self,
        name: &KeyName,
        basis: Basis,
        condition: Condition,
        record: Recorder,
    ) -> Result<(), IoError>;

    /// Deletes a namespace with all its values.
    async fn delete_namespace(
        &self,
        name: &NamespaceName,
        basis: Basis,
        record: Recorder,
    ) -> Result<(), IoError>;

    /// Replaces a namespace's access list.
    async fn set_list(
        &self,
        name: &NamespaceName,
        basis: Basis,
        list: String,
        record: Recorder,
    ) -> Result<(), IoError>;

    /// Removes what nobody can see any more; gives how many values went.
    async fn sweep(&self) -> Result<u64, IoError>;

    /// What a team holds: values and bytes, those that wait for the sweeper among them.
    async fn used(&self, team: &str) -> Result<(i64, i64), IoError>;
}

/// The kinds of stores there are.
pub static REGISTRY: Registry<dyn NkvStore> = Registry {
    role: Role::Io,
    service: "nkv",
    kinds: &[
        Kind { name: "local", open: |it| Box::pin(sqlite::open(it)), check: sqlite::check },
        Kind { name: "postgres", open: |it| Box::pin(postgres::open(it)), check: postgres::check },
        #[cfg(feature = "redis")]
        Kind { name: "redis", open: |it| Box::pin(redis::open(it)), check: redis::check },
        #[cfg(not(feature = "redis"))]
        sre_service::connector_compiled_out!("redis", "sre-io/redis"),
        Kind {
            name: "grpc",
            open: |it| Box::pin(grpc::open(it)),
            check: sre_service::connectors::grpc::check,
        },
    ],
    built_in: "local",
};
