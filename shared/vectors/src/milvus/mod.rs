//! Milvus over gRPC: a collection for each collection, with the reference's fields and some of our own beside them.
//!
//! Expressions hold numbers and digits of our own alone (services.md H32); texts longer than the 65,535 bytes of a
//! field do not come here (D37). Credentials are in no text that could be logged (H30).

mod columns;
mod expression;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::backend::{Backend, BackendError};
use crate::grpc;
use crate::metric::{self, Metric};
use crate::model::{Collection, Found, Generation, Query, Row, RowKey, best};
use expression::{generation_is, key_is, search_expression};
use pb::milvus_service_client::MilvusServiceClient;

/// The wire format.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
mod pb {
    tonic::include_proto!("milvus.proto.milvus");
}

/// Where Milvus reads credentials.
const CREDENTIAL: &str = "authorization";
/// Milvus' codes for a collection that is not there: now, and before 2.3.
const NOT_FOUND: [i32; 2] = [100, 4];
/// How widely the index looks.
const EF: usize = 128;

/// Settings of the connector `milvus`, in the reference's shape.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MilvusSettings {
    /// Where it is, and who asks.
    pub credentials: MilvusCredentials,
    /// The database; the default one where empty.
    #[serde(default)]
    pub database: String,
    /// A file of PEM certificates to trust instead of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// Where Milvus is, and who asks: a token, or a user and a password, or neither.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MilvusCredentials {
    /// `https://host:19530`.
    pub address: String,
    /// An API key, or `user:password`.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub token: Option<SecretString>,
    /// The user.
    #[serde(default)]
    pub user: Option<String>,
    /// The user's password.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
}

/// Rows in Milvus.
pub struct Milvus {
    channel: Channel,
    credential: Option<MetadataValue<Ascii>>,
    database: String,
}

impl Milvus {
    /// Over a channel that connects when it is first used.
    pub fn open(settings: &MilvusSettings) -> Result<Self, BackendError> {
        let given = &settings.credentials;
        let text = match (&given.token, &given.user, &given.password) {
            (Some(token), ..) => Some(token.expose_secret().to_owned()),
            (None, Some(user), Some(password)) => Some(format!("{user}:{}", password.expose_secret())),
            _ => None,
        };
        let credential = text.map(|text| grpc::secret(&STANDARD.encode(text))).transpose()?;
        let channel = grpc::channel(&given.address, settings.ca.as_ref())?;
        Ok(Self { channel, credential, database: settings.database.clone() })
    }

    fn client(&self) -> MilvusServiceClient<Channel> {
        MilvusServiceClient::new(self.channel.clone())
            .max_decoding_message_size(grpc::MESSAGE_BYTES)
            .max_encoding_message_size(grpc::MESSAGE_BYTES)
    }

    fn request<T>(&self, message: T) -> tonic::Request<T> {
        grpc::request(message, CREDENTIAL, self.credential.as_ref())
    }

    async fn has(&self, name: &str) -> Result<bool, BackendError> {
        let request =
            pb::HasCollectionRequest { db_name: self.database.clone(), collection_name: name.to_owned() };
        let answer = self.client().has_collection(self.request(request)).await.map_err(grpc::failed)?;
        let answer = answer.into_inner();
        good(answer.status)?;
        Ok(answer.value)
    }

    async fn index(&self, name: &str, metric: Metric) -> Result<(), BackendError> {
        let pair = |key: &str, value: &str| pb::KeyValuePair { key: key.into(), value: value.into() };
        let request = pb::CreateIndexRequest {
            db_name: self.database.clone(),
            collection_name: name.to_owned(),
            field_name: columns::VECTOR.to_owned(),
            index_name: columns::VECTOR.to_owned(),
            extra_params: vec![pair("index_type", "AUTOINDEX"), pair("metric_type", metric_type(metric))],
        };
        let answer = self.client().create_index(self.request(request)).await.map_err(grpc::failed)?;
        let status = answer.into_inner();
        // Servers agree on the words and not on the code.
        if status.reason.contains("already exist") {
            return Ok(());
        }
        good(Some(status))
    }

    async fn load(&self, name: &str) -> Result<(), BackendError> {
        let request = pb::LoadCollectionRequest {
            db_name: self.database.clone(),
            collection_name: name.to_owned(),
            replica_number: 1,
        };
        let answer = self.client().load_collection(self.request(request)).await.map_err(grpc::failed)?;
        good(Some(answer.into_inner()))
    }

    async fn delete_where(&self, collection: &Collection, expr: String) -> Result<(), BackendError> {
        let request = pb::DeleteRequest {
            db_name: self.database.clone(),
            collection_name: collection.id.name(),
            expr,
            consistency_level: pb::ConsistencyLevel::Strong.into(),
        };
        let answer = self.client().delete(self.request(request)).await.map_err(grpc::failed)?;
        good(answer.into_inner().status)
    }

    /// Keys of some rows of a generation.
    async fn keys_of(
        &self,
        collection: &Collection,
        generation: Generation,
    ) -> Result<Vec<String>, BackendError> {
        let request = pb::QueryRequest {
            db_name: self.database.clone(),
            collection_name: collection.id.name(),
            expr: generation_is(generation),
            output_fields: vec![columns::KEY.to_owned()],
            query_params: vec![pb::KeyValuePair { key: "limit".into(), value: "1000".into() }],
            consistency_level: pb::ConsistencyLevel::Strong.into(),
        };
        let answer = self.client().query(self.request(request)).await.map_err(grpc::failed)?.into_inner();
        good(answer.status)?;
        Ok(columns::texts(&answer.fields_data, columns::KEY))
    }
}

#[async_trait]
impl Backend for Milvus {
    async fn create(&self, collection: &Collection) -> Result<(), BackendError> {
        let name = collection.id.name();
        if !self.has(&name).await? {
            let request = pb::CreateCollectionRequest {
                db_name: self.database.clone(),
                collection_name: name.clone(),
                schema: columns::schema(collection).encode_to_vec(),
                shards_num: 1,
                consistency_level: pb::ConsistencyLevel::Strong.into(),
            };
            let answer =
                self.client().create_collection(self.request(request)).await.map_err(grpc::failed)?;
            good(Some(answer.into_inner()))?;
        }
        // Also for one that is there: whoever made it may have stopped before these.
        self.index(&name, collection.metric).await?;
        self.load(&name).await
    }

    async fn remove(&self, collection: &Collection) -> Result<(), BackendError> {
        let request = pb::DropCollectionRequest {
            db_name: self.database.clone(),
            collection_name: collection.id.name(),
        };
        let answer = self.client().drop_collection(self.request(request)).await.map_err(grpc::failed)?;
        let status = answer.into_inner();
        if NOT_FOUND.contains(&status.code) || NOT_FOUND.contains(&status.error_code) {
            return Ok(());
        }
        good(Some(status))
    }

    async fn put(&self, collection: &Collection, rows: Vec<Row>) -> Result<(), BackendError> {
        // Each key once: Milvus refuses two rows with one key.
        let rows: BTreeMap<RowKey, Row> = rows.into_iter().map(|row| (row.key(), row)).collect();
        let request = pb::UpsertRequest {
            db_name: self.database.clone(),
            collection_name: collection.id.name(),
            num_rows: u32::try_from(rows.len()).unwrap_or(u32::MAX),
            fields_data: columns::of_rows(collection, &rows),
            hash_keys: Vec::new(),
        };
        let answer = self.client().upsert(self.request(request)).await.map_err(grpc::failed)?;
        good(answer.into_inner().status)
    }

    async fn delete(&self, collection: &Collection, keys: Vec<RowKey>) -> Result<(), BackendError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.delete_where(collection, key_is(keys.iter().map(columns::key))).await
    }

    /// By keys, a thousand at a time: deletion by any other field is bounded differently by every server.
    async fn delete_generation(
        &self,
        collection: &Collection,
        generation: Generation,
    ) -> Result<(), BackendError> {
        loop {
            let keys = self.keys_of(collection, generation).await?;
            if keys.is_empty() {
                return Ok(());
            }
            self.delete_where(collection, key_is(keys)).await?;
        }
    }

    async fn search(&self, collection: &Collection, query: Query) -> Result<Vec<Found>, BackendError> {
        let bytes = query.vector.iter().flat_map(|value| value.to_le_bytes()).collect();
        let placeholder = pb::PlaceholderValue {
            tag: "$0".to_owned(),
            r#type: pb::PlaceholderType::FloatVectorPlaceholder.into(),
            values: vec![bytes],
        };
        let pair = |key: &str, value: String| pb::KeyValuePair { key: key.into(), value };
        let request = pb::SearchRequest {
            db_name: self.database.clone(),
            collection_name: collection.id.name(),
            dsl: search_expression(&query),
            dsl_type: pb::DslType::BoolExprV1.into(),
            placeholder_group: pb::PlaceholderGroup { placeholders: vec![placeholder] }.encode_to_vec(),
            output_fields: columns::wanted(query.wanted),
            search_params: vec![
                pair("anns_field", columns::VECTOR.to_owned()),
                pair("topk", query.top_k.to_string()),
                pair("metric_type", metric_type(collection.metric).to_owned()),
                pair("params", format!("{{\"ef\": {}}}", EF.max(query.top_k))),
                pair("round_decimal", "-1".to_owned()),
            ],
            nq: 1,
            consistency_level: pb::ConsistencyLevel::Strong.into(),
        };
        let answer = self.client().search(self.request(request)).await.map_err(grpc::failed)?.into_inner();
        good(answer.status)?;
        let results = answer.results.unwrap_or_default();
        let found = columns::found(&results.fields_data, results.scores.len());
        let scores = results.scores.iter().map(|score| told(*score, collection.metric));
        let found = found.into_iter().zip(scores).map(|(found, score)| Found { score, ..found });
        Ok(best(found.collect(), query.top_k))
    }

    async fn check(&self) -> Result<(), BackendError> {
        self.has("sre_is_there").await.map(drop)
    }
}

fn metric_type(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "COSINE",
        Metric::Dot => "IP",
        Metric::Euclidean => "L2",
    }
}

/// Milvus gives the square of the distance.
fn told(score: f32, metric: Metric) -> f32 {
    match metric {
        Metric::Cosine | Metric::Dot => score,
        Metric::Euclidean => metric::of_distance(score.max(0.0).sqrt()),
    }
}

/// An error where Milvus says so inside its answer.
fn good(status: Option<pb::Status>) -> Result<(), BackendError> {
    let status = status.unwrap_or_default();
    if status.code == 0 && status.error_code == 0 {
        return Ok(());
    }
    let message = format!("milvus {}: {}", status.code.max(status.error_code), status.reason);
    if status.retriable {
        Err(BackendError::Unavailable(message))
    } else {
        Err(BackendError::Failed(message))
    }
}

impl std::fmt::Debug for Milvus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Milvus").field("database", &self.database).finish_non_exhaustive()
    }
}
