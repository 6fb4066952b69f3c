//! The semantic heart of SRE: it compiles an agent document to an immutable [`plan`] and drives a run as
//! a deterministic state machine.
//!
//! The crate does no input or output. It executes no component, knows no transport, no clock and no
//! async runtime: a driver takes the activations that are ready, executes them wherever it likes, and
//! reports how they ended. The same completions in any order of arrival give the same answer, so a run is
//! resumed by feeding the journalled completions to a fresh one.

pub mod data;
pub mod node;
pub mod spec;
pub mod template;
pub mod validate;
pub mod value;

pub use node::{InputPort, Node, OutputPort};
pub use spec::{
    ComponentSpec, Effect, Flow, PortSpec, PostProcess, Posted, SettingKind, SettingSpec, TypeEntry, Types,
};
pub use value::{Binary, Map, Value};
