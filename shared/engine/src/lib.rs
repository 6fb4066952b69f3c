//! The semantic heart of SRE: it compiles an agent document to an immutable [`plan`] and drives a run as
//! a deterministic state machine.
//!
//! The crate does no input or output. It executes no component, knows no transport, no clock and no
//! async runtime: a driver takes the activations that are ready, executes them wherever it likes, and
//! reports how they ended. The same completions in any order of arrival give the same answer, so a run is
//! resumed by feeding the journalled completions to a fresh one.
//!
//! ```
//! use std::sync::Arc;
//!
//! use sre_engine::{RequestData, Run, RunOptions, TypeEntry, Types, builtin, compile};
//!
//! struct Builtin;
//! impl Types for Builtin {
//!     fn lookup(&self, name: &str) -> Option<&TypeEntry> {
//!         builtin::types().iter().find(|entry| entry.spec.name == name)
//!     }
//!     fn names(&self) -> Vec<&str> {
//!         builtin::types().iter().map(|entry| entry.spec.name).collect()
//!     }
//! }
//!
//! let document = serde_json::json!({
//!     "components": [
//!         {"id": "IN", "name": "APIEndpoint", "data": {"endpoint": "hello"}, "inputs": [{"name": "who"}],
//!          "outputs": [{"name": "body", "default": true}, {"name": "who", "expression": "body.who"}]},
//!         {"id": "OUT", "name": "APIOutput", "data": {"format": "minimal"}, "inputs": [{"name": "greeted"}],
//!          "outputs": [{"name": "Output", "default": true}]}],
//!     "connections": [{"sourceId": "IN", "sourceIndex": "who", "targetId": "OUT", "targetIndex": "greeted"}]});
//! let plan = Arc::new(compile(&document, &Builtin).expect("a valid document"));
//! let request = RequestData::post("/api/hello", serde_json::json!({"who": "Ann"}).into());
//! let entry = plan.route("POST", "/api/hello").expect("a skill of the agent");
//! let run = Run::start(plan, entry, request, RunOptions::default());
//! // Both components are settled by the engine; others would be in `run.ready()`.
//! assert_eq!(run.answer().legacy_json(), serde_json::json!({"greeted": "Ann"}));
//! ```

// The doubles of the integration tests serve the unit tests too, and name the crate from outside.
#[cfg(test)]
extern crate self as sre_engine;

mod bits;
pub mod builtin;
pub mod data;
pub mod debug;
pub mod document;
pub mod issue;
pub mod key;
mod looping;
mod merge;
pub mod node;
pub mod outcome;
pub mod plan;
mod prepare;
pub mod request;
pub mod run;
pub mod spec;
pub mod template;
#[cfg(test)]
mod testing;
pub mod validate;
pub mod value;
pub mod variables;

pub use issue::{Issue, Severity};
pub use key::{ActivationKey, LoopStep};
pub use node::{InputPort, Node, OutputPort};
pub use outcome::{ERROR_DETAILS, Outcome};
pub use plan::{
    EntryId, EntryKind, Environment, Needs, Plan, RouteError, Skill, check, check_in, compile, needs,
};
pub use prepare::PAYLOADS;
pub use request::{RequestData, UploadedFile};
pub use run::{
    Aborted, Activation, ActivationKind, Answer, AnswerEntry, Checkpoint, CheckpointError, Fork, ForkError,
    Limits, PAUSE_INPUT, Report, RestoreError, Run, RunError, RunOptions, Starved, Status,
};
pub use spec::{
    ComponentSpec, Effect, Flow, PortSpec, PostProcess, Posted, SettingKind, SettingSpec, TypeEntry, Types,
};
pub use template::Secrets;
pub use value::{Binary, Map, Value};
pub use variables::Variables;
