use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::fake::serve;
use super::*;
use crate::contract::{self, Bench};
use crate::model::CollectionId;

fn settings(address: std::net::SocketAddr, key: &str) -> PineconeSettings {
    PineconeSettings {
        api_key: Some(key.into()),
        index_name: None,
        host: Some(format!("http://{address}")),
        credentials: None,
    }
}

/// An index has one dimension and metric, and cases make collections of several: here each gets an index.
struct Indexes {
    servers: tokio::sync::Mutex<JoinSet<()>>,
    by_shape: tokio::sync::Mutex<HashMap<(usize, Metric), Arc<Pinecone>>>,
    shapes: Mutex<HashMap<CollectionId, (usize, Metric)>>,
}

impl Indexes {
    async fn of(&self, collection: &Collection) -> Arc<Pinecone> {
        let shape = (collection.dimension, collection.metric);
        self.shapes.lock().insert(collection.id, shape);
        let mut indexes = self.by_shape.lock().await;
        if let Some(index) = indexes.get(&shape) {
            return Arc::clone(index);
        }
        let metric = match shape.1 {
            Metric::Cosine => "cosine",
            Metric::Dot => "dotproduct",
            Metric::Euclidean => "euclidean",
        };
        let (address, mut server) = serve(shape.0, metric, "canary-key").await;
        self.servers.lock().await.spawn(async move { while server.join_next().await.is_some() {} });
        let index = Arc::new(Pinecone::open(&settings(address, "canary-key")).unwrap());
        indexes.insert(shape, Arc::clone(&index));
        index
    }
}

#[async_trait]
impl Backend for Indexes {
    async fn create(&self, collection: &Collection) -> Result<(), BackendError> {
        self.of(collection).await.create(collection).await
    }
    async fn remove(&self, collection: &Collection) -> Result<(), BackendError> {
        self.of(collection).await.remove(collection).await
    }
    async fn put(&self, collection: &Collection, rows: Vec<Row>) -> Result<(), BackendError> {
        self.of(collection).await.put(collection, rows).await
    }
    async fn delete(&self, collection: &Collection, keys: Vec<RowKey>) -> Result<(), BackendError> {
        self.of(collection).await.delete(collection, keys).await
    }
    async fn delete_generation(
        &self,
        collection: &Collection,
        generation: Generation,
    ) -> Result<(), BackendError> {
        self.of(collection).await.delete_generation(collection, generation).await
    }
    async fn search(&self, collection: &Collection, query: Query) -> Result<Vec<Found>, BackendError> {
        self.of(collection).await.search(collection, query).await
    }
    async fn check(&self) -> Result<(), BackendError> {
        let any = Collection { id: CollectionId(0), dimension: 2, metric: Metric::Cosine };
        self.of(&any).await.check().await
    }
}

async fn fresh() -> Option<Bench> {
    let indexes = Indexes {
        servers: tokio::sync::Mutex::default(),
        by_shape: tokio::sync::Mutex::default(),
        shapes: Mutex::default(),
    };
    Some(Bench::over(indexes, ()))
}

contract::every_case!(fresh);

#[tokio::test]
async fn an_index_of_another_shape_is_refused() {
    let (address, _server) = serve(8, "cosine", "k").await;
    let backend = Pinecone::open(&settings(address, "k")).unwrap();
    let of = |dimension, metric| Collection { id: CollectionId(1), dimension, metric };
    backend.create(&of(8, Metric::Cosine)).await.unwrap();
    for wrong in [of(9, Metric::Cosine), of(8, Metric::Dot)] {
        let refused = backend.create(&wrong).await;
        assert!(matches!(refused, Err(BackendError::Refused(_))), "{refused:?}");
    }
}

/// H30: a key is in no text that could be logged.
#[tokio::test]
async fn h30_a_wrong_key_is_refused_and_shown_nowhere() {
    let (address, _server) = serve(8, "cosine", "right").await;
    let settings = settings(address, "canary-wrong");
    let backend = Pinecone::open(&settings).unwrap();
    let error = backend.check().await.unwrap_err();
    assert!(matches!(error, BackendError::Failed(_)), "{error:?}");
    let shown = format!("{settings:?} {backend:?} {error:?}");
    assert!(!shown.contains("canary"), "{shown}");
}

/// The reference's two shapes of settings.
#[test]
fn settings_of_the_reference_are_read() {
    for settings in
        [json!({"apiKey": "k", "indexName": "i"}), json!({"credentials": {"apiKey": "k", "indexName": "i"}})]
    {
        let settings: PineconeSettings = serde_json::from_value(settings).unwrap();
        assert!(Pinecone::open(&settings).is_ok());
    }
    let none: PineconeSettings = serde_json::from_value(json!({})).unwrap();
    assert!(Pinecone::open(&none).unwrap_err().to_string().contains("apiKey"));
}
