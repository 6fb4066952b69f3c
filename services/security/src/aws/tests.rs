use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::json;

use super::*;

/// Answers every call the same way and keeps what it was sent.
struct Recorder {
    answer: (u16, Value),
    seen: Mutex<Vec<HeaderMap>>,
}

async fn server(status: u16, answer: Value) -> (Arc<Recorder>, Client) {
    let recorder = Arc::new(Recorder { answer: (status, answer), seen: Mutex::default() });
    let respond = |State(recorder): State<Arc<Recorder>>, headers: HeaderMap| async move {
        recorder.seen.lock().push(headers);
        let (status, answer) = &recorder.answer;
        (StatusCode::from_u16(*status).unwrap(), answer.to_string())
    };
    let router = Router::new().route("/", post(respond)).with_state(Arc::clone(&recorder));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    sre_service::task::spawn("recorder", async move { axum::serve(listener, router).await.unwrap() });
    (recorder, Client::new(&testing::with(json!({ "endpoint": endpoint }))).unwrap())
}

/// services.md H34: the credentials of the settings sign, and nothing of the surroundings is looked for.
#[tokio::test]
async fn h34_the_given_credentials_sign() {
    let (recorder, client) = server(200, json!({})).await;
    client.ping().await.unwrap();
    let seen = recorder.seen.lock();
    let header = |name: &str| seen[0][name].to_str().unwrap().to_owned();
    let authorization = header("authorization");
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
    assert!(authorization.contains("/eu-central-1/secretsmanager/aws4_request"), "{authorization}");
    for signed in ["content-type", "host", "x-amz-date", "x-amz-target"] {
        assert!(authorization.contains(signed), "{signed} is not signed: {authorization}");
    }
    assert_eq!(header("x-amz-target"), "secretsmanager.ListSecrets");
    assert!(!format!("{:?}", *seen).contains("s3cret-canary"));
}

/// services.md D14: no error reads as an absent secret.
#[tokio::test]
async fn d14_errors_are_mapped_not_swallowed() {
    for (status, kind, wanted) in [
        (400, "AccessDeniedException", "Store(Refused"),
        (400, "UnrecognizedClientException", "Store(Refused"),
        (400, "com.amazonaws#InvalidSignatureException", "Store(Refused"),
        (400, "ResourceNotFoundException", "NotFound"),
        (400, "ResourceExistsException", "Exists"),
        (400, "InvalidParameterException", "Store(Damaged"),
        (400, "ThrottlingException", "Store(Busy"),
        (500, "InternalServiceError", "Store(Unavailable"),
    ] {
        let (recorder, client) = server(status, json!({ "__type": kind, "message": "m" })).await;
        let error = client.value("n", None).await.err().unwrap();
        assert!(format!("{error:?}").starts_with(wanted), "{kind}: {error:?}");
        let is_repeated = wanted.contains("Busy") || wanted.contains("Unavailable");
        assert_eq!(recorder.seen.lock().len() > 1, is_repeated, "{kind}");
    }
    let deleted = json!({ "__type": "InvalidRequestException", "message": "it was marked for deletion." });
    let (_, client) = server(400, deleted).await;
    assert!(matches!(client.value("n", None).await, Err(AwsError::Deleted)));
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_before_a_call() {
    for (change, text) in [
        (json!({ "endpoint": "http://secrets.example" }), "not https"),
        (json!({ "recoveryDays": 3 }), "7 to 30"),
        (json!({ "region": "Frankfurt!" }), "region"),
        (json!({ "awsAccessKeyId": "" }), "no other source"),
        (json!({ "prefix": "a//b" }), "prefix"),
    ] {
        let error = Client::new(&testing::with(change)).err().unwrap();
        assert!(format!("{error:#}").contains(text), "{error:#}");
    }
}
