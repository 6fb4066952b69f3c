//! Triggers: what starts runs from outside. One file each.

mod gmail;
mod job_scheduler;
mod mail;
mod signature;
mod webhook;
mod whatsapp;

use sre_engine::Outcome;
use sre_engine::builtin::ENDPOINT_PATTERN;
use sre_engine::spec::{PortSpec, PostProcess, Posted, SettingKind, SettingSpec};
use sre_engine::value::Value;

pub use gmail::GmailTrigger;
pub use job_scheduler::JobSchedulerTrigger;
pub use webhook::WebhookTrigger;
pub use whatsapp::WhatsAppTrigger;

/// The setting that makes a component a trigger.
const ENDPOINT: SettingSpec = SettingSpec::new(
    "triggerEndpoint",
    "Trigger Endpoint",
    SettingKind::Pattern { regex: ENDPOINT_PATTERN, max_len: 50 },
)
.required()
.describe("its name, the last part of its path `/trigger/<name>`");

const PAYLOAD: PortSpec =
    PortSpec::new("Payload", "Any", "one payload; what is connected runs once for each");
const RESULT: PortSpec = PortSpec::new("Result", "Array", "what the payloads came to, once all are done");

/// The list of results alone, whether there was one payload or many.
fn post_process(posted: PostProcess<'_>) -> Posted {
    Posted::Entry(posted.result.get("Result").cloned().unwrap_or_else(|| Value::array(Vec::new())))
}

/// The engine settles triggers, with what they collected.
fn not_executed() -> Outcome {
    Outcome::error("a trigger is not executed: it starts a run with what it collects")
}
