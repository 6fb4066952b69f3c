//! The edge: doors for clients, and forwarding of PUBLIC methods frame by frame. It knows no business of the
//! services behind it; it proves who called, and hands the call on.

mod agent_field;
mod doors;
mod forward;
mod headers;

use sre_service::{Host, Routes};

/// Starts the role `edge`: one gRPC address for every PUBLIC method of the suite, and the HTTP door.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    host.serve_http(doors::router(host.clone())).await?;
    Ok(Routes::for_others(forward::Forward::new(host)))
}
