//! The admin port: plain HTTP for probes and scrapers. No data, no way to change anything.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::readiness::{Readiness, State as Ready};
use crate::role::Role;
use crate::telemetry::metrics;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The readiness of every role of the process.
pub(crate) type Roles = Arc<Vec<(Role, Readiness)>>;

/// The four paths.
pub(crate) fn router(roles: Roles) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/startupz", get(started))
        .route("/metrics", get(metrics_text))
        .with_state(roles)
}

/// Serves until the process has ended: probes want answers during drain too.
pub(crate) async fn serve(
    listener: TcpListener,
    roles: Roles,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(roles)).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn ready(State(roles): State<Roles>) -> (StatusCode, String) {
    answer(&roles, |state| state == Ready::Ready)
}

async fn started(State(roles): State<Roles>) -> (StatusCode, String) {
    answer(&roles, |state| state != Ready::Starting)
}

fn answer(roles: &Roles, fine: impl Fn(Ready) -> bool) -> (StatusCode, String) {
    let waiting: Vec<String> = roles
        .iter()
        .filter(|(_, readiness)| !fine(readiness.state()))
        .map(|(role, readiness)| match readiness.state() {
            Ready::Draining => format!("{role}: draining\n"),
            _ => format!("{role}: waiting for {}\n", readiness.waiting_for().join(", ")),
        })
        .collect();
    match waiting.is_empty() {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, waiting.concat()),
    }
}

/// The text format that the scraper asks for: exemplars are in OpenMetrics alone.
async fn metrics_text(headers: HeaderMap) -> ([(HeaderName, &'static str); 1], String) {
    let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let open = accepted.any(|accept| accept.contains("application/openmetrics-text"));
    let (format, text) = match open {
        true => (OPEN_METRICS, metrics::render_open_metrics()),
        false => (PROMETHEUS, metrics::render()),
    };
    ([(CONTENT_TYPE, format)], text)
}
