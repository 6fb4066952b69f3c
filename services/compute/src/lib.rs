//! The role `compute`: code that nobody trusts. The role, its identity and its rights exist; the sandbox comes
//! later.

mod code;

use sre_proto::compute::v1::code_server::CodeServer;
use sre_service::Host;
use tonic::service::Routes;

pub use code::CodeService;

/// Starts the role: gives its gRPC routes.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    Ok(Routes::new(CodeServer::new(CodeService::new(host))).prepare())
}
