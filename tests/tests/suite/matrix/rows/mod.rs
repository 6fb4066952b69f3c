//! One valid request for each row of the table, by package.

mod account;
mod agent;
mod approvals;
mod cache;
mod code;
mod components;
mod connectors;
mod conversations;
mod debugger;
mod identity;
mod journal;
mod llm;
mod managed_vault;
mod nkv;
mod observability;
mod quotas;
mod router;
mod runs;
mod storage;
mod vault;
mod vectors;

use sre_proto::MethodPolicy;

use super::case::Case;
use super::world::World;

/// The request of a row; none where nobody wrote one yet.
pub async fn case(world: &World, row: &MethodPolicy) -> anyhow::Result<Option<Case>> {
    let method = row.method;
    match row.service {
        "sre.agent.v1.AgentData" => agent::data(world, method).await,
        "sre.agent.v1.Components" => components::components(world, method).await,
        "sre.compute.v1.Code" => code::case(world, method).await,
        "sre.compute.v1.Connectors"
        | "sre.io.v1.Connectors"
        | "sre.memory.v1.Connectors"
        | "sre.security.v1.Connectors" => Ok(connectors::case(row.package)),
        "sre.gateway.v1.Approvals" => approvals::case(world, method).await,
        "sre.gateway.v1.Conversations" => conversations::case(world, method).await,
        "sre.gateway.v1.Debugger" => debugger::case(world, method).await,
        "sre.gateway.v1.Runs" => runs::case(world, method).await,
        "sre.io.v1.Nkv" => nkv::case(world, method).await,
        "sre.io.v1.Quotas" => Ok(quotas::io(method)),
        "sre.io.v1.Router" => router::case(world, method).await,
        "sre.io.v1.Storage" => storage::case(world, method).await,
        "sre.io.v1.VectorDb" => vectors::case(world, method).await,
        "sre.llm.v1.Budgets" => llm::budgets(world, method).await,
        "sre.llm.v1.Inference" => Ok(llm::inference(method)),
        "sre.llm.v1.Models" => llm::models(world, method).await,
        "sre.memory.v1.Cache" => cache::case(world, method).await,
        "sre.memory.v1.LlmContext" => conversations::messages(world, method).await,
        "sre.memory.v1.Quotas" => Ok(quotas::memory(method)),
        "sre.memory.v1.RuntimeContext" => journal::case(world, method).await,
        "sre.observability.v1.Log" => observability::log(world, method).await,
        "sre.observability.v1.Telemetry" => observability::telemetry(world, method).await,
        "sre.observability.v1.Usage" => observability::usage(world, method).await,
        "sre.security.v1.Account" => account::case(world, method).await,
        "sre.security.v1.ApiKeys" => vault::api_keys(world, method).await,
        "sre.security.v1.Audit" => vault::audit(world, method).await,
        "sre.security.v1.Identity" => identity::case(world, method).await,
        "sre.security.v1.ManagedVault" => managed_vault::case(world, method).await,
        "sre.security.v1.Vault" => vault::secrets(world, method).await,
        _ => Ok(None),
    }
}
