//! The HTTP door of links: `GET` and `HEAD` of `/t/{token}` and `/r/{token}`, the file's name behind it or not.
//!
//! Whatever is not served is the same 404, so that nobody learns what there is. What is served comes from an
//! origin of its own, under headers that keep a browser from running it (H22).

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Disposition;
use super::range::{Answer, answer};
use super::serve::{Served, Serving};
use crate::storage::is_active;

/// Nothing in a file may load, run, submit or read anything.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";
/// A link can be revoked at any time: whoever keeps a copy asks again.
const CACHING: &str = "private, no-cache";

/// The routes.
pub fn routes(serving: Serving) -> Router {
    Router::new()
        .route("/t/{token}", any(by_token))
        .route("/t/{token}/{name}", any(by_token_and_name))
        .route("/r/{token}", any(by_token))
        .route("/r/{token}/{name}", any(by_token_and_name))
        .fallback(|| async { not_found() })
        .with_state(serving)
}

async fn by_token(
    State(serving): State<Serving>,
    method: Method,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Response {
    serve(&serving, &method, &token, &headers).await
}

async fn by_token_and_name(
    State(serving): State<Serving>,
    method: Method,
    Path((token, _name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    serve(&serving, &method, &token, &headers).await
}

async fn serve(serving: &Serving, method: &Method, token: &str, headers: &HeaderMap) -> Response {
    if *method != Method::GET && *method != Method::HEAD {
        return not_found();
    }
    let response = match serving.look_up(token).await {
        Ok(None) => not_found(),
        Ok(Some(served)) => answered(serving, method, &served, headers).await,
        Err(status) => {
            tracing::debug!(status = status.message(), "a link cannot be served at the moment");
            unavailable()
        }
    };
    let outcome = if response.status().is_success() { "served" } else { "other" };
    metrics::counter!("sre_file_links_total", "outcome" => outcome).increment(1);
    response
}

async fn answered(serving: &Serving, method: &Method, served: &Served, asked: &HeaderMap) -> Response {
    let file = &served.file;
    let size_bytes = u64::try_from(file.size_bytes).unwrap_or_default();
    let etag = format!("\"{}\"", file.etag);
    let mut headers = guarded(served, &etag);
    if listed(asked, header::IF_NONE_MATCH).is_some_and(|tags| matches_any(&tags, &etag)) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    if listed(asked, header::IF_MATCH).is_some_and(|tags| !matches_any(&tags, &etag)) {
        return (StatusCode::PRECONDITION_FAILED, headers).into_response();
    }
    // A range of another version is of no use: then everything is sent.
    let other_version = listed(asked, header::IF_RANGE).is_some_and(|tag| tag.trim() != etag);
    let asked_range = asked.get(header::RANGE).and_then(|range| range.to_str().ok());
    let range = match answer(asked_range.filter(|_| !other_version), size_bytes) {
        Answer::Unsatisfiable => {
            put(&mut headers, header::CONTENT_RANGE, &format!("bytes */{size_bytes}"));
            return (StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response();
        }
        Answer::Part(range) => {
            let last = range.offset_bytes + range.length_bytes - 1;
            let text = format!("bytes {}-{last}/{size_bytes}", range.offset_bytes);
            put(&mut headers, header::CONTENT_RANGE, &text);
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Answer::Whole(range) => (StatusCode::OK, range),
    };
    let (status, range) = range;
    put(&mut headers, header::CONTENT_TYPE, &file.mimetype);
    put(&mut headers, header::CONTENT_LENGTH, &range.length_bytes.to_string());
    if *method == Method::HEAD {
        return (status, headers).into_response();
    }
    match serving.bytes(served, range).await {
        Ok(bytes) => (status, headers, Body::from_stream(bytes)).into_response(),
        Err(error) => {
            tracing::debug!(%error, "the bytes of a link cannot be read at the moment");
            unavailable()
        }
    }
}

/// The headers that keep what is served from doing anything.
fn guarded(served: &Served, etag: &str) -> HeaderMap {
    let mut headers = harmless();
    put(&mut headers, header::ETAG, etag);
    put(&mut headers, header::ACCEPT_RANGES, "bytes");
    put(&mut headers, HeaderName::from_static("cross-origin-resource-policy"), "cross-origin");
    let attached = served.link.disposition == Disposition::Attachment || is_active(&served.file.mimetype);
    let how = if attached { "attachment" } else { "inline" };
    let name = served.file.name.rsplit('/').next().unwrap_or_default();
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    put(&mut headers, header::CONTENT_DISPOSITION, &format!("{how}; filename*=UTF-8''{name}"));
    headers
}

fn harmless() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, CACHING),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
}

/// A value that is no header text is left out; media types are checked when they are stored.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn listed(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn matches_any(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The one refusal.
fn not_found() -> Response {
    (StatusCode::NOT_FOUND, harmless(), "not found\n").into_response()
}

fn unavailable() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, harmless(), "try again later\n").into_response()
}
