//! A server that speaks Pinecone's data interface, stores what it is sent and searches it by comparing everything.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What is kept: vectors by id, by namespace.
type Kept = Arc<Mutex<HashMap<String, BTreeMap<String, Value>>>>;

#[derive(Clone)]
struct Fake {
    kept: Kept,
    dimension: usize,
    metric: &'static str,
    key: &'static str,
}

/// Serves an index on a free port until the set is dropped.
pub async fn serve(dimension: usize, metric: &'static str, key: &'static str) -> (SocketAddr, JoinSet<()>) {
    let fake = Fake { kept: Kept::default(), dimension, metric, key };
    let router = Router::new()
        .route("/describe_index_stats", post(stats))
        .route("/vectors/upsert", post(upsert))
        .route("/vectors/delete", post(delete))
        .route("/vectors/list", get(list))
        .route("/query", post(query))
        .layer(axum::extract::DefaultBodyLimit::max(8 << 20))
        .with_state(fake);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, tasks)
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"code": 3, "message": message, "details": []}))).into_response()
}

fn known(fake: &Fake, headers: &HeaderMap) -> Option<Response> {
    let right = headers.get("api-key").is_some_and(|key| key == fake.key)
        && headers.contains_key("x-pinecone-api-version");
    (!right).then(|| refused(StatusCode::UNAUTHORIZED, "Invalid API Key"))
}

async fn stats(State(fake): State<Fake>, headers: HeaderMap) -> Response {
    if let Some(refusal) = known(&fake, &headers) {
        return refusal;
    }
    let namespaces: BTreeMap<String, Value> = fake
        .kept
        .lock()
        .unwrap()
        .iter()
        .map(|(name, vectors)| (name.clone(), json!({"vectorCount": vectors.len()})))
        .collect();
    let body = json!({"namespaces": namespaces, "dimension": fake.dimension, "metric": fake.metric,
        "indexFullness": 0, "totalVectorCount": 0});
    Json(body).into_response()
}

async fn upsert(State(fake): State<Fake>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if let Some(refusal) = known(&fake, &headers) {
        return refusal;
    }
    let vectors = body["vectors"].as_array().unwrap();
    if vectors.len() > 1000 {
        return refused(StatusCode::BAD_REQUEST, "too many vectors");
    }
    let mut kept = fake.kept.lock().unwrap();
    let namespace = kept.entry(body["namespace"].as_str().unwrap().to_owned()).or_default();
    for vector in vectors {
        if vector["values"].as_array().unwrap().len() != fake.dimension {
            return refused(
                StatusCode::BAD_REQUEST,
                "Vector dimension does not match the dimension of the index",
            );
        }
        let flat = |value: &Value| {
            value.is_string()
                || value.is_number()
                || value.is_boolean()
                || value.as_array().is_some_and(|list| list.iter().all(Value::is_string))
        };
        if !vector["metadata"].as_object().unwrap().values().all(flat) {
            return refused(
                StatusCode::BAD_REQUEST,
                "metadata value must be a string, number, boolean or list of strings",
            );
        }
        namespace.insert(vector["id"].as_str().unwrap().to_owned(), vector.clone());
    }
    Json(json!({"upsertedCount": vectors.len()})).into_response()
}

async fn delete(State(fake): State<Fake>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if let Some(refusal) = known(&fake, &headers) {
        return refusal;
    }
    let name = body["namespace"].as_str().unwrap();
    let mut kept = fake.kept.lock().unwrap();
    if !kept.contains_key(name) {
        return refused(StatusCode::NOT_FOUND, "Namespace not found");
    }
    if body["deleteAll"] == true {
        kept.remove(name);
    } else {
        let ids = body["ids"].as_array().unwrap();
        assert!(ids.len() <= 1000);
        let namespace = kept.get_mut(name).unwrap();
        ids.iter().for_each(|id| drop(namespace.remove(id.as_str().unwrap())));
    }
    Json(json!({})).into_response()
}

async fn list(
    State(fake): State<Fake>,
    headers: HeaderMap,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    if let Some(refusal) = known(&fake, &headers) {
        return refusal;
    }
    let limit: usize = asked["limit"].parse().unwrap();
    assert!(limit <= 100);
    let kept = fake.kept.lock().unwrap();
    let found: Vec<Value> = kept
        .get(&asked["namespace"])
        .into_iter()
        .flat_map(|vectors| vectors.keys())
        .filter(|id| id.starts_with(&asked["prefix"]))
        .take(limit)
        .map(|id| json!({"id": id}))
        .collect();
    Json(json!({"vectors": found, "namespace": asked["namespace"]})).into_response()
}

fn holds(filter: &Value, metadata: &Value) -> bool {
    filter.as_object().unwrap().iter().all(|(key, wanted)| match key.as_str() {
        "$and" => wanted.as_array().unwrap().iter().all(|filter| holds(filter, metadata)),
        "$or" => wanted.as_array().unwrap().iter().any(|filter| holds(filter, metadata)),
        key => wanted.as_object().unwrap().iter().all(|(operator, operand)| {
            let value = &metadata[key];
            let any_of = |list: &Value| {
                let list = list.as_array().unwrap();
                let same = |a: &Value, b: &Value| a == b || (a.is_number() && a.as_f64() == b.as_f64());
                match value {
                    Value::Array(items) => items.iter().any(|item| list.iter().any(|b| same(item, b))),
                    value => list.iter().any(|b| same(value, b)),
                }
            };
            match operator.as_str() {
                "$in" => any_of(operand),
                "$nin" => !any_of(operand),
                _ => {
                    let (Some(a), Some(b)) = (value.as_f64(), operand.as_f64()) else { return false };
                    match operator.as_str() {
                        "$lt" => a < b,
                        "$lte" => a <= b,
                        "$gt" => a > b,
                        "$gte" => a >= b,
                        other => panic!("{other}"),
                    }
                }
            }
        }),
    })
}

async fn query(State(fake): State<Fake>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if let Some(refusal) = known(&fake, &headers) {
        return refusal;
    }
    let floats = |value: &Value| -> Vec<f32> {
        value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
    };
    let asked = floats(&body["vector"]);
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let kept = fake.kept.lock().unwrap();
    let vectors = kept.get(body["namespace"].as_str().unwrap()).into_iter().flat_map(BTreeMap::values);
    let mut found: Vec<(f32, Value)> = vectors
        .filter(|vector| holds(&body["filter"], &vector["metadata"]))
        .map(|vector| {
            let values = floats(&vector["values"]);
            let score = match fake.metric {
                "cosine" => dot(&asked, &values) / (dot(&asked, &asked) * dot(&values, &values)).sqrt(),
                "dotproduct" => dot(&asked, &values),
                _ => asked.iter().zip(&values).map(|(a, b)| (a - b) * (a - b)).sum(),
            };
            let values = if body["includeValues"] == true { vector["values"].clone() } else { json!([]) };
            let found =
                json!({"id": vector["id"], "score": score, "values": values, "metadata": vector["metadata"]});
            (score, found)
        })
        .collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    if fake.metric == "euclidean" {
        found.reverse();
    }
    let matches: Vec<Value> =
        found.into_iter().take(body["topK"].as_u64().unwrap() as usize).map(|(_, found)| found).collect();
    Json(json!({"matches": matches, "namespace": body["namespace"], "usage": {"readUnits": 1}}))
        .into_response()
}
