//! A server that speaks Qdrant's protocol, stores what it is sent and searches it by comparing everything.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

use super::pb;
use pb::collections_server::{Collections, CollectionsServer};
use pb::points_server::{Points, PointsServer};
use pb::qdrant_server::{Qdrant, QdrantServer};

#[derive(Default)]
struct Stored {
    metric: Option<pb::Distance>,
    size: u64,
    points: HashMap<String, pb::PointStruct>,
}

/// The server.
#[derive(Clone, Default)]
pub struct Fake {
    collections: Arc<Mutex<HashMap<String, Stored>>>,
    key: String,
}

impl Fake {
    /// Serves on a free port until the set is dropped.
    pub async fn serve(key: &str) -> (SocketAddr, JoinSet<()>) {
        let fake = Self { key: key.to_owned(), ..Self::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder()
            .add_service(CollectionsServer::new(fake.clone()))
            .add_service(PointsServer::new(fake.clone()).max_decoding_message_size(64 << 20))
            .add_service(QdrantServer::new(fake))
            .serve_with_incoming(incoming);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { server.await.unwrap() });
        (address, tasks)
    }

    fn open<T>(&self, request: Request<T>) -> Result<T, Status> {
        let key = request.metadata().get("api-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
        if key != self.key {
            return Err(Status::unauthenticated("wrong api key"));
        }
        Ok(request.into_inner())
    }

    fn on<T>(&self, name: &str, work: impl FnOnce(&mut Stored) -> T) -> Result<T, Status> {
        let mut collections = self.collections.lock().unwrap();
        let found = collections.get_mut(name);
        Ok(work(found.ok_or_else(|| Status::not_found(format!("Collection `{name}` doesn't exist!")))?))
    }
}

fn done() -> Response<pb::PointsOperationResponse> {
    let result = pb::UpdateResult { operation_id: Some(1), status: pb::UpdateStatus::Completed.into() };
    Response::new(pb::PointsOperationResponse { result: Some(result) })
}

fn id(point: &Option<pb::PointId>) -> String {
    match point.as_ref().and_then(|id| id.point_id_options.as_ref()) {
        Some(pb::point_id::PointIdOptions::Uuid(uuid)) => uuid.clone(),
        other => panic!("{other:?}"),
    }
}

fn vector(point: &pb::PointStruct) -> Vec<f32> {
    let vectors = point.vectors.as_ref().and_then(|vectors| vectors.vectors_options.as_ref());
    let Some(pb::vectors::VectorsOptions::Vector(vector)) = vectors else { panic!("{vectors:?}") };
    let Some(pb::vector::Vector::Dense(dense)) = &vector.vector else { panic!("{vector:?}") };
    dense.data.clone()
}

/// The values at a path; lists are opened.
fn at<'p>(payload: &'p HashMap<String, pb::Value>, path: &str) -> Vec<&'p pb::value::Kind> {
    use pb::value::Kind;
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(kind) = payload.get(first).and_then(|value| value.kind.as_ref()) else { return Vec::new() };
    match (kind, rest) {
        (Kind::StructValue(inner), Some(rest)) => at(&inner.fields, rest),
        (Kind::ListValue(list), None) => list.values.iter().filter_map(|value| value.kind.as_ref()).collect(),
        (kind, None) => vec![kind],
        _ => Vec::new(),
    }
}

fn filter_holds(filter: &pb::Filter, payload: &HashMap<String, pb::Value>) -> bool {
    filter.must.iter().all(|condition| holds(condition, payload))
        && (filter.should.is_empty() || filter.should.iter().any(|condition| holds(condition, payload)))
        && !filter.must_not.iter().any(|condition| holds(condition, payload))
}

fn holds(condition: &pb::Condition, payload: &HashMap<String, pb::Value>) -> bool {
    use pb::condition::ConditionOneOf;
    use pb::r#match::MatchValue;
    use pb::value::Kind;
    match condition.condition_one_of.as_ref().unwrap() {
        ConditionOneOf::Filter(filter) => filter_holds(filter, payload),
        ConditionOneOf::Field(field) => {
            let values = at(payload, &field.key);
            let matched = field.r#match.as_ref().and_then(|found| found.match_value.as_ref());
            let matches = |kind: &Kind| match (matched, kind) {
                (Some(MatchValue::Keywords(wanted)), Kind::StringValue(text)) => {
                    wanted.strings.contains(text)
                }
                (Some(MatchValue::Integers(wanted)), Kind::IntegerValue(number)) => {
                    wanted.integers.contains(number)
                }
                _ => false,
            };
            let within = |kind: &Kind, range: &pb::Range| {
                let number = match kind {
                    Kind::DoubleValue(number) => *number,
                    Kind::IntegerValue(number) => *number as f64,
                    _ => return false,
                };
                range.lt.is_none_or(|bound| number < bound)
                    && range.gt.is_none_or(|bound| number > bound)
                    && range.gte.is_none_or(|bound| number >= bound)
                    && range.lte.is_none_or(|bound| number <= bound)
            };
            values.iter().any(|kind| match &field.range {
                Some(range) => within(kind, range),
                None => matches(kind),
            })
        }
    }
}

#[tonic::async_trait]
impl Collections for Fake {
    async fn create(
        &self,
        request: Request<pb::CreateCollection>,
    ) -> Result<Response<pb::CollectionOperationResponse>, Status> {
        let request = self.open(request)?;
        let Some(pb::vectors_config::Config::Params(params)) = request.vectors_config.unwrap().config else {
            return Err(Status::invalid_argument("no params"));
        };
        let stored = Stored { metric: Some(params.distance()), size: params.size, ..Stored::default() };
        let mut collections = self.collections.lock().unwrap();
        if collections.contains_key(&request.collection_name) {
            return Err(Status::already_exists("Collection already exists!"));
        }
        collections.insert(request.collection_name, stored);
        Ok(Response::new(pb::CollectionOperationResponse { result: true }))
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteCollection>,
    ) -> Result<Response<pb::CollectionOperationResponse>, Status> {
        let request = self.open(request)?;
        let result = self.collections.lock().unwrap().remove(&request.collection_name).is_some();
        Ok(Response::new(pb::CollectionOperationResponse { result }))
    }

    async fn collection_exists(
        &self,
        request: Request<pb::CollectionExistsRequest>,
    ) -> Result<Response<pb::CollectionExistsResponse>, Status> {
        let request = self.open(request)?;
        let exists = self.collections.lock().unwrap().contains_key(&request.collection_name);
        Ok(Response::new(pb::CollectionExistsResponse { result: Some(pb::CollectionExists { exists }) }))
    }
}

#[tonic::async_trait]
impl Points for Fake {
    async fn upsert(
        &self,
        request: Request<pb::UpsertPoints>,
    ) -> Result<Response<pb::PointsOperationResponse>, Status> {
        let request = self.open(request)?;
        self.on(&request.collection_name, |stored| {
            for point in request.points {
                if vector(&point).len() as u64 != stored.size {
                    return Err(Status::invalid_argument("Vector dimension error"));
                }
                stored.points.insert(id(&point.id), point);
            }
            Ok(done())
        })?
    }

    async fn delete(
        &self,
        request: Request<pb::DeletePoints>,
    ) -> Result<Response<pb::PointsOperationResponse>, Status> {
        use pb::points_selector::PointsSelectorOneOf;
        let request = self.open(request)?;
        self.on(&request.collection_name, |stored| {
            match request.points.unwrap().points_selector_one_of.unwrap() {
                PointsSelectorOneOf::Points(list) => {
                    list.ids.into_iter().for_each(|point| drop(stored.points.remove(&id(&Some(point)))));
                }
                PointsSelectorOneOf::Filter(filter) => {
                    stored.points.retain(|_, point| !filter_holds(&filter, &point.payload));
                }
            }
            done()
        })
    }

    async fn create_field_index(
        &self,
        request: Request<pb::CreateFieldIndexCollection>,
    ) -> Result<Response<pb::PointsOperationResponse>, Status> {
        let request = self.open(request)?;
        self.on(&request.collection_name, |_| done())
    }

    async fn search(
        &self,
        request: Request<pb::SearchPoints>,
    ) -> Result<Response<pb::SearchResponse>, Status> {
        let request = self.open(request)?;
        self.on(&request.collection_name, |stored| {
            let filter = request.filter.unwrap_or_default();
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            let score = |v: &[f32]| match stored.metric {
                Some(pb::Distance::Dot) => dot(v, &request.vector),
                Some(pb::Distance::Euclid) => {
                    v.iter().zip(&request.vector).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
                }
                _ => dot(v, &request.vector) / (dot(v, v) * dot(&request.vector, &request.vector)).sqrt(),
            };
            let payloads = request.with_payload.and_then(|selector| selector.selector_options);
            let Some(pb::with_payload_selector::SelectorOptions::Include(include)) = payloads else {
                panic!("{payloads:?}")
            };
            let vectors = matches!(
                request.with_vectors.and_then(|selector| selector.selector_options),
                Some(pb::with_vectors_selector::SelectorOptions::Enable(true))
            );
            let kept = stored.points.values().filter(|point| filter_holds(&filter, &point.payload));
            let mut result: Vec<pb::ScoredPoint> = kept
                .map(|point| {
                    let v = vector(point);
                    let dense = pb::vector_output::Vector::Dense(pb::DenseVector { data: v.clone() });
                    let output = pb::VectorOutput { data: Vec::new(), vector: Some(dense) };
                    let output = pb::vectors_output::VectorsOptions::Vector(output);
                    let mut payload = point.payload.clone();
                    payload.retain(|name, _| include.fields.contains(name));
                    pb::ScoredPoint {
                        id: point.id.clone(),
                        payload,
                        score: score(&v),
                        vectors: vectors.then_some(pb::VectorsOutput { vectors_options: Some(output) }),
                    }
                })
                .collect();
            result.sort_by(|a, b| b.score.total_cmp(&a.score));
            if stored.metric == Some(pb::Distance::Euclid) {
                result.reverse();
            }
            result.truncate(request.limit as usize);
            Response::new(pb::SearchResponse { result })
        })
    }
}

#[tonic::async_trait]
impl Qdrant for Fake {
    async fn health_check(
        &self,
        request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<pb::HealthCheckReply>, Status> {
        self.open(request)?;
        Ok(Response::new(pb::HealthCheckReply { title: "fake".into(), version: "0".into() }))
    }
}
