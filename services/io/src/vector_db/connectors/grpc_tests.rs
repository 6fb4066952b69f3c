//! Rows out of process: the embedded backend behind a server.

use std::collections::HashMap;

use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use sre_proto::connector::v1 as pb;
use sre_proto::connector::v1::vector_db_server::{VectorDb, VectorDbServer};
use sre_proto::io::v1::Metric as PbMetric;
use sre_service::testing::ConnectorServer;
use sre_store::{OpenOptions, Store};
use sre_vectors::contract::{self, Bench, fresh_id, row};
use sre_vectors::embedded::{Embedded, EmbeddedSettings, MIGRATIONS};
use sre_vectors::{
    Backend, BackendError, Bounds, Collection, CollectionId, Condition, Features, Metric, NumberKey, Query,
    Row, RowKey, Tag, Visibility, Wanted,
};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::grpc::GrpcVectors;

/// A connector as somebody could write it; it knows what the contract tells it and no more.
struct Rows {
    backend: Embedded,
    collections: Mutex<HashMap<String, Collection>>,
}

impl Rows {
    fn collection(&self, name: &str) -> Result<Collection, Status> {
        self.collections.lock().get(name).copied().ok_or_else(|| Status::not_found(name.to_owned()))
    }
}

fn failed(error: BackendError) -> Status {
    Status::internal(error.to_string())
}

fn digest<const N: usize>(hex: &str) -> Result<[u8; N], Status> {
    let wrong = || Status::invalid_argument(format!("{hex:?} has not {N} bytes in hex"));
    if hex.len() != 2 * N || !hex.is_ascii() {
        return Err(wrong());
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

fn tags(hex: &[String]) -> Result<Vec<Tag>, Status> {
    hex.iter().map(|tag| digest(tag).map(Tag::from_bytes)).collect()
}

fn number_key(name: &str) -> Result<NumberKey, Status> {
    digest(name.strip_prefix('n').unwrap_or_default()).map(NumberKey::from_bytes)
}

fn row_of(row: pb::VectorRow) -> Result<Row, Status> {
    let numbers = row.numbers.iter().map(|(name, number)| Ok((number_key(name)?, *number)));
    let mut features = Features { tags: tags(&row.tags)?, numbers: numbers.collect::<Result<_, Status>>()? };
    features.numbers.sort_by_key(|(key, _)| *key);
    let read = Row {
        id: row.id,
        generation: row.generation,
        vector: row.vector,
        text: row.text,
        metadata: row.metadata_json,
        features,
        datasource: row.datasource,
        chunk: row.chunk,
    };
    // What rows are removed by later is what they come with now.
    assert_eq!(digest::<16>(&row.key)?, read.key().digest.to_be_bytes());
    Ok(read)
}

fn condition(of: pb::RowCondition) -> Result<Condition, Status> {
    use pb::row_condition::Condition as Kind;
    let several = |all: pb::RowConditions| {
        all.conditions.into_iter().map(condition).collect::<Result<Vec<_>, Status>>()
    };
    Ok(match of.condition {
        Some(Kind::AllOf(all)) => Condition::All(several(all)?),
        Some(Kind::AnyOf(any)) => Condition::Any(several(any)?),
        Some(Kind::Tagged(tagged)) => Condition::Tagged(tags(&tagged.tags)?),
        Some(Kind::Number(number)) => Condition::Number(
            number_key(&number.name)?,
            Bounds { gt: number.gt, gte: number.gte, lt: number.lt, lte: number.lte },
        ),
        None => return Err(Status::invalid_argument("a condition without one")),
    })
}

#[tonic::async_trait]
impl VectorDb for Rows {
    type SearchVectorsStream = BoxStream<'static, Result<pb::SearchVectorsResponse, Status>>;

    async fn create_collection(
        &self,
        request: Request<pb::CreateCollectionRequest>,
    ) -> Result<Response<pb::CreateCollectionResponse>, Status> {
        let request = request.into_inner();
        let metric = match request.metric() {
            PbMetric::Cosine => Metric::Cosine,
            PbMetric::Dot => Metric::Dot,
            PbMetric::Euclidean => Metric::Euclidean,
            PbMetric::Unspecified => return Err(Status::invalid_argument("metric")),
        };
        let id = digest(request.collection.strip_prefix("ns_").unwrap_or_default())?;
        let dimension = request.dimension.try_into().map_err(|_| Status::invalid_argument("dimension"))?;
        let collection = Collection { id: CollectionId(u128::from_be_bytes(id)), dimension, metric };
        self.backend.create(&collection).await.map_err(failed)?;
        self.collections.lock().insert(request.collection, collection);
        Ok(Response::new(pb::CreateCollectionResponse {}))
    }

    async fn drop_collection(
        &self,
        request: Request<pb::DropCollectionRequest>,
    ) -> Result<Response<pb::DropCollectionResponse>, Status> {
        let gone = self.collections.lock().remove(&request.into_inner().collection);
        if let Some(collection) = gone {
            self.backend.remove(&collection).await.map_err(failed)?;
        }
        Ok(Response::new(pb::DropCollectionResponse {}))
    }

    async fn put_vectors(
        &self,
        request: Request<Streaming<pb::PutVectorsRequest>>,
    ) -> Result<Response<pb::PutVectorsResponse>, Status> {
        let (mut messages, mut collection) = (request.into_inner(), None);
        while let Some(message) = messages.message().await? {
            let collection = match collection {
                Some(known) => known,
                None => *collection.insert(self.collection(&message.collection)?),
            };
            let rows: Vec<Row> = message.rows.into_iter().map(row_of).collect::<Result<_, _>>()?;
            if rows.iter().any(|row| row.text == UNWANTED) {
                return Err(Status::invalid_argument("canary: no such text"));
            }
            self.backend.put(&collection, rows).await.map_err(failed)?;
        }
        Ok(Response::new(pb::PutVectorsResponse {}))
    }

    async fn remove_vectors(
        &self,
        request: Request<pb::RemoveVectorsRequest>,
    ) -> Result<Response<pb::RemoveVectorsResponse>, Status> {
        let request = request.into_inner();
        let key = |key: &String| {
            Ok::<_, Status>(RowKey { generation: 0, digest: u128::from_be_bytes(digest(key)?) })
        };
        let keys = request.keys.iter().map(key).collect::<Result<_, _>>()?;
        let collection = self.collection(&request.collection)?;
        self.backend.delete(&collection, keys).await.map_err(failed)?;
        Ok(Response::new(pb::RemoveVectorsResponse {}))
    }

    async fn remove_generation(
        &self,
        request: Request<pb::RemoveGenerationRequest>,
    ) -> Result<Response<pb::RemoveGenerationResponse>, Status> {
        let request = request.into_inner();
        let collection = self.collection(&request.collection)?;
        self.backend.delete_generation(&collection, request.generation).await.map_err(failed)?;
        Ok(Response::new(pb::RemoveGenerationResponse {}))
    }

    async fn search_vectors(
        &self,
        request: Request<pb::SearchVectorsRequest>,
    ) -> Result<Response<Self::SearchVectorsStream>, Status> {
        let request = request.into_inner();
        let collection = self.collection(&request.collection)?;
        let query = Query {
            vector: request.vector,
            top_k: request.top_k.try_into().map_err(|_| Status::invalid_argument("top_k"))?,
            visibility: Visibility { below: request.below_generation, except: request.except_generations },
            condition: request.condition.map(condition).transpose()?,
            wanted: Wanted {
                text: request.include_text,
                metadata: request.include_metadata,
                vector: request.include_vector,
            },
        };
        let found = self.backend.search(&collection, query).await.map_err(failed)?;
        let hits = found.into_iter().map(|found| pb::search_vectors_response::Hit {
            score: found.score,
            row: Some(pb::VectorRow {
                id: found.id,
                generation: found.generation,
                vector: found.vector,
                text: found.text,
                metadata_json: found.metadata,
                datasource: found.datasource,
                chunk: found.chunk,
                ..pb::VectorRow::default()
            }),
        });
        // One in each message: whoever reads them puts them together.
        let parts: Vec<_> = hits.map(|hit| Ok(pb::SearchVectorsResponse { hits: vec![hit] })).collect();
        Ok(Response::new(Box::pin(stream::iter(parts))))
    }
}

/// A text that the server does not take.
const UNWANTED: &str = "a text that cannot be held";

async fn fresh() -> Option<Bench> {
    let folder = tempfile::tempdir().unwrap();
    let options = OpenOptions::new(folder.path().join("vectors.db"), "store.dir", MIGRATIONS);
    let store = Store::open(options).unwrap();
    let backend =
        Embedded::open(store, folder.path().join("graphs"), EmbeddedSettings::default()).await.unwrap();
    let rows = Rows { backend, collections: Mutex::default() };
    let server = ConnectorServer::start(Routes::new(VectorDbServer::new(rows))).await;
    let vectors = GrpcVectors::open(&server.opening()).await.unwrap();
    Some(Bench::over(vectors, (folder, server)))
}

contract::every_case!(fresh);

/// What the connector says is for the operator's log: callers are told what it means.
#[tokio::test]
async fn a_row_that_it_cannot_hold_is_the_callers_to_change() {
    let bench = fresh().await.unwrap();
    let collection = bench.collection(2, Metric::Cosine).await;
    let unwanted = Row { text: UNWANTED.to_owned(), ..row("a", &[1.0, 0.0]) };
    let refused = bench.backend.put(&collection, vec![unwanted]).await.unwrap_err();
    assert!(matches!(&refused, BackendError::Refused(text) if !text.contains("canary")), "{refused:?}");
    // A collection that it lost is its own fault.
    let lost = Collection { id: fresh_id(), ..collection };
    let failed = bench.backend.put(&lost, vec![row("a", &[1.0, 0.0])]).await.unwrap_err();
    assert!(matches!(failed, BackendError::Failed(_)), "{failed:?}");
}
