//! One call: its turn, its process, what it says, how it is counted.

use std::time::Duration;

use sre_components::egress::{Client, Gate};
use sre_proto::accounts;
use sre_proto::compute::v1 as pb;
use sre_sandbox::contract::Outline;
use sre_sandbox::protocol::{CallFrame, HttpAnswer, HttpAsk, Outcome, Program};
use sre_service::connectors::Instances;
use sre_service::telemetry::spans;
use tokio::sync::mpsc;
use tonic::Status;

use super::account::Account;
use super::codes::Settings;
use super::message;
use crate::backends::Backend;
#[cfg(feature = "aws")]
use crate::backends::lambda::Lambda;
use crate::error::CodeError;
use crate::http::{self, Hosts};
use crate::workers::process::{Events, Gone};
use crate::workers::{Ended, Owner, Workers};

/// Where code runs, and the way to the network.
#[derive(Clone)]
pub(crate) struct Places {
    /// The sandbox.
    pub workers: Workers,
    /// The ways to the network for what runs in it, by agent.
    pub http: Gate,
    /// Where deployments run.
    pub backends: Instances<Backend>,
    /// The way to accounts that belong to agents.
    #[cfg(feature = "aws")]
    pub accounts: crate::backends::lambda::OwnAccounts,
}

impl Places {
    /// Makes a deployment ready where it is to run; gives the id of that place.
    pub(super) async fn deploy(
        &self,
        asked: Place<'_>,
        name: &str,
        code: (Program, Outline),
        settings: &Settings,
    ) -> Result<String, CodeError> {
        let asked = match asked {
            Place::Connector(asked) => asked,
            Place::Account(account) => {
                self.deploy_to(account, name, code, settings).await?;
                return Ok(account.place());
            }
        };
        let instance = self.backends.get(asked)?;
        match &**instance {
            Backend::Sandbox => drop((name, code, settings)),
            #[cfg(feature = "aws")]
            Backend::Lambda(lambda) => match &code.0 {
                Program::Script(source) => lambda.deploy(name, source, &code.1, &settings.limits).await?,
                Program::Component(_) => return Err(CodeError::NotThere(instance.id().to_owned())),
            },
        }
        Ok(instance.id().to_owned())
    }

    #[cfg(feature = "aws")]
    async fn deploy_to(
        &self,
        account: &Account,
        name: &str,
        code: (Program, Outline),
        settings: &Settings,
    ) -> Result<(), CodeError> {
        match &code.0 {
            Program::Script(source) => {
                self.accounts.of(account)?.deploy(name, source, &code.1, &settings.limits).await
            }
            Program::Component(_) => Err(CodeError::NotThere(account.place())),
        }
    }

    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unused_async, reason = "it is one with the feature")]
    async fn deploy_to(
        &self,
        _: &Account,
        _: &str,
        _: (Program, Outline),
        _: &Settings,
    ) -> Result<(), CodeError> {
        Err(CodeError::NoAccounts)
    }

    /// Takes a deployment away where it runs. A function in an agent's own account stays there unless its keys are
    /// given: nobody else may delete it.
    pub(super) async fn delete(
        &self,
        name: &str,
        settings: &Settings,
        account: Option<&Account>,
    ) -> Result<(), CodeError> {
        if accounts::is_place(&settings.instance) {
            if account.is_none() {
                return Ok(());
            }
            return match Account::of_deployment(settings, account)? {
                #[cfg(feature = "aws")]
                Some(account) => self.accounts.of(account)?.delete(name).await,
                _ => Ok(()),
            };
        }
        match &**self.backends.get(&settings.instance)? {
            Backend::Sandbox => {
                let _ = name;
                Ok(())
            }
            #[cfg(feature = "aws")]
            Backend::Lambda(lambda) => lambda.delete(name).await,
        }
    }

    /// Whether what runs there is reached through the sandbox.
    pub(super) fn is_sandbox(&self, settings: &Settings) -> Result<bool, CodeError> {
        Ok(matches!(&**self.backends.get(&settings.instance)?, Backend::Sandbox))
    }
}

/// Where a deployment is to run.
pub(super) enum Place<'a> {
    /// At a connector of the operator's; the default one where empty.
    Connector(&'a str),
    /// In an account of the agent's own.
    Account(&'a Account),
}

/// A call that may be made.
pub(super) struct Execution {
    /// Whose code it is.
    pub owner: Owner,
    /// The call.
    pub frame: CallFrame,
    /// What it may reach.
    pub hosts: Hosts,
    /// The deployment, and where it runs; none for a source that is run once.
    pub deployed: Option<(String, Settings)>,
    /// The account that the request brings.
    pub account: Option<Account>,
}

impl Execution {
    /// Makes it at AWS Lambda.
    #[cfg(feature = "aws")]
    async fn at(&self, lambda: &Lambda, name: &str) -> Result<pb::ExecuteCodeResponse, CodeError> {
        let ended = lambda.execute(name, self.frame.arguments.clone(), &self.frame.limits).await;
        let ended = counted(ended)?;
        let cost_micros = lambda.cost_micros(ended.wall);
        Ok(pb::ExecuteCodeResponse { cost_micros, ..message::response(ended, Vec::new())? })
    }

    fn http(&self, places: &Places) -> Client {
        places.http.of(&self.owner.team, &self.owner.agent).clone()
    }

    /// Makes it, and gives its result with what it logged.
    pub(super) async fn collect(self, places: &Places) -> Result<pb::ExecuteCodeResponse, CodeError> {
        let http = self.http(places);
        let mut events = Listener { lines: Lines::Kept(Vec::new()), hosts: self.hosts, http };
        let ended = counted(places.workers.call(&self.owner, self.frame, &mut events).await)?;
        let Lines::Kept(logs) = events.lines else { return Err(CodeError::Gone) };
        message::response(ended, logs)
    }

    /// Makes it, and sends what it logs and its result as they come.
    pub(super) async fn stream(
        self,
        places: &Places,
        to: mpsc::Sender<Result<pb::ExecutionEvent, Status>>,
    ) -> Result<pb::ExecuteCodeResponse, CodeError> {
        if let Some((name, settings)) = &self.deployed {
            let account = Account::of_deployment(settings, self.account.as_ref())?;
            #[cfg(feature = "aws")]
            if let Some(account) = account {
                let lambda = places.accounts.of(account)?;
                return self.at(&lambda, name).await;
            }
            #[cfg(feature = "aws")]
            if let Backend::Lambda(lambda) = &**places.backends.get(&settings.instance)? {
                return self.at(lambda, name).await;
            }
            #[cfg(not(feature = "aws"))]
            if account.is_some() {
                let _ = name;
                return Err(CodeError::NoAccounts);
            }
        }
        let http = self.http(places);
        let mut events = Listener { lines: Lines::Sent(to), hosts: self.hosts, http };
        let ended = counted(places.workers.call(&self.owner, self.frame, &mut events).await)?;
        message::response(ended, Vec::new())
    }
}

/// Counts how a call ended.
fn counted(ended: Result<Ended, CodeError>) -> Result<Ended, CodeError> {
    let outcome = match &ended {
        Ok(Ended { outcome: Outcome::Threw(_), .. }) => "threw",
        Ok(_) => "returned",
        Err(CodeError::Source(_)) => "refused",
        Err(CodeError::Limit(limit)) => {
            metrics::counter!("sre_code_limit_hits_total", "limit" => limit.name()).increment(1);
            "limit"
        }
        Err(CodeError::Violation) => "violation",
        Err(CodeError::Gone) => "gone",
        Err(_) => "failed",
    };
    metrics::counter!("sre_code_executions_total", "outcome" => outcome).increment(1);
    if let Ok(ended) = &ended {
        metrics::histogram!("sre_code_duration_seconds").record(ended.wall.as_secs_f64());
        spans::exemplar("sre_code_duration_seconds", &[], ended.wall);
    }
    ended
}

struct Listener {
    lines: Lines,
    hosts: Hosts,
    http: Client,
}

enum Lines {
    Kept(Vec<pb::CodeLogLine>),
    Sent(mpsc::Sender<Result<pb::ExecutionEvent, Status>>),
}

impl Events for Listener {
    async fn log(&mut self, level: String, text: String) -> Result<(), Gone> {
        let line = pb::CodeLogLine { level, text };
        match &mut self.lines {
            // The sandbox bounds how much it logs.
            Lines::Kept(lines) => {
                lines.push(line);
                Ok(())
            }
            Lines::Sent(to) => {
                let event = pb::ExecutionEvent { event: Some(pb::execution_event::Event::Log(line)) };
                to.send(Ok(event)).await.map_err(|_| Gone)
            }
        }
    }

    async fn http(&mut self, ask: HttpAsk, within: Duration) -> HttpAnswer {
        http::send(&self.http, &self.hosts, ask, within).await
    }
}
