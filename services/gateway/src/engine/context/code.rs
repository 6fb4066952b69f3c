//! Deployed code of the running agent.

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use sre_components::context::code::{Deployable, DeployedCode};
use sre_components::{Context as _, ContextError, Failure};
use sre_proto::accounts;
use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::compute::v1::execution_event::Event;
use sre_proto::compute::v1::{
    DeployCodeRequest, ExecuteCodeResponse, ExecuteDeploymentRequest, ListDeploymentsRequest,
    PrepareCodeRequest,
};
use sre_service::{Link, Role};
use tonic::{Code, Status};

use super::ActivationContext;

/// The newest deployments that are looked through for the one of a source.
const LOOKED_THROUGH: i32 = 100;

impl ActivationContext {
    /// The deployment of a source, which is made where there is none: the same source is deployed once.
    async fn deployment(
        &self,
        client: &mut CodeClient<Link>,
        code: &Deployable<'_>,
    ) -> Result<String, Status> {
        let name = format!("{}/code/{}", self.scope.subject.version.agent, code.name);
        let revision = hex::encode(Sha256::digest(code.source));
        let list = self.call(ListDeploymentsRequest {
            parent: name.clone(),
            page_size: LOOKED_THROUGH,
            ..Default::default()
        });
        let known = match client.list_deployments(list).await {
            Ok(listed) => listed.into_inner().deployments,
            Err(status) if status.code() == Code::NotFound => Vec::new(),
            Err(status) => return Err(status),
        };
        let account = code.account.map(accounts::place);
        let fits = |instance: &str| match &account {
            Some(place) => place == instance,
            None if code.instance.is_empty() => !accounts::is_place(instance),
            None => code.instance == instance,
        };
        let found =
            known.into_iter().find(|known| known.revision.ends_with(&revision) && fits(&known.instance));
        if let Some(found) = found {
            return Ok(found.name);
        }
        let prepare = self.call(PrepareCodeRequest {
            name: name.clone(),
            source: code.source.to_owned(),
            ..Default::default()
        });
        let prepared = client.prepare_code(prepare).await?.into_inner();
        let revision = prepared.name.rsplit('/').next().unwrap_or_default().to_owned();
        let deploy = self.call(DeployCodeRequest {
            name,
            revision,
            instance: code.instance.to_owned(),
            account: code.account.cloned(),
            ..Default::default()
        });
        Ok(client.deploy_code(deploy).await?.into_inner().name)
    }

    async fn execute_deployed(
        &self,
        code: &Deployable<'_>,
        arguments_json: Vec<u8>,
    ) -> Result<ExecuteCodeResponse, ContextError> {
        let mut client = CodeClient::new(self.link(Role::Compute).await?);
        let name = self.deployment(&mut client, code).await?;
        let request = ExecuteDeploymentRequest {
            name,
            arguments_json: arguments_json.into(),
            account: code.account.cloned(),
            ..Default::default()
        };
        let mut events = client.execute_deployment(self.call(request)).await?.into_inner();
        let mut logs = Vec::new();
        while let Some(event) = events.message().await? {
            match event.event {
                Some(Event::Log(line)) => logs.push(line),
                Some(Event::Result(mut result)) => {
                    logs.append(&mut result.logs);
                    result.logs = logs;
                    return Ok(result);
                }
                None => {}
            }
        }
        Err(ContextError::new(Failure::Unavailable, "the code's answer broke off before its end"))
    }
}

#[async_trait]
impl DeployedCode for ActivationContext {
    async fn run(
        &self,
        code: Deployable<'_>,
        arguments_json: Vec<u8>,
    ) -> Result<ExecuteCodeResponse, ContextError> {
        let cancelled = self.cancelled();
        tokio::select! {
            done = self.execute_deployed(&code, arguments_json) => done,
            () = cancelled.cancelled() => Err(ContextError::new(Failure::Cancelled, "Agent killed")),
        }
    }
}
