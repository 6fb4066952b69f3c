//! The suite in this process: which role starts how.

use anyhow::Result;
use sre_service::{Config, Role, RoleStart, Running};

/// How a role starts: the one place that knows every service.
pub fn role_start(role: Role) -> RoleStart {
    match role {
        Role::Edge => RoleStart::new(role, sre_gateway::edge::start),
        Role::Engine => RoleStart::new(role, sre_gateway::engine::start),
        Role::Agent => RoleStart::new(role, sre_agent::start),
        Role::Memory => RoleStart::new(role, sre_memory::start),
        Role::Llm => RoleStart::new(role, sre_llm::start),
        Role::Io => RoleStart::new(role, sre_io::start),
        Role::Security => RoleStart::new(role, sre_security::start),
        Role::Compute => RoleStart::new(role, sre_compute::start),
        Role::Observability => RoleStart::new(role, sre_observability::start),
    }
}

/// Starts roles in this process, and returns when they are ready.
pub async fn start(roles: &[Role], config: Config) -> Result<Running> {
    sre_service::run(roles.iter().copied().map(role_start).collect(), config).await
}

/// Starts every role in this process.
pub async fn start_all(config: Config) -> Result<Running> {
    start(&Role::ALL, config).await
}
