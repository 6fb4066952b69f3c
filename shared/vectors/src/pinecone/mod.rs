//! Pinecone over its REST interface: a namespace of one index for each collection.
//!
//! The index exists already, with a dimension and a metric; a collection must have the same. Ids begin with their
//! generation, so that a generation is deleted by listing what begins so: serverless indexes delete by no other
//! condition. Pinecone shows what was written some moments later.

#[cfg(test)]
mod fake;
mod messages;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode};
use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use url::Url;

use crate::backend::{Backend, BackendError};
use crate::metric::{self, Metric};
use crate::model::{Collection, Found, Generation, Query, Row, RowKey, best};
use messages::{Listed, Matches, Stats, Upserted, filter, record};

/// The interface that this speaks.
const VERSION: &str = "2025-04";
const CONTROL: &str = "https://api.pinecone.io";
const CALL: Duration = Duration::from_secs(20);
/// Rows of one request.
const UPSERT: usize = 100;
/// Ids of one request.
const DELETE: usize = 1000;
/// The most bytes that Pinecone keeps beside a vector.
const METADATA_BYTES: usize = 40 << 10;
const ANSWER_BYTES: usize = 64 << 20;

/// Settings of the connector `pinecone`; `credentials` is the reference's newer form of the first two.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PineconeSettings {
    /// The API key.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub api_key: Option<SecretString>,
    /// The index.
    #[serde(default)]
    pub index_name: Option<String>,
    /// The address of the index; asked for by its name where absent.
    #[serde(default)]
    pub host: Option<String>,
    /// Key and index together.
    #[serde(default)]
    pub credentials: Option<PineconeCredentials>,
}

/// Key and index.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PineconeCredentials {
    /// The API key.
    #[schemars(with = "String")]
    pub api_key: SecretString,
    /// The index.
    #[serde(default)]
    pub index_name: Option<String>,
}

/// Rows in Pinecone.
pub struct Pinecone {
    client: Client,
    index: String,
    control: Url,
    host: OnceCell<Url>,
}

impl Pinecone {
    /// Over a pool of connections; nothing is asked yet.
    pub fn open(settings: &PineconeSettings) -> Result<Self, BackendError> {
        let nested = settings.credentials.as_ref();
        let key = settings.api_key.as_ref().or(nested.map(|given| &given.api_key));
        let key = key.ok_or_else(|| BackendError::Failed("pinecone needs a key: set apiKey".to_owned()))?;
        let index = settings.index_name.clone().or(nested.and_then(|given| given.index_name.clone()));
        if index.is_none() && settings.host.is_none() {
            return Err(BackendError::Failed("pinecone needs an index: set indexName or host".to_owned()));
        }
        let bad = |what: &str| BackendError::Failed(format!("pinecone's {what} cannot be used"));
        let mut value = HeaderValue::try_from(key.expose_secret()).map_err(|_| bad("apiKey"))?;
        value.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert("api-key", value);
        headers.insert("x-pinecone-api-version", HeaderValue::from_static(VERSION));
        let host =
            settings.host.as_deref().map(|host| address(host).ok_or_else(|| bad("host"))).transpose()?;
        let local = host.as_ref().and_then(Url::host_str).is_some_and(|host| host == "127.0.0.1");
        let mut builder = Client::builder()
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .timeout(CALL);
        if local {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| BackendError::Failed(error.to_string()))?;
        let control = Url::parse(CONTROL).map_err(|_| bad("address"))?;
        Ok(Self { client, index: index.unwrap_or_default(), control, host: OnceCell::new_with(host) })
    }

    /// The index's address.
    async fn host(&self) -> Result<&Url, BackendError> {
        #[derive(Deserialize)]
        struct Index {
            host: String,
        }
        let ask = || async {
            let path = format!("indexes/{}", self.index);
            let index: Index = self.send(&self.control, Method::GET, &path, &[], None).await?;
            address(&index.host)
                .ok_or_else(|| BackendError::Failed("pinecone named no address of the index".to_owned()))
        };
        self.host.get_or_try_init(ask).await
    }

    async fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, BackendError> {
        let body = serde_json::to_value(body).map_err(|error| BackendError::Failed(error.to_string()))?;
        self.send(self.host().await?, Method::POST, path, &[], Some(&body)).await
    }

    async fn send<A: DeserializeOwned>(
        &self,
        base: &Url,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<A, BackendError> {
        let failed = |error: &dyn std::fmt::Display| BackendError::Failed(format!("pinecone: {error}"));
        let mut url = base.join(path).map_err(|error| failed(&error))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let away =
            |error: reqwest::Error| BackendError::Unavailable(format!("pinecone: {}", error.without_url()));
        let mut response = request.send().await.map_err(away)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES {
                return Err(failed(&"the answer is too large"));
            }
        }
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| failed(&error));
        }
        let said: String = String::from_utf8_lossy(&bytes).chars().take(500).collect();
        let message = format!("pinecone {status}: {said}");
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => BackendError::Full(message),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => BackendError::Refused(message),
            _ if status.is_server_error() => BackendError::Unavailable(message),
            _ => BackendError::Failed(message),
        })
    }

    async fn delete_ids(&self, collection: &Collection, ids: &[String]) -> Result<(), BackendError> {
        for part in ids.chunks(DELETE) {
            let body = json!({"ids": part, "namespace": collection.id.name()});
            absent_is_empty(self.post::<Value>("vectors/delete", &body).await)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for Pinecone {
    /// A namespace is there with its first row; the index must be one for such vectors.
    async fn create(&self, collection: &Collection) -> Result<(), BackendError> {
        let stats: Stats = self.post("describe_index_stats", &json!({})).await?;
        let (wanted, metric) = (collection.dimension, collection.metric.name());
        let theirs = match stats.metric.as_deref() {
            Some("dotproduct") => "dot",
            Some(other) => other,
            None => metric,
        };
        if stats.dimension.is_some_and(|dimension| dimension != wanted) || theirs != metric {
            let has = stats.dimension.unwrap_or(wanted);
            return Err(BackendError::Refused(format!(
                "the pinecone index has {has} dimensions and the metric {theirs}: use them, or another index"
            )));
        }
        Ok(())
    }

    async fn remove(&self, collection: &Collection) -> Result<(), BackendError> {
        let body = json!({"deleteAll": true, "namespace": collection.id.name()});
        absent_is_empty(self.post::<Value>("vectors/delete", &body).await)
    }

    async fn put(&self, collection: &Collection, rows: Vec<Row>) -> Result<(), BackendError> {
        let rows: BTreeMap<RowKey, Row> = rows.into_iter().map(|row| (row.key(), row)).collect();
        let records: Vec<Value> = rows.iter().map(|(key, row)| record(id(*key), row)).collect();
        for record in &records {
            if record["metadata"].to_string().len() > METADATA_BYTES {
                return Err(BackendError::Refused(format!(
                    "pinecone keeps {METADATA_BYTES} bytes of text and metadata with a vector: cut the text"
                )));
            }
        }
        for part in records.chunks(UPSERT) {
            let body = json!({"vectors": part, "namespace": collection.id.name()});
            let answer: Upserted = self.post("vectors/upsert", &body).await?;
            if answer.upserted_count != part.len() {
                return Err(BackendError::Unavailable(format!(
                    "pinecone took {} of {} rows: try again",
                    answer.upserted_count,
                    part.len()
                )));
            }
        }
        Ok(())
    }

    async fn delete(&self, collection: &Collection, keys: Vec<RowKey>) -> Result<(), BackendError> {
        let ids: Vec<String> = keys.into_iter().map(id).collect();
        self.delete_ids(collection, &ids).await
    }

    async fn delete_generation(
        &self,
        collection: &Collection,
        generation: Generation,
    ) -> Result<(), BackendError> {
        let (name, prefix) = (collection.id.name(), prefix(generation));
        loop {
            let query = [("namespace", name.as_str()), ("prefix", prefix.as_str()), ("limit", "100")];
            let listed = self.send(self.host().await?, Method::GET, "vectors/list", &query, None).await;
            let listed: Listed = match listed {
                Err(BackendError::Failed(message)) if message.contains("404") => Listed::default(),
                listed => listed?,
            };
            let ids: Vec<String> = listed.vectors.into_iter().map(|vector| vector.id).collect();
            if ids.is_empty() {
                return Ok(());
            }
            self.delete_ids(collection, &ids).await?;
        }
    }

    async fn search(&self, collection: &Collection, query: Query) -> Result<Vec<Found>, BackendError> {
        let body = json!({
            "vector": query.vector,
            "topK": query.top_k,
            "namespace": collection.id.name(),
            "filter": filter(&query),
            "includeMetadata": true,
            "includeValues": query.wanted.vector,
        });
        let answer: Matches = self.post("query", &body).await?;
        let found = answer.matches.into_iter().map(|found| {
            let score = match collection.metric {
                Metric::Cosine | Metric::Dot => found.score,
                // Pinecone gives the square of the distance.
                Metric::Euclidean => metric::of_distance(found.score.max(0.0).sqrt()),
            };
            Found {
                id: found.metadata.id,
                score,
                generation: found.metadata.generation as Generation,
                datasource: found.metadata.datasource,
                chunk: found.metadata.chunk as i32,
                text: if query.wanted.text { found.metadata.text } else { String::new() },
                metadata: Bytes::from(if query.wanted.metadata {
                    found.metadata.metadata
                } else {
                    String::new()
                }),
                vector: found.values,
            }
        });
        Ok(best(found.collect(), query.top_k))
    }

    async fn check(&self) -> Result<(), BackendError> {
        self.post::<Stats>("describe_index_stats", &json!({})).await.map(drop)
    }
}

/// A namespace that is not there holds nothing.
fn absent_is_empty(answer: Result<Value, BackendError>) -> Result<(), BackendError> {
    match answer {
        Err(BackendError::Failed(message)) if message.contains("404") => Ok(()),
        answer => answer.map(drop),
    }
}

fn prefix(generation: Generation) -> String {
    format!("g{generation}-")
}

fn id(key: RowKey) -> String {
    format!("{}{:032x}", prefix(key.generation), key.digest)
}

/// An index's address is told without its scheme.
fn address(host: &str) -> Option<Url> {
    let text = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
    Url::parse(&format!("{}/", text.trim_end_matches('/'))).ok()
}

impl std::fmt::Debug for Pinecone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pinecone").field("index", &self.index).finish_non_exhaustive()
    }
}
