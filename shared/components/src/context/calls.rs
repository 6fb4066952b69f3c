//! How a component calls a skill, or talks with a model that has tools: both are runs of their own, children of the
//! run that the component belongs to, with its identity chain, deadline, budget and trace.

use std::time::Duration;

use async_trait::async_trait;
use sre_engine::value::{Map, Value};

/// Whose skill, or whose tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callee {
    /// The agent's id; empty for the running agent itself.
    pub agent: String,
    /// What messages call it.
    pub name: String,
    /// Which version of it.
    pub version: VersionOf,
}

/// Which version of another agent is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VersionOf {
    /// The deployed one if the caller is the deployed version of its agent, else the latest.
    #[default]
    SameAsParent,
    /// The latest.
    Latest,
    /// The deployed one.
    Deployed,
    /// This one.
    Exactly(String),
}

impl VersionOf {
    /// Reads the setting `version`.
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "same-as-parent" => Self::SameAsParent,
            "" | "dev" | "dev-latest" => Self::Latest,
            "latest" | "prod-latest" => Self::Deployed,
            version => Self::Exactly(version.to_owned()),
        }
    }
}

/// A call of a skill.
#[derive(Clone, Debug)]
pub struct SkillCalled {
    /// Whose.
    pub callee: Callee,
    /// The skill's endpoint.
    pub skill: String,
    /// Its inputs.
    pub input: Map,
    /// How long it may take; never longer than the run that calls it.
    pub time: Option<Duration>,
}

/// What a skill answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SkillAnswer {
    /// What its leaves produced, one for each.
    pub results: Vec<SkillResult>,
    /// The answer as the skill's callers over HTTP get it.
    pub answer: Value,
    /// What its run is called.
    pub run: String,
}

/// What one leaf produced.
#[derive(Clone, Debug, PartialEq)]
pub struct SkillResult {
    /// The type of its component.
    pub component_type: String,
    /// Its output.
    pub value: Value,
}

/// A talk with a model that may call tools.
#[derive(Clone, Debug)]
pub struct Talk {
    /// Whose skills are the tools, unless the component has tools of its own.
    pub callee: Callee,
    /// The model.
    pub model: String,
    /// What the model is told about its task; empty for the agent's behaviour.
    pub instructions: String,
    /// What it is asked.
    pub prompt: String,
    /// Calls of the model that may call tools.
    pub rounds: u32,
    /// Calls of tools in all.
    pub tool_calls: u32,
    /// The inputs of a component whose tools are its own, see [`Toolbox`](crate::toolbox::Toolbox).
    pub own_tools: Option<Map>,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// In one word.
    pub kind: CallFailure,
    /// What users read.
    pub message: String,
}

/// Kinds of failure of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// There is no such agent, or the caller may not know that there is.
    AgentNotFound,
    /// The agent has no such skill.
    SkillNotFound,
    /// A deployed version is wanted and there is none.
    NotDeployed,
    /// The call is one of those that it is nested in.
    Circular,
    /// Calls are nested too deeply.
    TooDeep,
    /// The caller may not.
    Denied,
    /// The input makes no sense to the skill.
    Invalid,
    /// It took too long.
    Timeout,
    /// Somebody cancelled it.
    Cancelled,
    /// It ran and failed.
    Failed,
    /// Something that is needed is away.
    Unavailable,
}

impl CallFailure {
    /// The word in the output `Reason`.
    pub fn word(self) -> &'static str {
        match self {
            Self::AgentNotFound => "AGENT_NOT_FOUND",
            Self::SkillNotFound => "SKILL_NOT_FOUND",
            Self::NotDeployed => "NOT_DEPLOYED",
            Self::Circular => "CIRCULAR",
            Self::TooDeep => "TOO_DEEP",
            Self::Denied => "DENIED",
            Self::Invalid => "INVALID",
            Self::Timeout => "TIMEOUT",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

impl CallError {
    /// A failure with its message.
    pub fn new(kind: CallFailure, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

/// Calls of skills and talks with models that have tools. Both wait as long as it takes, without holding the run's
/// slot; a call that was begun by an engine that died is found again, not made twice.
#[async_trait]
pub trait Calls: Send + Sync {
    /// Calls a skill and waits for its answer.
    ///
    /// # Errors
    /// [`CallError`] says what kind of failure it was.
    async fn call_skill(&self, call: SkillCalled) -> Result<SkillAnswer, CallError>;

    /// Asks a model, runs the tools that it calls, and gives all that it said.
    ///
    /// # Errors
    /// As for [`Calls::call_skill`].
    async fn talk(&self, talk: Talk) -> Result<String, CallError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_reference_writes_them() {
        for (text, version) in [
            ("same-as-parent", VersionOf::SameAsParent),
            ("", VersionOf::Latest),
            ("dev-latest", VersionOf::Latest),
            ("prod-latest", VersionOf::Deployed),
            ("3f2a", VersionOf::Exactly("3f2a".into())),
        ] {
            assert_eq!(VersionOf::parse(text), version, "{text:?}");
        }
    }
}
