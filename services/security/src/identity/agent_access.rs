//! Whether a caller may invoke an agent: the agent service knows.

use std::time::Duration;

use async_trait::async_trait;
use sre_identity::Candidate;
use sre_proto::agent::v1::agent_data_client::AgentDataClient;
use sre_proto::agent::v1::{AclAspect, CheckAccessRequest};
use sre_proto::types::v1::Level;
use sre_service::Link;
use tonic::{Code, Request};

use crate::account::{self, Principal};
use crate::error::Error;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Knows the access lists of agents.
#[async_trait]
pub trait AgentAccess: Send + Sync {
    /// The agent's full name where `caller`, of whom Account knows `principal`, may invoke its skills; none where it
    /// may not, or there is no such agent. Reads only.
    async fn may_invoke(
        &self,
        caller: &Candidate,
        principal: Option<&Principal>,
        agent: &str,
    ) -> Result<Option<String>, Error>;
}

/// Asks the agent service.
pub struct AgentService(pub Link);

#[async_trait]
impl AgentAccess for AgentService {
    async fn may_invoke(
        &self,
        caller: &Candidate,
        principal: Option<&Principal>,
        agent: &str,
    ) -> Result<Option<String>, Error> {
        let mut request = Request::new(CheckAccessRequest {
            name: agent.to_owned(),
            candidate: Some(caller.into()),
            level: Level::Read.into(),
            aspect: AclAspect::Skills.into(),
            principal: Some(account::service::principal(caller, principal)),
        });
        request.set_timeout(TIMEOUT);
        match AgentDataClient::new(self.0.clone()).check_access(request).await {
            Ok(answer) => {
                let answer = answer.into_inner();
                Ok(answer.allowed.then_some(answer.name))
            }
            // Not there and not allowed must look the same to the caller.
            Err(status) if matches!(status.code(), Code::NotFound | Code::PermissionDenied) => Ok(None),
            Err(status) => Err(status.into()),
        }
    }
}
