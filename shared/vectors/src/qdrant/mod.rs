//! Qdrant over gRPC: a collection for each collection, with indexes over tags and generation.

mod condition;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tonic::Code;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::backend::{Backend, BackendError};
use crate::features::Tag;
use crate::grpc;
use crate::metric::{self, Metric};
use crate::model::{Collection, Found, Generation, Query, Row, RowKey, best};
use condition::{generation_is, search_filter};
use pb::collections_client::CollectionsClient;
use pb::points_client::PointsClient;
use pb::qdrant_client::QdrantClient;

/// The wire format.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
mod pb {
    tonic::include_proto!("qdrant");
}

/// Where Qdrant reads keys.
const KEY: &str = "api-key";

/// Settings of the connector `qdrant`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QdrantSettings {
    /// The address of its gRPC port, `https://host:6334`.
    pub address: String,
    /// Its API key; none where it asks for none.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub api_key: Option<SecretString>,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// Rows in Qdrant.
pub struct Qdrant {
    channel: Channel,
    key: Option<MetadataValue<Ascii>>,
}

impl Qdrant {
    /// Over a channel that connects when it is first used.
    pub fn open(settings: &QdrantSettings) -> Result<Self, BackendError> {
        let key = settings.api_key.as_ref().map(|key| grpc::secret(key.expose_secret())).transpose()?;
        Ok(Self { channel: grpc::channel(&settings.address, settings.ca.as_ref())?, key })
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        grpc::request(message, KEY, self.key.as_ref())
    }

    fn collections(&self) -> CollectionsClient<Channel> {
        CollectionsClient::new(self.channel.clone())
    }

    fn points(&self) -> PointsClient<Channel> {
        PointsClient::new(self.channel.clone()).max_decoding_message_size(grpc::MESSAGE_BYTES)
    }

    async fn exists(&self, collection: &Collection) -> Result<bool, BackendError> {
        let request = pb::CollectionExistsRequest { collection_name: collection.id.name() };
        let answer = self.collections().collection_exists(self.request(request)).await;
        Ok(answer.map_err(grpc::failed)?.into_inner().result.is_some_and(|result| result.exists))
    }

    async fn delete_where(
        &self,
        collection: &Collection,
        which: pb::points_selector::PointsSelectorOneOf,
    ) -> Result<(), BackendError> {
        let request = pb::DeletePoints {
            collection_name: collection.id.name(),
            wait: Some(true),
            points: Some(pb::PointsSelector { points_selector_one_of: Some(which) }),
        };
        self.points().delete(self.request(request)).await.map(drop).map_err(grpc::failed)
    }
}

#[async_trait]
impl Backend for Qdrant {
    async fn create(&self, collection: &Collection) -> Result<(), BackendError> {
        if !self.exists(collection).await? {
            let params =
                pb::VectorParams { size: collection.dimension as u64, distance: distance(collection.metric) };
            let request = pb::CreateCollection {
                collection_name: collection.id.name(),
                vectors_config: Some(pb::VectorsConfig {
                    config: Some(pb::vectors_config::Config::Params(params)),
                }),
            };
            match self.collections().create(self.request(request)).await {
                Err(status) if status.code() != Code::AlreadyExists => return Err(grpc::failed(status)),
                _ => {}
            }
        }
        // Also for one that is there: whoever made it may have stopped before these.
        for (field, kind) in [("tags", pb::FieldType::Keyword), ("generation", pb::FieldType::Integer)] {
            let request = pb::CreateFieldIndexCollection {
                collection_name: collection.id.name(),
                wait: Some(true),
                field_name: field.to_owned(),
                field_type: Some(kind.into()),
            };
            self.points().create_field_index(self.request(request)).await.map_err(grpc::failed)?;
        }
        Ok(())
    }

    async fn remove(&self, collection: &Collection) -> Result<(), BackendError> {
        let request = pb::DeleteCollection { collection_name: collection.id.name() };
        match self.collections().delete(self.request(request)).await {
            Err(status) if status.code() != Code::NotFound => Err(grpc::failed(status)),
            _ => Ok(()),
        }
    }

    async fn put(&self, collection: &Collection, rows: Vec<Row>) -> Result<(), BackendError> {
        // The later of two with one key.
        let points: HashMap<RowKey, pb::PointStruct> =
            rows.into_iter().map(|row| (row.key(), point(row))).collect();
        let request = pb::UpsertPoints {
            collection_name: collection.id.name(),
            wait: Some(true),
            points: points.into_values().collect(),
        };
        self.points().upsert(self.request(request)).await.map(drop).map_err(grpc::failed)
    }

    async fn delete(&self, collection: &Collection, keys: Vec<RowKey>) -> Result<(), BackendError> {
        let ids = keys.into_iter().map(point_id).collect();
        let ids = pb::points_selector::PointsSelectorOneOf::Points(pb::PointsIdsList { ids });
        self.delete_where(collection, ids).await
    }

    async fn delete_generation(
        &self,
        collection: &Collection,
        generation: Generation,
    ) -> Result<(), BackendError> {
        let filter = pb::Filter { must: vec![generation_is(&[generation])], ..pb::Filter::default() };
        self.delete_where(collection, pb::points_selector::PointsSelectorOneOf::Filter(filter)).await
    }

    async fn search(&self, collection: &Collection, query: Query) -> Result<Vec<Found>, BackendError> {
        let mut fields = vec!["id", "generation", "datasource", "chunk"];
        fields.extend(query.wanted.text.then_some("text"));
        fields.extend(query.wanted.metadata.then_some("metadata"));
        let include = pb::PayloadIncludeSelector { fields: fields.into_iter().map(str::to_owned).collect() };
        let payload = pb::with_payload_selector::SelectorOptions::Include(include);
        let vectors = pb::with_vectors_selector::SelectorOptions::Enable(query.wanted.vector);
        let request = pb::SearchPoints {
            collection_name: collection.id.name(),
            filter: Some(search_filter(&query)),
            limit: query.top_k as u64,
            vector: query.vector,
            with_payload: Some(pb::WithPayloadSelector { selector_options: Some(payload) }),
            params: None,
            with_vectors: Some(pb::WithVectorsSelector { selector_options: Some(vectors) }),
        };
        let answer = self.points().search(self.request(request)).await.map_err(grpc::failed)?;
        let found = answer.into_inner().result.into_iter().map(|point| found(point, collection.metric));
        Ok(best(found.collect(), query.top_k))
    }

    async fn check(&self) -> Result<(), BackendError> {
        let mut client = QdrantClient::new(self.channel.clone());
        let answer = client.health_check(self.request(pb::HealthCheckRequest {})).await;
        answer.map(drop).map_err(grpc::failed)
    }
}

fn distance(metric: Metric) -> i32 {
    let distance = match metric {
        Metric::Cosine => pb::Distance::Cosine,
        Metric::Dot => pb::Distance::Dot,
        Metric::Euclidean => pb::Distance::Euclid,
    };
    distance.into()
}

fn point_id(key: RowKey) -> pb::PointId {
    pb::PointId { point_id_options: Some(pb::point_id::PointIdOptions::Uuid(key.uuid().to_string())) }
}

fn point(row: Row) -> pb::PointStruct {
    use pb::value::Kind;
    let value = |kind| pb::Value { kind: Some(kind) };
    let tags = row.features.tags.iter().map(|tag: &Tag| value(Kind::StringValue(tag.hex()))).collect();
    let numbers =
        row.features.numbers.iter().map(|(key, number)| (key.name(), value(Kind::DoubleValue(*number))));
    let id = point_id(row.key());
    let payload = [
        ("id", Kind::StringValue(row.id)),
        ("generation", Kind::IntegerValue(row.generation)),
        ("datasource", Kind::StringValue(row.datasource)),
        ("chunk", Kind::IntegerValue(row.chunk.into())),
        ("tags", Kind::ListValue(pb::ListValue { values: tags })),
        ("numbers", Kind::StructValue(pb::Struct { fields: numbers.collect() })),
        ("text", Kind::StringValue(row.text)),
        ("metadata", Kind::StringValue(String::from_utf8_lossy(&row.metadata).into_owned())),
    ];
    let dense = pb::vector::Vector::Dense(pb::DenseVector { data: row.vector });
    let vector = pb::vectors::VectorsOptions::Vector(pb::Vector { vector: Some(dense) });
    pb::PointStruct {
        id: Some(id),
        payload: payload.into_iter().map(|(name, kind)| (name.to_owned(), value(kind))).collect(),
        vectors: Some(pb::Vectors { vectors_options: Some(vector) }),
    }
}

fn found(mut point: pb::ScoredPoint, metric: Metric) -> Found {
    use pb::value::Kind;
    let mut take = |name: &str| point.payload.remove(name).and_then(|value| value.kind);
    let mut text = |name: &str| match take(name) {
        Some(Kind::StringValue(text)) => text,
        _ => String::new(),
    };
    let (id, datasource, body, metadata) = (text("id"), text("datasource"), text("text"), text("metadata"));
    let mut whole = |name: &str| match take(name) {
        Some(Kind::IntegerValue(number)) => number,
        _ => 0,
    };
    let (generation, chunk) = (whole("generation"), whole("chunk"));
    let vector = match point.vectors.and_then(|vectors| vectors.vectors_options) {
        Some(pb::vectors_output::VectorsOptions::Vector(pb::VectorOutput {
            vector: Some(dense), ..
        })) => {
            let pb::vector_output::Vector::Dense(dense) = dense;
            dense.data
        }
        Some(pb::vectors_output::VectorsOptions::Vector(vector)) => vector.data,
        None => Vec::new(),
    };
    Found {
        id,
        score: match metric {
            Metric::Cosine | Metric::Dot => point.score,
            Metric::Euclidean => metric::of_distance(point.score),
        },
        generation,
        datasource,
        chunk: i32::try_from(chunk).unwrap_or_default(),
        text: body,
        metadata: Bytes::from(metadata),
        vector,
    }
}

impl std::fmt::Debug for Qdrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qdrant").finish_non_exhaustive()
    }
}
