//! Against a server of our own that answers as the service's reference says. It runs no function: what the function
//! is, is tested with Node in `bundle`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use parking_lot::Mutex;

use super::*;

#[derive(Default)]
struct Fake {
    functions: Mutex<BTreeMap<String, Value>>,
    /// How often a function is still pending when it is looked at.
    pending: Mutex<usize>,
}

type Shared = State<Arc<Fake>>;

fn error(status: u16, kind: &str) -> Response {
    let body = json!({"Type": "User", "Message": format!("{kind}: no")}).to_string();
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

fn is_signed(headers: &HeaderMap) -> bool {
    let signed = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    signed.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        && signed.contains("/eu-central-1/lambda/aws4_request")
}

async fn create(State(fake): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let function: Value = serde_json::from_slice(&body).unwrap();
    if !is_signed(&headers) {
        return error(403, "AccessDenied");
    }
    let name = function["FunctionName"].as_str().unwrap().to_owned();
    if fake.functions.lock().contains_key(&name) {
        return error(409, "ResourceConflict");
    }
    fake.functions.lock().insert(name, function.clone());
    (StatusCode::CREATED, function.to_string()).into_response()
}

async fn configuration(State(fake): Shared, Path(name): Path<String>) -> Response {
    let functions = fake.functions.lock();
    let Some(function) = functions.get(&name) else { return error(404, "ResourceNotFound") };
    let mut function = function.clone();
    let mut pending = fake.pending.lock();
    function["State"] = if *pending > 0 { "Pending".into() } else { "Active".into() };
    *pending = pending.saturating_sub(1);
    function.to_string().into_response()
}

async fn configure(State(fake): Shared, Path(name): Path<String>, body: Bytes) -> Response {
    let changed: Value = serde_json::from_slice(&body).unwrap();
    assert!(changed.get("Code").is_none());
    let mut functions = fake.functions.lock();
    let Some(function) = functions.get_mut(&name) else { return error(404, "ResourceNotFound") };
    function["Timeout"] = changed["Timeout"].clone();
    function.to_string().into_response()
}

/// What the arguments ask for.
async fn invoke(State(fake): Shared, Path(name): Path<String>, body: Bytes) -> Response {
    if !fake.functions.lock().contains_key(&name) {
        return error(404, "ResourceNotFound");
    }
    let event: Value = serde_json::from_slice(&body).unwrap();
    let failed = |error: Value| ([("x-amz-function-error", "Unhandled")], error.to_string()).into_response();
    match event["do"].as_str().unwrap() {
        "give" => json!({"result": event["what"], "executionTime": 1}).to_string().into_response(),
        "nothing" => json!({"executionTime": 1}).to_string().into_response(),
        "throw" => failed(json!({"errorType": "TypeError", "errorMessage": "no", "trace": ["a", "b"]})),
        "time" => failed(json!({"errorMessage": "x Task timed out after 5.00 seconds"})),
        "memory" => failed(json!({"errorType": "Runtime.OutOfMemory", "errorMessage": "x"})),
        _ => error(429, "TooManyRequests"),
    }
}

async fn delete(State(fake): Shared, Path(name): Path<String>) -> Response {
    match fake.functions.lock().remove(&name) {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => error(404, "ResourceNotFound"),
    }
}

async fn lambda(fake: &Arc<Fake>) -> Lambda {
    let routes = Router::new()
        .route("/2015-03-31/functions", post(create))
        .route("/2015-03-31/functions/", get(|| async { "{\"Functions\":[]}" }))
        .route("/2015-03-31/functions/{name}", axum::routing::delete(delete))
        .route("/2015-03-31/functions/{name}/configuration", get(configuration).put(configure))
        .route("/2015-03-31/functions/{name}/invocations", post(invoke))
        .with_state(Arc::clone(fake));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(sre_service::task::spawn(
        "fake lambda",
        async move { axum::serve(listener, routes).await.unwrap() },
    ));
    Lambda::new(settings(json!({ "endpoint": endpoint }))).unwrap()
}

fn settings(more: Value) -> Settings {
    let mut settings = json!({
        "region": "eu-central-1",
        "awsAccessKeyId": "AKIDEXAMPLE",
        "awsSecretAccessKey": "s3cret-canary",
        "role": "arn:aws:iam::123456789012:role/sre-code",
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Opening::standalone("aws", settings, std::path::Path::new(".")).settings().unwrap()
}

const NAME: &str = "teams/red/agents/a/code/c/deployments/0123456789abcdef";

#[tokio::test]
async fn a_function_is_made_called_changed_and_deleted() {
    let fake = Arc::new(Fake { pending: Mutex::new(1), ..Fake::default() });
    let lambda = lambda(&fake).await;
    lambda.ping().await.unwrap();
    let outline = Outline::default();
    let source = "async function main() {}";
    lambda.deploy(NAME, source, &outline, &Limits::DEFAULT).await.unwrap();
    let made = fake.functions.lock().values().next().unwrap().clone();
    assert_eq!((made["Timeout"].as_u64(), made["MemorySize"].as_u64()), (Some(5), Some(160)));
    assert_eq!(made["Handler"], "index.handler");
    assert!(made["FunctionName"].as_str().unwrap().len() <= 64);
    // The same again, with more time.
    let limits = Limits { wall_ms: 9_500, ..Limits::DEFAULT };
    lambda.deploy(NAME, source, &outline, &limits).await.unwrap();
    assert_eq!(fake.functions.lock().len(), 1);
    assert_eq!(fake.functions.lock().values().next().unwrap()["Timeout"], 10);

    let call = async |arguments: Value| lambda.execute(NAME, arguments.to_string(), &Limits::DEFAULT).await;
    let gave = call(json!({"do": "give", "what": {"k": "it's\n"}})).await.unwrap();
    assert_eq!(gave.outcome, Outcome::Returned(Some("{\"k\":\"it's\\n\"}".to_owned())));
    assert_eq!(lambda.cost_micros(Duration::from_millis(2_500)), 250);
    assert_eq!(call(json!({"do": "nothing"})).await.unwrap().outcome, Outcome::Returned(None));
    let threw = call(json!({"do": "throw"})).await.unwrap().outcome;
    let thrown = Thrown { name: "TypeError".into(), message: "no".into(), stack: Some("a\nb".into()) };
    assert_eq!(threw, Outcome::Threw(thrown));
    assert!(matches!(call(json!({"do": "time"})).await, Err(CodeError::Limit(Limit::Wall))));
    assert!(matches!(call(json!({"do": "memory"})).await, Err(CodeError::Limit(Limit::Heap))));
    let large = call(json!({"do": "give", "what": "x".repeat(3 << 19)})).await;
    assert!(matches!(large, Err(CodeError::Limit(Limit::Result))));
    assert!(matches!(call(json!({"do": "busy"})).await, Err(CodeError::Unavailable(_))));

    lambda.delete(NAME).await.unwrap();
    lambda.delete(NAME).await.unwrap();
    assert!(call(json!({"do": "nothing"})).await.is_err());
}

#[tokio::test]
async fn one_that_does_not_get_ready_is_given_up() {
    let fake = Arc::new(Fake { pending: Mutex::new(usize::MAX), ..Fake::default() });
    let mut lambda = lambda(&fake).await;
    lambda.settings.ready_ms = 100;
    let made = lambda.deploy(NAME, "async function main() {}", &Outline::default(), &Limits::DEFAULT).await;
    assert!(matches!(made, Err(CodeError::Unavailable(_))), "{made:?}");
}

#[test]
fn settings_that_cannot_be_right_are_named() {
    for (more, word) in [
        (json!({"role": "sre-code"}), "ARN"),
        (json!({"region": "Mars"}), "region"),
        (json!({"endpoint": "http://lambda.example.com"}), "https"),
        (json!({"awsAccessKeyId": ""}), "awsAccessKeyId"),
    ] {
        let error = settings(more).check().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
