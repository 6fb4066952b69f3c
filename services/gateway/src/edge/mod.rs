//! The edge: doors for clients, and forwarding of PUBLIC methods frame by frame. It knows no business of the
//! services behind it; it proves who called, and hands the call on.

mod agent_field;
mod doors;
mod forward;
mod headers;

use sre_service::Host;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt as _;

/// Starts the role `edge`: one gRPC address for every PUBLIC method of the suite, and the HTTP door.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    host.serve_http(doors::router(host.clone())).await?;
    let forward =
        forward::Forward::new(host).map_request(|request: axum::extract::Request| request.map(Body::new));
    Ok(Routes::from(axum::Router::new().fallback_service(forward)))
}
