//! Tools of a component: who calls them here, with the run that the component belongs to around it. They are called
//! within the turn, not as runs of their own.

use std::sync::Arc;
use std::time::Duration;

use sre_components::Call as ComponentCall;
use sre_components::toolbox::{About, OpenToolbox, ToolAnswer, Used};
use sre_engine::{ActivationKey, Map, Node, RequestData};
use sre_proto::error::Reason;
use sre_proto::llm::v1::Tool;
use sre_service::telemetry::spans::TraceParent;

use super::child::Answer;
use super::machine::Call;
use super::scope::TurnScope;
use super::tools::Declared;
use crate::engine::calls::lineage::Lineage;
use crate::engine::context::ActivationContext;
use crate::engine::flight::component_of;
use crate::engine::fold::{self, Unstartable, entry_of};
use crate::engine::journal::records::{OwnTools as Stored, RecordError};
use crate::engine::journal::values::StoredValue;
use crate::engine::scope::{NewScope, RunScope, Subject};

/// Tools are found out within this time (`components.md` §2.24).
const PREPARING: Duration = Duration::from_secs(30);
/// Closing may take so long.
const CLOSING: Duration = Duration::from_secs(5);

/// Tools of a component, as long as a turn is worked on.
pub struct OwnTools {
    toolbox: Box<dyn OpenToolbox>,
    node: Arc<Node>,
    input: Map,
    context: ActivationContext,
}

impl OwnTools {
    /// Finds out the tools of a turn's component; none where its tools are the agent's skills, or where it was
    /// cancelled meanwhile.
    pub async fn open(turn: &TurnScope, epoch: i64) -> Result<Option<Self>, Unstartable> {
        let Some(stored) = turn.asked.sub.as_ref().and_then(|sub| sub.own_tools.as_ref()) else {
            return Ok(None);
        };
        let key: ActivationKey = stored.activation.parse().map_err(RecordError::from)?;
        let gone = |what: &str| {
            let message = format!("the agent's component {} {what}", key.component);
            Unstartable::Never(Reason::InvalidAgent, message)
        };
        let node = turn.compiled.plan.node(&key.component).cloned().ok_or_else(|| gone("is gone"))?;
        let scope = Arc::new(run_scope(turn, epoch)?);
        let component = component_of(&scope, &node).and_then(|component| component.toolbox());
        let component = component.ok_or_else(|| gone("has no tools"))?;
        let input = input(&scope, stored).await?;
        let context = ActivationContext::new(scope, key);
        let call = ComponentCall { input: &input, node: &node, context: &context };
        let opening = tokio::time::timeout(PREPARING.min(turn.left()), component.open(call));
        let opened = tokio::select! {
            () = turn.live.cancel.token().cancelled() => return Ok(None),
            opened = opening => opened.unwrap_or_else(|_| Err("Timeout: Failed to prepare data".to_owned())),
        };
        match opened {
            Ok(toolbox) => Ok(Some(Self { toolbox, node, input, context })),
            Err(message) => Err(Unstartable::Never(
                Reason::InvalidArgument,
                context.scope().redactor().presentable_text(&message),
            )),
        }
    }

    /// What they say of themselves.
    pub fn about(&self) -> About {
        self.toolbox.about()
    }

    /// As a model is told of them.
    pub fn declared(&self) -> Vec<Declared> {
        let tools = self.toolbox.tools().iter();
        tools
            .map(|tool| Declared {
                tool: Tool {
                    name: tool.name.clone(),
                    description: tool.description.clone(),
                    parameters_json: tool.parameters.to_string().into(),
                },
                status: format!("Calling {}", tool.name),
            })
            .collect()
    }

    /// Whether a tool may be called again when nobody knows whether it was.
    pub fn is_repeatable(&self, tool: &str) -> bool {
        self.toolbox.tools().iter().any(|known| known.name == tool && known.repeatable)
    }

    /// Calls one. Secrets in its answer are their references: neither the model nor the history learns them.
    pub async fn call(&self, turn: &str, request: &str, call: &Call) -> Answer {
        let called = &call.called;
        let key = sre_proto::ids::child_id(turn, &format!("tool/{request}/{}", called.id));
        let arguments = serde_json::from_str(&called.arguments).unwrap_or_default();
        let used = Used { name: &called.name, arguments: &arguments, key: &key.unwrap_or_default() };
        let context = ComponentCall { input: &self.input, node: &self.node, context: &self.context };
        let ToolAnswer { text, failed } = self.toolbox.call(context, used).await;
        Answer { text: self.context.scope().redactor().presentable_text(&text), failed }
    }

    /// Ends what was opened.
    pub async fn close(&self) {
        if tokio::time::timeout(CLOSING, self.toolbox.close()).await.is_err() {
            tracing::debug!(component = %self.node.id, "tools were not closed in time");
        }
    }
}

/// The run that the component belongs to, as far as its tools need it.
fn run_scope(turn: &TurnScope, epoch: i64) -> Result<RunScope, Unstartable> {
    let opened = &turn.opened;
    let subject = Subject {
        version: turn.version.clone(),
        compiled: turn.compiled.clone(),
        entry: entry_of(&turn.compiled, opened)?,
        root: opened.root.as_str().into(),
    };
    let new = NewScope {
        conversation: String::new(),
        id: turn.id.clone(),
        subject,
        marker: opened.marker.clone(),
        time: Duration::from_millis(opened.time_ms),
        left: turn.left(),
        authority: turn.authority.clone(),
        grant: Some(opened.resume_grant.as_str().into()),
        cancel: turn.live.cancel.clone(),
        inbox: turn.live.inbox.clone(),
        events: turn.live.events.clone(),
        slot: Some(turn.slot.clone()),
        // It is the turn that waits.
        waits: None,
        opened: fold::opened_already(),
        epoch,
        lineage: Lineage::kept(&opened.lineage),
        above: opened.above.clone(),
        traced: Some(TraceParent::kept(&opened.traceparent)),
    };
    Ok(RunScope::new(turn.engine.clone(), new, &RequestData::default()))
}

/// What the component runs with, its secrets resolved again.
async fn input(scope: &RunScope, stored: &Stored) -> Result<Map, Unstartable> {
    let value = stored.input.as_ref().map(StoredValue::value).transpose()?.unwrap_or_default();
    let names = scope.redactor().names_in(&value);
    let value = if names.is_empty() {
        value
    } else {
        scope.learn(&names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        scope.redactor().restore(&value)
    };
    Ok(value.as_object().cloned().unwrap_or_default())
}
