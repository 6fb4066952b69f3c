//! AWS Lambda: a function per deployment, made and called over its API. Nothing is installed or run on this machine.
//!
//! What runs there has the network and the file system that Lambda gives it: what bounds it is the function's role,
//! its time and its memory. Functions are named by the digest of what they belong to, so that no name is too long
//! and none is another's.

mod bundle;
mod client;
mod own;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sre_sandbox::contract::Outline;
use sre_sandbox::limits::{Limit, Limits};
use sre_sandbox::protocol::{Outcome, Thrown};
use sre_service::connectors::Opening;
use tokio::time::Instant;

pub use own::OwnAccounts;
pub use settings::Settings;

use super::Backend;
use crate::error::CodeError;
use crate::workers::Ended;
use client::{Answer, Client};

const FUNCTIONS: &str = "/2015-03-31/functions";
/// How often a function is looked at that is not ready yet.
const LOOK: Duration = Duration::from_millis(500);
/// What a call may take beside the function: its start.
const START: Duration = Duration::from_secs(10);
/// What Node takes beside the code's own memory, and what Lambda gives at least.
const NODE_MIB: u64 = 96;
const LEAST_MIB: u64 = 128;

/// Functions at AWS Lambda.
pub struct Lambda {
    client: Client,
    settings: Settings,
}

/// Opens an instance.
pub async fn open(opening: Opening) -> anyhow::Result<Arc<Backend>> {
    let lambda = Lambda::new(opening.settings()?)?;
    lambda.ping().await?;
    Ok(Arc::new(Backend::Lambda(Box::new(lambda))))
}

/// Checks settings without a call.
pub fn check(opening: &Opening) -> anyhow::Result<()> {
    opening.settings::<Settings>()?.check()
}

impl Lambda {
    /// A client; nothing is called yet.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        settings.check()?;
        Ok(Self { client: Client::new(&settings)?, settings })
    }

    /// A cheap call.
    pub async fn ping(&self) -> Result<(), CodeError> {
        let path = format!("{FUNCTIONS}/?MaxItems=1");
        let answer = self.client.call(Method::GET, &path, Vec::new(), self.settings.timeout()).await?;
        if answer.is_done() { Ok(()) } else { Err(answer.failure()) }
    }

    /// Makes the function of a deployment, or gives the one that is there these limits. The source of a deployment
    /// never changes.
    pub async fn deploy(
        &self,
        deployment: &str,
        source: &str,
        outline: &Outline,
        limits: &Limits,
    ) -> Result<(), CodeError> {
        let broken = |error: serde_json::Error| CodeError::Failed(error.to_string());
        let archive = bundle::bundle(source, outline).map_err(broken)?;
        let name = function_name(deployment);
        let mut function = json!({
            "FunctionName": name,
            "Description": deployment.chars().take(256).collect::<String>(),
            "Role": self.settings.role,
            "Runtime": self.settings.runtime,
            "Handler": "index.handler",
            "Timeout": limits.wall_ms.div_ceil(1_000),
            "MemorySize": ((limits.heap_bytes >> 20) + NODE_MIB).max(LEAST_MIB),
            "Layers": self.settings.layers,
        });
        let configuration = serde_json::to_vec(&function).map_err(broken)?;
        if let Value::Object(members) = &mut function {
            let archive = base64::engine::general_purpose::STANDARD.encode(archive);
            members.insert("Code".to_owned(), json!({ "ZipFile": archive }));
            members.insert("Tags".to_owned(), json!({ "sre": "code", "auto-delete": "true" }));
        }
        let made = serde_json::to_vec(&function).map_err(broken)?;
        let answer = self.client.call(Method::POST, FUNCTIONS, made, self.settings.timeout()).await?;
        match answer.status {
            409 => {
                self.ready(&name).await?;
                let path = format!("{FUNCTIONS}/{name}/configuration");
                let answer =
                    self.client.call(Method::PUT, &path, configuration, self.settings.timeout()).await?;
                if !answer.is_done() {
                    return Err(answer.failure());
                }
            }
            _ if answer.is_done() => {}
            _ => return Err(answer.failure()),
        }
        self.ready(&name).await
    }

    /// Waits until a function can be called, for so long and no longer.
    async fn ready(&self, name: &str) -> Result<(), CodeError> {
        let give_up = Instant::now() + self.settings.ready();
        let path = format!("{FUNCTIONS}/{name}/configuration");
        loop {
            let answer = self.client.call(Method::GET, &path, Vec::new(), self.settings.timeout()).await?;
            if !answer.is_done() {
                return Err(answer.failure());
            }
            let says =
                |member: &str| answer.json.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
            match (says("State").as_str(), says("LastUpdateStatus").as_str()) {
                ("Failed", _) | (_, "Failed") => {
                    let why = format!("{} {}", says("StateReason"), says("LastUpdateStatusReason"));
                    return Err(CodeError::Failed(format!("the function cannot be made: {}", why.trim())));
                }
                ("Pending", _) | (_, "InProgress") => {}
                _ => return Ok(()),
            }
            if Instant::now() + LOOK > give_up {
                return Err(CodeError::Unavailable(format!(
                    "{name} is not ready within {:?}",
                    self.settings.ready()
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Calls the function of a deployment.
    pub async fn execute(
        &self,
        deployment: &str,
        arguments: String,
        limits: &Limits,
    ) -> Result<Ended, CodeError> {
        let path = format!("{FUNCTIONS}/{}/invocations", function_name(deployment));
        let began = Instant::now();
        let within = limits.wall() + START;
        let answer = self.client.call(Method::POST, &path, arguments.into_bytes(), within).await?;
        let outcome = outcome(answer, limits)?;
        Ok(Ended { outcome, wall: began.elapsed(), cpu: Duration::ZERO })
    }

    /// What so much time of a function costs the deployment, in millionths of a US dollar.
    pub fn cost_micros(&self, time: Duration) -> i64 {
        let micros = time.as_secs_f64() * f64::from(self.settings.cost_micros_per_second);
        micros.ceil() as i64
    }

    /// Deletes the function of a deployment; one that is not there is deleted.
    pub async fn delete(&self, deployment: &str) -> Result<(), CodeError> {
        let path = format!("{FUNCTIONS}/{}", function_name(deployment));
        let answer = self.client.call(Method::DELETE, &path, Vec::new(), self.settings.timeout()).await?;
        if answer.is_done() || answer.status == 404 { Ok(()) } else { Err(answer.failure()) }
    }
}

/// 36 characters, of 64 that there may be.
fn function_name(deployment: &str) -> String {
    let digest = hex::encode(Sha256::digest(deployment.as_bytes()));
    format!("sre-{}", digest.get(..32).unwrap_or(&digest))
}

/// What came of a call.
fn outcome(answer: Answer, limits: &Limits) -> Result<Outcome, CodeError> {
    if !answer.is_done() {
        return Err(answer.failure());
    }
    let text = |name: &str| answer.json.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    if answer.function_error.is_some() {
        let (name, message) = (text("errorType"), text("errorMessage"));
        if message.contains("Task timed out") {
            return Err(CodeError::Limit(Limit::Wall));
        }
        if name == "Runtime.OutOfMemory" || message.contains("signal: killed") {
            return Err(CodeError::Limit(Limit::Heap));
        }
        let trace = answer.json.get("trace").and_then(Value::as_array);
        let lines = trace.map(|lines| lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"));
        let name = if name.is_empty() { "Error".to_owned() } else { name };
        return Ok(Outcome::Threw(Thrown { name, message, stack: lines }));
    }
    let Some(result) = answer.json.get("result") else { return Ok(Outcome::Returned(None)) };
    let result = result.to_string();
    if result.len() as u64 > limits.result_bytes {
        return Err(CodeError::Limit(Limit::Result));
    }
    Ok(Outcome::Returned(Some(result)))
}
