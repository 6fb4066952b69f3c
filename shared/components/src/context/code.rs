//! Code of an agent that is deployed once and run often.

use async_trait::async_trait;
use sre_proto::compute::v1::{CloudAccount, ExecuteCodeResponse};

use super::ContextError;

/// What a component deploys.
#[derive(Clone)]
pub struct Deployable<'a> {
    /// Its name within the agent.
    pub name: &'a str,
    /// The source: a module with an async function `main`.
    pub source: &'a str,
    /// The connector it runs at; the default one where empty.
    pub instance: &'a str,
    /// In place of a connector: an account of the agent's own.
    pub account: Option<&'a CloudAccount>,
}

/// Deployed code of the running agent.
#[async_trait]
pub trait DeployedCode: Send + Sync {
    /// Runs the source with these arguments (a JSON object). It is deployed first where this source is not yet.
    ///
    /// # Errors
    /// What is wrong with the code, or what the place where it runs says. What code throws is no error.
    async fn run(
        &self,
        code: Deployable<'_>,
        arguments_json: Vec<u8>,
    ) -> Result<ExecuteCodeResponse, ContextError>;
}
