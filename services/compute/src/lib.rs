//! The role `compute`: code that nobody trusts.
//!
//! Read in this order: [`workers`] (processes of the sandbox, whose turn it is, what ends them), [`code`] (the
//! service: sources that are run once, or kept and deployed), [`http`] (what code may reach), [`backends`] (where else
//! deployments may run), [`error`]. What runs
//! inside such a process is the crate `sre-sandbox`.

pub mod backends;
mod clock;
pub mod code;
mod connectors;
pub mod error;
pub mod http;
mod schema;
pub mod workers;

use anyhow::Context as _;
use sre_proto::compute::v1::code_server::CodeServer;
use sre_proto::compute::v1::connectors_server::ConnectorsServer;
use sre_service::{Host, Routes};

pub use backends::backends;
pub use code::CodeService;
pub use sre_sandbox::worker;

/// The largest message: a source and arguments of the largest size.
const MESSAGE_BYTES: usize = 8 << 20;

/// Starts the role: tries the sandbox out, opens the store, and gives the gRPC routes. Where the kernel refuses a
/// part of the sandbox the role does not start, and says which part and how to allow it.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    let config = host.config();
    let workers = workers::Workers::new(&config.compute)?;
    if config.compute.enabled {
        let way =
            "the sandbox for code cannot start. Set compute.enabled to false to start without running code";
        workers.try_out().await.context(way)?;
        host.spawn("code workers", workers.clone().tidy());
    }
    let http = http::gate(config)?;
    let store = host.database(schema::MIGRATIONS).await?;
    let backends = backends::REGISTRY.open(&host).await?;
    let places = code::Places {
        workers,
        http,
        backends,
        #[cfg(feature = "aws")]
        accounts: backends::lambda::OwnAccounts::new(&config.compute.lambda_endpoint)?,
    };
    let service = code::service(host.clone(), store, places);
    let connectors = ConnectorsServer::new(connectors::ConnectorsService(host));
    let code = CodeServer::new(service).max_decoding_message_size(MESSAGE_BYTES);
    Ok(Routes::new(code).add_service(connectors))
}
