//! Rows out of process, over `sre.connector.v1.VectorDb`.

use async_trait::async_trait;
use futures::stream;
use sre_proto::connector::v1 as pb;
use sre_proto::connector::v1::vector_db_client::VectorDbClient;
use sre_proto::io::v1::Metric as PbMetric;
use sre_service::connectors::Opening;
use sre_service::connectors::grpc::{ConnectorChannel, OutOfProcess, SILENCE, with_causes};
use sre_vectors::{
    Backend, BackendError, Collection, Condition, Found, Generation, Metric, NumberKey, Query, Row, RowKey,
    Tag, best,
};
use tokio::time::timeout;
use tonic::{Code, Status};

/// Bytes of rows in one message.
const MESSAGE_BYTES: usize = 1 << 20;
/// What a row has besides its vector, texts and id, at most: see `size_bytes`.
const TAG_BYTES: usize = 40;
const ROW_BYTES: usize = 256;

/// A connector out of process.
#[derive(Debug)]
pub struct GrpcVectors {
    way: OutOfProcess,
}

impl GrpcVectors {
    /// Collections of the connector that an instance names.
    pub async fn open(opening: &Opening) -> anyhow::Result<Self> {
        Ok(Self { way: OutOfProcess::open(opening, "sre.connector.v1.VectorDb").await? })
    }

    fn client(&self) -> VectorDbClient<ConnectorChannel> {
        VectorDbClient::new(self.way.channel())
    }
}

#[async_trait]
impl Backend for GrpcVectors {
    async fn create(&self, collection: &Collection) -> Result<(), BackendError> {
        let request = pb::CreateCollectionRequest {
            collection: collection.id.name(),
            dimension: i32::try_from(collection.dimension).unwrap_or(i32::MAX),
            metric: metric(collection.metric).into(),
        };
        within(async { self.client().create_collection(request).await }).await?;
        Ok(())
    }

    async fn remove(&self, collection: &Collection) -> Result<(), BackendError> {
        let request = pb::DropCollectionRequest { collection: collection.id.name() };
        within(async { self.client().drop_collection(request).await }).await?;
        Ok(())
    }

    async fn put(&self, collection: &Collection, rows: Vec<Row>) -> Result<(), BackendError> {
        let messages = messages(collection.id.name(), rows);
        let put = within(async { self.client().put_vectors(stream::iter(messages)).await }).await;
        put.map(drop).map_err(|error| match error {
            Refusal::Invalid(cause) => {
                // What it said is for the operator.
                tracing::warn!(cause, "the connector of vectors cannot hold a row");
                BackendError::Refused("the store of vectors cannot hold a row of these".to_owned())
            }
            Refusal::Other(error) => error,
        })
    }

    async fn delete(&self, collection: &Collection, keys: Vec<RowKey>) -> Result<(), BackendError> {
        let request = pb::RemoveVectorsRequest {
            collection: collection.id.name(),
            keys: keys.into_iter().map(key_text).collect(),
        };
        within(async { self.client().remove_vectors(request).await }).await?;
        Ok(())
    }

    async fn delete_generation(
        &self,
        collection: &Collection,
        generation: Generation,
    ) -> Result<(), BackendError> {
        let request = pb::RemoveGenerationRequest { collection: collection.id.name(), generation };
        within(async { self.client().remove_generation(request).await }).await?;
        Ok(())
    }

    async fn search(&self, collection: &Collection, query: Query) -> Result<Vec<Found>, BackendError> {
        let top_k = query.top_k;
        let request = search(collection.id.name(), query);
        let mut parts = within(async { self.client().search_vectors(request).await }).await?.into_inner();
        let mut all = Vec::new();
        while let Some(part) = within(parts.message()).await? {
            all.extend(part.hits.into_iter().map(found));
            if all.len() > top_k {
                return Err(BackendError::Failed("the connector finds more than was asked for".to_owned()));
            }
        }
        Ok(best(all, top_k))
    }

    async fn check(&self) -> Result<(), BackendError> {
        self.way.check().await.map_err(|error| BackendError::Unavailable(error.to_string()))
    }
}

/// Why a call failed.
enum Refusal {
    /// The connector cannot hold what it was given.
    Invalid(String),
    Other(BackendError),
}

impl From<Refusal> for BackendError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(cause) => Self::Failed(cause),
            Refusal::Other(error) => error,
        }
    }
}

/// An answer in time, whatever the other side does.
async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Refusal> {
    let silent =
        |_elapsed| Refusal::Other(BackendError::Unavailable(format!("silent for {} s", SILENCE.as_secs())));
    timeout(SILENCE, call).await.map_err(silent)?.map_err(|status| {
        let cause = with_causes(&status);
        match status.code() {
            Code::InvalidArgument => Refusal::Invalid(cause),
            Code::ResourceExhausted => Refusal::Other(BackendError::Full(cause)),
            Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented | Code::NotFound => {
                Refusal::Other(BackendError::Failed(cause))
            }
            _ => Refusal::Other(BackendError::Unavailable(cause)),
        }
    })
}

fn metric(metric: Metric) -> PbMetric {
    match metric {
        Metric::Cosine => PbMetric::Cosine,
        Metric::Dot => PbMetric::Dot,
        Metric::Euclidean => PbMetric::Euclidean,
    }
}

fn key_text(key: RowKey) -> String {
    format!("{:032x}", key.digest)
}

/// The rows in messages of 1 MiB or one row; the first names the collection.
fn messages(collection: String, rows: Vec<Row>) -> Vec<pb::PutVectorsRequest> {
    let mut all = vec![pb::PutVectorsRequest { collection, rows: Vec::new() }];
    let mut filled_bytes = 0;
    for row in rows {
        let bytes = size_bytes(&row);
        if filled_bytes > 0 && filled_bytes + bytes > MESSAGE_BYTES {
            all.push(pb::PutVectorsRequest::default());
            filled_bytes = 0;
        }
        filled_bytes += bytes;
        if let Some(message) = all.last_mut() {
            message.rows.push(vector_row(row));
        }
    }
    all
}

fn size_bytes(row: &Row) -> usize {
    let features = row.features.tags.len() + row.features.numbers.len();
    row.size_bytes() + row.datasource.len() + features * TAG_BYTES + ROW_BYTES
}

fn vector_row(row: Row) -> pb::VectorRow {
    pb::VectorRow {
        key: key_text(row.key()),
        id: row.id,
        generation: row.generation,
        vector: row.vector,
        text: row.text,
        metadata_json: row.metadata,
        datasource: row.datasource,
        chunk: row.chunk,
        tags: row.features.tags.iter().map(Tag::hex).collect(),
        numbers: row.features.numbers.iter().map(|(key, number)| (NumberKey::name(key), *number)).collect(),
    }
}

fn search(collection: String, query: Query) -> pb::SearchVectorsRequest {
    pb::SearchVectorsRequest {
        collection,
        vector: query.vector,
        top_k: i32::try_from(query.top_k).unwrap_or(i32::MAX),
        below_generation: query.visibility.below,
        except_generations: query.visibility.except,
        condition: query.condition.as_ref().map(condition),
        include_text: query.wanted.text,
        include_metadata: query.wanted.metadata,
        include_vector: query.wanted.vector,
    }
}

fn condition(of: &Condition) -> pb::RowCondition {
    use pb::row_condition::{Condition as Kind, Number, Tags};
    let several =
        |inner: &[Condition]| pb::RowConditions { conditions: inner.iter().map(condition).collect() };
    let kind = match of {
        Condition::All(inner) => Kind::AllOf(several(inner)),
        Condition::Any(inner) => Kind::AnyOf(several(inner)),
        Condition::Tagged(tags) => Kind::Tagged(Tags { tags: tags.iter().map(Tag::hex).collect() }),
        Condition::Number(key, bounds) => Kind::Number(Number {
            name: key.name(),
            gt: bounds.gt,
            gte: bounds.gte,
            lt: bounds.lt,
            lte: bounds.lte,
        }),
    };
    pb::RowCondition { condition: Some(kind) }
}

fn found(hit: pb::search_vectors_response::Hit) -> Found {
    let row = hit.row.unwrap_or_default();
    Found {
        id: row.id,
        score: hit.score,
        generation: row.generation,
        datasource: row.datasource,
        chunk: row.chunk,
        text: row.text,
        metadata: row.metadata_json,
        vector: row.vector,
    }
}
