//! The roles of the suite: what a process serves, and under which principal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One service of the suite. Each has its own principal `service/<name>`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Doors and forwarding; faces the network.
    Edge,
    /// Runs agents.
    Engine,
    /// Definitions, versions, schedules.
    Agent,
    /// Run journal, conversations, cache.
    Memory,
    /// Models and inference.
    Llm,
    /// Storage, vectors, keys and values.
    Io,
    /// Tokens, accounts, vault, API keys, audit.
    Security,
    /// Code execution.
    Compute,
    /// Log, telemetry, usage.
    Observability,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 9] = [
        Self::Edge,
        Self::Engine,
        Self::Agent,
        Self::Memory,
        Self::Llm,
        Self::Io,
        Self::Security,
        Self::Compute,
        Self::Observability,
    ];

    /// The name in configuration, SPIFFE ids and token audiences.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Engine => "engine",
            Self::Agent => "agent",
            Self::Memory => "memory",
            Self::Llm => "llm",
            Self::Io => "io",
            Self::Security => "security",
            Self::Compute => "compute",
            Self::Observability => "observability",
        }
    }

    /// A dense number, for tables by role.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The role that serves a proto package (`io` for `sre.io.v1`): the gateway's package is the
    /// engine's, the edge only forwards.
    pub fn of_package(package: &str) -> Option<Self> {
        match package {
            "gateway" => Some(Self::Engine),
            "edge" | "engine" => None,
            other => other.parse().ok(),
        }
    }

    /// What a name on the command line stands for: one role, or both of `gateway`.
    pub fn parse_alias(name: &str) -> Result<Vec<Self>, UnknownRole> {
        if name == "gateway" {
            return Ok(vec![Self::Edge, Self::Engine]);
        }
        name.parse().map(|role| vec![role])
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.name() == name).ok_or_else(|| UnknownRole(name.to_owned()))
    }
}

/// A name that is no role.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no role {0:?}: use gateway, edge, engine, agent, memory, llm, io, security, compute or observability"
)]
pub struct UnknownRole(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_gateway_is_two() {
        for role in Role::ALL {
            assert_eq!(role.name().parse::<Role>().unwrap(), role);
            assert_eq!(Role::ALL[role.index()], role);
        }
        assert_eq!(Role::parse_alias("gateway").unwrap(), [Role::Edge, Role::Engine]);
        assert!(Role::parse_alias("gatway").unwrap_err().to_string().contains("gateway"));
    }

    #[test]
    fn every_method_of_the_contracts_has_a_role() {
        for row in sre_proto::METHODS {
            assert!(Role::of_package(row.package).is_some(), "{}", row.path);
        }
    }
}
