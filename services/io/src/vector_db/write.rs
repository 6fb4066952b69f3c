//! Writing: rows to the backend, and then the registry says that they count.

use std::ops::Range;

use bytes::Bytes;
use serde_json::{Map, Value};
use sre_vectors::splitter::Splitter;
use sre_vectors::{Collection, CollectionId, Features, Generation, Row, RowKey};
use tonic::Status;

use super::citation::Origin;
use super::embed::Embedder;
use super::name::{DatasourceName, NamespaceName};
use super::record::Recorder;
use super::registry::{Commit, DatasourceRow, NamespaceRow, RequestRow};
use super::{GRACE, Vectors, WRITE_TIME};
use crate::basis::{Basis, Condition};
use crate::clock::millis;
use crate::error::IoError;
use crate::usage::Quota;

/// The most bytes of a datasource's text.
pub const MAX_TEXT_BYTES: usize = 10 << 20;
/// The most chunks of a datasource.
pub const MAX_CHUNKS: usize = 5_000;
/// The most bytes of a row's text, and of its metadata: what the narrowest backend takes (D37).
pub const MAX_ROW_BYTES: usize = 65_535;
/// The longest chunk, in UTF-16 units: three bytes each at most.
pub const MAX_CHUNK_SIZE: usize = 16_384;
/// Where a request says nothing.
const CHUNK_SIZE: usize = 512;
const CHUNK_OVERLAP: usize = 100;
/// How long a request is known.
pub const REQUEST_TIME: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// What a datasource shall become.
#[derive(Debug, Clone)]
pub struct NewDatasource {
    /// The datasource.
    pub name: DatasourceName,
    /// What a person sees.
    pub label: String,
    /// Metadata of each row.
    pub metadata: Metadata,
    /// How it is cut.
    pub chunk_size: usize,
    /// How much chunks overlap.
    pub chunk_overlap: usize,
    /// The caller's id of the request; empty where it has none.
    pub request_id: String,
    /// Over which version.
    pub condition: Condition,
    /// The text.
    pub text: String,
    /// Where it is from.
    pub origin: Option<Origin>,
}

/// Metadata, checked.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// As it was given.
    pub json: Bytes,
    /// Read.
    pub object: Map<String, Value>,
}

impl Metadata {
    /// Reads metadata that a request holds in a field; none is an empty object.
    pub fn of(field: &'static str, json: &Bytes) -> Result<Self, IoError> {
        if json.len() > MAX_ROW_BYTES {
            return Err(IoError::TooLarge { what: "metadata", limit_bytes: MAX_ROW_BYTES as u64 });
        }
        if json.is_empty() {
            return Ok(Self { json: Bytes::from_static(b"{}"), object: Map::new() });
        }
        let object = serde_json::from_slice(json)
            .map_err(|error| invalid(field, format!("is no JSON object: {error}")))?;
        Ok(Self { json: json.clone(), object })
    }
}

impl NewDatasource {
    /// The sizes of chunks, from what a request says.
    pub fn chunking(size: i32, overlap: Option<i32>) -> Result<(usize, usize), IoError> {
        let size = match usize::try_from(size) {
            Ok(0) => CHUNK_SIZE,
            Ok(size) if size <= MAX_CHUNK_SIZE => size,
            _ => return Err(invalid("chunk_size", format!("must be between 1 and {MAX_CHUNK_SIZE}"))),
        };
        let overlap = match overlap.map(usize::try_from) {
            None => {
                if CHUNK_OVERLAP < size {
                    CHUNK_OVERLAP
                } else {
                    0
                }
            }
            Some(Ok(overlap)) => overlap,
            Some(Err(_)) => return Err(invalid("chunk_overlap", "must not be negative")),
        };
        Splitter::new(size, overlap).map_err(|error| invalid("chunk_overlap", error.to_string()))?;
        Ok((size, overlap))
    }

    /// What makes two requests one.
    fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let sizes = format!("{}/{}/{:?}", self.chunk_size, self.chunk_overlap, self.condition);
        let name = self.name.to_string();
        for part in [&name, &self.label, &sizes, &self.text] {
            hasher.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
        }
        hasher.update(&self.metadata.json);
        if let Some(origin) = &self.origin {
            origin.digest_into(&mut hasher);
        }
        hasher.finalize().to_hex().to_string()
    }

    fn chunks(&self) -> Result<Vec<Range<usize>>, IoError> {
        let splitter = Splitter::new(self.chunk_size, self.chunk_overlap)
            .map_err(|error| invalid("chunk_overlap", error.to_string()))?;
        splitter.places(&self.text, MAX_CHUNKS).map_err(|error| invalid("text", error.to_string()))
    }

    /// The metadata of each chunk's row.
    fn metadata_of(&self, chunks: &[Range<usize>]) -> Vec<Bytes> {
        match &self.origin {
            None => vec![self.metadata.json.clone(); chunks.len()],
            Some(origin) => origin.cited(&self.text, chunks, &self.metadata.json),
        }
    }
}

/// A datasource that was written with the backend, and waits to count.
pub struct Written {
    /// The namespace as it was.
    pub id: CollectionId,
    /// The datasource.
    pub row: DatasourceRow,
    text: String,
    condition: Condition,
    request: Option<RequestRow>,
}

impl Vectors {
    /// What a request with this id did before, if it did.
    pub async fn repeated(
        &self,
        namespace: &NamespaceRow,
        new: &NewDatasource,
    ) -> Result<Option<DatasourceRow>, IoError> {
        if new.request_id.is_empty() {
            return Ok(None);
        }
        let since = self.clock.now().saturating_sub(millis(REQUEST_TIME));
        let known = self.registry.request(namespace.id, &new.request_id, since).await?;
        let Some((request, datasource)) = known else { return Ok(None) };
        if request.digest != new.digest() {
            return Err(IoError::OtherRequest);
        }
        // Deleted or replaced since: it is done again.
        self.registry.datasource(namespace.id, &datasource).await
    }

    /// Cuts, embeds and puts a datasource's rows: they do not count yet.
    pub async fn write(
        &self,
        namespace: &NamespaceRow,
        new: NewDatasource,
        creator: String,
        embedder: &mut Embedder,
    ) -> Result<Written, Status> {
        let Some(embedding) = &namespace.embedding else {
            let words = "the namespace embeds no texts: put rows with vectors, or create one with a model";
            return Err(invalid("header.name", words).into());
        };
        let places = new.chunks()?;
        let metadata = new.metadata_of(&places);
        let chunks: Vec<&str> = places.iter().map(|place| &new.text[place.clone()]).collect();
        let now = self.clock.now();
        let generation = self.registry.begin(namespace.id, now + millis(WRITE_TIME)).await?;
        let putting = async {
            let (mut bytes, mut first) = (0, 0);
            while first < chunks.len() {
                let count = Embedder::fitting(&chunks[first..], namespace.dimension);
                let part = &chunks[first..first + count];
                let texts = part.iter().map(|text| (*text).to_owned()).collect();
                let vectors = embedder.embed(embedding, namespace.dimension, texts).await?;
                let rows = rows_of(&new, generation, first, part, &metadata[first..first + count], vectors)?;
                bytes += rows.iter().map(Row::size_bytes).sum::<usize>();
                self.store_of(namespace)?
                    .backend()
                    .put(&namespace.collection(), rows)
                    .await
                    .map_err(IoError::from)?;
                first += count;
            }
            Ok::<usize, Status>(bytes)
        };
        let bytes = match putting.await {
            Ok(bytes) => bytes,
            Err(status) => {
                self.abandon(namespace, generation).await;
                return Err(status);
            }
        };
        let request = (!new.request_id.is_empty())
            .then(|| RequestRow { id: new.request_id.clone(), digest: new.digest() });
        let now = self.clock.now();
        let chunk_count = i32::try_from(chunks.len()).unwrap_or(i32::MAX);
        let row = DatasourceRow {
            id: new.name.datasource.clone(),
            label: if new.label.is_empty() { "Untitled".to_owned() } else { new.label },
            metadata: String::from_utf8_lossy(&new.metadata.json).into_owned(),
            chunk_size: i32::try_from(new.chunk_size).unwrap_or(i32::MAX),
            chunk_overlap: i32::try_from(new.chunk_overlap).unwrap_or(i32::MAX),
            chunks: chunk_count,
            text_bytes: i64::try_from(new.text.len()).unwrap_or(i64::MAX),
            bytes: i64::try_from(bytes + new.text.len()).unwrap_or(i64::MAX),
            etag: sre_proto::ids::new_uuid().simple().to_string(),
            generation,
            creator,
            created_ms: now,
            updated_ms: now,
        };
        Ok(Written { id: namespace.id, row, text: new.text, condition: new.condition, request })
    }

    /// Makes written rows count. Repeat it where the access list changed, after deciding again.
    pub async fn commit(
        &self,
        namespace: &NamespaceName,
        basis: Basis,
        written: &Written,
        quota: Quota,
        record: Recorder,
    ) -> Result<DatasourceRow, IoError> {
        let commit = Commit {
            namespace: namespace.clone(),
            id: written.id,
            basis,
            row: written.row.clone(),
            text: written.text.clone(),
            condition: written.condition.clone(),
            request: written.request.clone(),
            due_ms: self.clock.now() + millis(GRACE),
            quota,
        };
        self.registry.commit(commit, record).await
    }

    /// Removes rows that will not count; where that fails, the sweeper does.
    pub async fn abandon(&self, namespace: &NamespaceRow, generation: Generation) {
        let removed = async {
            let collection = namespace.collection();
            self.store_of(namespace)?.backend().delete_generation(&collection, generation).await?;
            self.registry.removed(namespace.id, generation).await
        };
        if let Err(error) = removed.await {
            tracing::warn!(%error, "rows that do not count were not removed: the sweeper does it");
        }
    }

    /// Puts rows of no datasource: first booked, then stored; gives how many ids are new.
    pub async fn put(
        &self,
        name: &NamespaceName,
        namespace: &NamespaceRow,
        basis: Basis,
        rows: Vec<Row>,
        quota: Quota,
        record: Recorder,
    ) -> Result<usize, IoError> {
        let sizes =
            rows.iter().map(|row| (row.id.clone(), i64::try_from(row.size_bytes()).unwrap_or(i64::MAX)));
        let created = self.registry.book(name.clone(), basis, sizes.collect(), quota, record).await?;
        self.store_of(namespace)?.backend().put(&namespace.collection(), rows).await?;
        Ok(created)
    }

    /// Deletes rows of no datasource.
    pub async fn delete(
        &self,
        name: &NamespaceName,
        namespace: &NamespaceRow,
        basis: Basis,
        ids: Vec<String>,
        record: Recorder,
    ) -> Result<(), IoError> {
        let keys = ids.iter().map(|id| RowKey::of(0, id)).collect();
        self.store_of(namespace)?.backend().delete(&namespace.collection(), keys).await?;
        self.registry.release(name.clone(), basis, ids, record).await
    }

    /// Creates a namespace: the collection first, so that the registry names none that is not there.
    pub async fn create(&self, row: NamespaceRow, record: Recorder) -> Result<NamespaceRow, IoError> {
        let store = self.store_of(&row)?;
        let collection: Collection = row.collection();
        store.backend().create(&collection).await?;
        match self.registry.create(row.clone(), record).await {
            Ok(()) => Ok(row),
            Err(error) => {
                // Nobody knows its id, so nothing can be in it.
                if let Err(error) = store.backend().remove(&collection).await {
                    tracing::warn!(%error, collection = collection.id.name(), "an empty collection stays behind");
                }
                Err(error)
            }
        }
    }
}

fn rows_of(
    new: &NewDatasource,
    generation: Generation,
    first: usize,
    chunks: &[&str],
    metadata: &[Bytes],
    vectors: Vec<Vec<f32>>,
) -> Result<Vec<Row>, IoError> {
    let datasource = &new.name.datasource;
    let features = Features::of(&new.metadata.object, datasource)
        .map_err(|error| invalid("header.metadata_json", error.to_string()))?;
    let chunks = chunks.iter().zip(metadata).zip(vectors).enumerate();
    let rows = chunks.map(|(place, ((chunk, metadata), vector))| Row {
        id: format!("{datasource}#{}", first + place),
        generation,
        vector,
        text: (*chunk).to_owned(),
        metadata: metadata.clone(),
        features: features.clone(),
        datasource: datasource.clone(),
        chunk: i32::try_from(first + place).unwrap_or(i32::MAX),
    });
    Ok(rows.collect())
}

pub(super) fn invalid(field: &'static str, message: impl Into<String>) -> IoError {
    IoError::Invalid { field, message: message.into() }
}
