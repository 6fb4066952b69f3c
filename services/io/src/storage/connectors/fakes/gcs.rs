//! Google Cloud Storage's XML API, as far as objects need it: put, get with ranges, delete, list, and uploads in
//! parts. It answers with the elements, codes and headers that Google documents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

type Parameters = BTreeMap<String, String>;

/// The server; it ends with its last clone.
#[derive(Clone)]
pub(crate) struct FakeGcs(Arc<Inner>);

struct Inner {
    state: Arc<Bucket>,
    address: std::net::SocketAddr,
    serving: JoinHandle<()>,
}

struct Bucket {
    name: String,
    objects: Mutex<BTreeMap<String, Bytes>>,
    uploads: Mutex<BTreeMap<String, Upload>>,
    made: AtomicU32,
    failures: AtomicU32,
}

#[derive(Default)]
struct Upload {
    key: String,
    parts: BTreeMap<u32, Bytes>,
}

impl FakeGcs {
    /// Starts a server with one bucket.
    pub(crate) async fn start(bucket: &str) -> Self {
        let state = Arc::new(Bucket {
            name: bucket.to_owned(),
            objects: Mutex::default(),
            uploads: Mutex::default(),
            made: AtomicU32::new(0),
            failures: AtomicU32::new(0),
        });
        let router = Router::new()
            .route("/{bucket}", any(bucket_call))
            .route("/{bucket}/{*key}", any(object_call))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = sre_service::task::spawn("fake gcs", async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self(Arc::new(Inner { state, address, serving }))
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// Answers so many requests with 503.
    pub(crate) fn fail_next(&self, requests: u32) {
        self.0.state.failures.store(requests, Ordering::SeqCst);
    }

    /// Objects and unfinished uploads.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self.0.state.objects.lock().keys().cloned().collect();
        left.extend(self.0.state.uploads.lock().keys().cloned());
        left
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn xml(status: StatusCode, body: String) -> Response {
    let body = format!("<?xml version='1.0' encoding='UTF-8'?>{body}");
    (status, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}

fn error(status: StatusCode, code: &str) -> Response {
    xml(status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"))
}

impl Bucket {
    fn fails(&self) -> bool {
        self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

async fn bucket_call(
    State(state): State<Arc<Bucket>>,
    Path(bucket): Path<String>,
    Query(query): Query<Parameters>,
) -> Response {
    if state.fails() {
        return error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
    }
    if bucket != state.name {
        return error(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    let prefix = query.get("prefix").cloned().unwrap_or_default();
    let entries: String = state
        .objects
        .lock()
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix))
        .map(|(key, content)| {
            let size = content.len();
            let time = "2026-01-02T03:04:05.678Z";
            format!(
                "<Contents><Key>{key}</Key><LastModified>{time}</LastModified><ETag>\"e\"</ETag>\
                 <Size>{size}</Size></Contents>"
            )
        })
        .collect();
    xml(
        StatusCode::OK,
        format!(
            "<ListBucketResult><Name>{bucket}</Name><Prefix>{prefix}</Prefix>\
             <IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        ),
    )
}

async fn object_call(
    State(state): State<Arc<Bucket>>,
    Path((bucket, key)): Path<(String, String)>,
    Query(query): Query<Parameters>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if state.fails() {
        return error(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
    }
    if bucket != state.name {
        return error(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    match (method.as_str(), query.get("uploadId"), query.contains_key("uploads")) {
        ("POST", None, true) => {
            let id = format!("upload-{}", state.made.fetch_add(1, Ordering::SeqCst));
            state.uploads.lock().insert(id.clone(), Upload { key: key.clone(), ..Upload::default() });
            xml(
                StatusCode::OK,
                format!(
                    "<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key>\
                     <UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ),
            )
        }
        ("PUT", Some(id), _) => {
            let number = query.get("partNumber").and_then(|number| number.parse().ok()).unwrap_or(0);
            match state.uploads.lock().get_mut(id).filter(|upload| upload.key == key && number > 0) {
                Some(upload) => {
                    upload.parts.insert(number, body);
                    (StatusCode::OK, [(header::ETAG, format!("\"part-{number}\""))]).into_response()
                }
                None => error(StatusCode::NOT_FOUND, "NoSuchUpload"),
            }
        }
        ("POST", Some(id), _) => complete(&state, &bucket, &key, id, &body),
        ("DELETE", Some(id), _) => match state.uploads.lock().remove(id) {
            Some(_) => StatusCode::NO_CONTENT.into_response(),
            None => error(StatusCode::NOT_FOUND, "NoSuchUpload"),
        },
        ("PUT", None, _) => {
            state.objects.lock().insert(key, body);
            (StatusCode::OK, [(header::ETAG, "\"e\"")]).into_response()
        }
        ("DELETE", None, _) => match state.objects.lock().remove(&key) {
            Some(_) => StatusCode::NO_CONTENT.into_response(),
            None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        ("GET", None, _) => match state.objects.lock().get(&key) {
            Some(content) => read(content, &headers),
            None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        _ => error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}

/// Parts must be named in order, with the tags they were given; all but the last have 5 MiB at least.
fn complete(state: &Bucket, bucket: &str, key: &str, id: &str, body: &Bytes) -> Response {
    let text = String::from_utf8_lossy(body).replace("&quot;", "\"");
    let Some(upload) = state.uploads.lock().remove(id) else {
        return error(StatusCode::NOT_FOUND, "NoSuchUpload");
    };
    let last = upload.parts.keys().last().copied().unwrap_or_default();
    let mut whole = Vec::new();
    for (number, part) in &upload.parts {
        if !text.contains(&format!("part-{number}")) || (*number != last && part.len() < 5 << 20) {
            return error(StatusCode::BAD_REQUEST, "InvalidPart");
        }
        whole.extend_from_slice(part);
    }
    state.objects.lock().insert(key.to_owned(), whole.into());
    xml(
        StatusCode::OK,
        format!(
            "<CompleteMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{key}</Key>\
             <ETag>\"e\"</ETag></CompleteMultipartUploadResult>"
        ),
    )
}

fn read(content: &Bytes, headers: &HeaderMap) -> Response {
    let size = content.len();
    let common = [
        (header::ETAG, "\"e\"".to_owned()),
        (header::LAST_MODIFIED, "Fri, 02 Jan 2026 03:04:05 GMT".to_owned()),
    ];
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let Some((from, to)) = asked.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return (StatusCode::OK, common, content.clone()).into_response();
    };
    let from: usize = from.parse().unwrap();
    let to = to.parse().map_or(size, |to: usize| (to + 1).min(size));
    if from >= size {
        return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
    }
    let range = [(header::CONTENT_RANGE, format!("bytes {from}-{}/{size}", to - 1))];
    (StatusCode::PARTIAL_CONTENT, common, range, content.slice(from..to)).into_response()
}
