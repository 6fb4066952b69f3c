//! What there is: namespaces with their access lists, datasources with their texts, and which writings count.
//!
//! Rows lie with a backend, which has no transaction with the registry. So a writing has a number, its generation,
//! noted here before the first row goes to the backend. It counts when the registry commits it, with everything
//! else that it changes, and a search looks only at what counted when it began. What does not count any more is
//! removed later, when no search that began before can still look at it.

#[cfg(test)]
pub(crate) mod contract;
mod postgres;
mod sqlite;

use std::collections::HashMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sre_vectors::{Collection, CollectionId, Generation, Metric, Visibility};

pub use postgres::{PG_MIGRATIONS, PG_SESSION, PostgresRegistry};
pub use sqlite::{MIGRATIONS, SqliteRegistry};

use super::name::NamespaceName;
use super::record::Recorder;
use crate::basis::{Basis, Condition};
use crate::clock::Millis;
use crate::error::IoError;
use crate::usage::Quota;

type Result<T> = std::result::Result<T, IoError>;

/// The columns of a namespace, in the order that both databases read them.
const NAMESPACE: &str = "id, name, scope, team, dimension, metric, embedding, instance, description, acl, \
                         created_ms, row_count, size_bytes";
/// Likewise of a datasource.
const DATASOURCE: &str = "id, label, metadata, chunk_size, chunk_overlap, chunks, text_bytes, bytes, etag, \
                          generation, creator, created_ms, updated_ms";

/// A collection's id as tables hold it.
fn hex(id: CollectionId) -> String {
    format!("{:032x}", id.0)
}

/// And back.
fn id_of(hex: &str) -> CollectionId {
    CollectionId(u128::from_str_radix(hex, 16).unwrap_or_default())
}

/// How texts become vectors. Model and dimension never change: vectors of two models cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Embedding {
    /// The model.
    pub model: String,
    /// Texts in one request to the provider; 0 for its most.
    pub batch_size: i32,
    /// Whether line breaks become spaces.
    pub strip_new_lines: bool,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct NamespaceRow {
    /// Its id, which is the collection's.
    pub id: CollectionId,
    /// Its full name.
    pub name: String,
    /// Its scope.
    pub scope: String,
    /// Its team.
    pub team: String,
    /// Length of its vectors.
    pub dimension: usize,
    /// How they are compared.
    pub metric: Metric,
    /// How texts are embedded; none where they are not.
    pub embedding: Option<Embedding>,
    /// The backend instance.
    pub instance: String,
    /// What it is for.
    pub description: String,
    /// Its access list.
    pub acl: String,
    /// When it was created.
    pub created_ms: Millis,
    /// Rows that count.
    pub rows: i64,
    /// Their bytes, with those of the texts of datasources.
    pub bytes: i64,
}

impl NamespaceRow {
    /// What the backend knows of it.
    pub fn collection(&self) -> Collection {
        Collection { id: self.id, dimension: self.dimension, metric: self.metric }
    }
}

/// A datasource, without its text.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasourceRow {
    /// Its id in its namespace.
    pub id: String,
    /// What a person sees.
    pub label: String,
    /// Metadata of each row: JSON.
    pub metadata: String,
    /// How it was cut.
    pub chunk_size: i32,
    /// How much chunks overlap.
    pub chunk_overlap: i32,
    /// Its chunks.
    pub chunks: i32,
    /// Bytes of its text.
    pub text_bytes: i64,
    /// Bytes that it counts for.
    pub bytes: i64,
    /// Version.
    pub etag: String,
    /// The generation of its rows.
    pub generation: Generation,
    /// Who created it.
    pub creator: String,
    /// When it was first created.
    pub created_ms: Millis,
    /// When it was last created.
    pub updated_ms: Millis,
}

/// What a request did, for its repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRow {
    /// The caller's id of it.
    pub id: String,
    /// Digest of what was asked.
    pub digest: String,
}

/// A datasource whose rows are with the backend and shall count.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The namespace,
    pub namespace: NamespaceName,
    /// as it was when the rows were written.
    pub id: CollectionId,
    /// What the right to write was decided on.
    pub basis: Basis,
    /// The datasource; its `created_ms` counts where there is none yet.
    pub row: DatasourceRow,
    /// Its text.
    pub text: String,
    /// Over which version.
    pub condition: Condition,
    /// The request, where it said an id.
    pub request: Option<RequestRow>,
    /// When rows that are replaced may be removed.
    pub due_ms: Millis,
    /// What the team may hold.
    pub quota: Quota,
}

/// Rows to be removed from a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// The collection.
    pub collection: Collection,
    /// The instance that has it.
    pub instance: String,
    /// The rows.
    pub generation: Generation,
}

/// The registry. Every write is one transaction, durable when its future is ready, and brings the audit record of
/// the change with it. Times are the caller's.
///
/// **Decisions** are made outside of transactions; each write checks that the access list is still the one that
/// was decided on, and is [`IoError::AclChanged`] where it is not (H33).
///
/// A registry is right when it passes `contract::every_case`.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// A namespace by its full name.
    async fn namespace(&self, name: &str) -> Result<Option<NamespaceRow>>;

    /// Namespaces of a scope by name, after one.
    async fn namespaces(&self, scope: &str, after: &str, limit: usize) -> Result<Vec<NamespaceRow>>;

    /// Creates a namespace; [`IoError::Exists`] where its name is taken.
    async fn create(&self, row: NamespaceRow, record: Recorder) -> Result<()>;

    /// Removes a namespace with all that is in it; its collection waits in [`Registry::dropped`].
    async fn remove(&self, name: NamespaceName, basis: Basis, record: Recorder) -> Result<()>;

    /// Replaces an access list.
    async fn set_acl(&self, name: NamespaceName, basis: Basis, acl: String, record: Recorder) -> Result<()>;

    /// What a search that begins now may look at.
    async fn visibility(&self, id: CollectionId) -> Result<Visibility>;

    /// Begins a writing: its generation, which is removed from `due_ms` on unless it is committed before.
    async fn begin(&self, id: CollectionId, due_ms: Millis) -> Result<Generation>;

    /// Makes a writing count, in the place of the rows of the datasource before. [`IoError::AclChanged`] also
    /// where the namespace is another by now, and [`IoError::Interrupted`] where the writing took too long and is
    /// being removed.
    async fn commit(&self, commit: Commit, record: Recorder) -> Result<DatasourceRow>;

    /// A datasource.
    async fn datasource(&self, id: CollectionId, datasource: &str) -> Result<Option<DatasourceRow>>;

    /// The text of a datasource.
    async fn text(&self, id: CollectionId, datasource: &str) -> Result<Option<String>>;

    /// Datasources by id, after one.
    async fn datasources(&self, id: CollectionId, after: &str, limit: usize) -> Result<Vec<DatasourceRow>>;

    /// Labels of datasources by id.
    async fn labels(&self, id: CollectionId, datasources: Vec<String>) -> Result<HashMap<String, String>>;

    /// Removes a datasource: its rows do not count any more, and are removed from `due_ms` on.
    async fn remove_datasource(
        &self,
        name: NamespaceName,
        basis: Basis,
        datasource: String,
        due_ms: Millis,
        record: Recorder,
    ) -> Result<()>;

    /// Books rows of no datasource before they are put, by id and bytes; gives how many ids are new.
    async fn book(
        &self,
        name: NamespaceName,
        basis: Basis,
        rows: Vec<(String, i64)>,
        quota: Quota,
        record: Recorder,
    ) -> Result<usize>;

    /// Forgets rows of no datasource after they were deleted.
    async fn release(
        &self,
        name: NamespaceName,
        basis: Basis,
        rows: Vec<String>,
        record: Recorder,
    ) -> Result<()>;

    /// What a request did, if it was made after `since_ms`: digest, and the datasource that it created.
    async fn request(
        &self,
        id: CollectionId,
        request_id: &str,
        since_ms: Millis,
    ) -> Result<Option<(RequestRow, String)>>;

    /// Rows to be removed by now. None of these can be committed any more.
    async fn due(&self, now: Millis, limit: usize) -> Result<Vec<Due>>;

    /// Forgets rows that were removed.
    async fn removed(&self, id: CollectionId, generation: Generation) -> Result<()>;

    /// Collections whose namespace is gone, with their instances.
    async fn dropped(&self, limit: usize) -> Result<Vec<(Collection, String)>>;

    /// Forgets a collection that was removed.
    async fn forget(&self, id: CollectionId) -> Result<()>;

    /// Forgets requests from before a time.
    async fn forget_requests(&self, before_ms: Millis) -> Result<()>;

    /// What a team holds: rows and bytes.
    async fn usage(&self, team: &str) -> Result<(i64, i64)>;
}
