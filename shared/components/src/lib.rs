//! The component library: every built component type, one file each under [`components`], and what they
//! share. A component sees its input, its record and a [`Context`]; it keeps no state of its own.

pub mod binary_io;
pub mod canonical;
pub mod components;
mod content;
pub mod context;
pub mod digest;
pub mod egress;
pub mod encoding;
pub mod external;
mod extraction;
mod files;
mod form;
pub mod oauth;
mod outbound;
mod outcome;
mod page;
pub mod question;
pub mod reference;
pub mod registry;
mod rendered;
mod settings;
pub mod toolbox;
pub mod trigger;
mod wait;

pub use context::models::{Conversation, Models, Painted, PaintedImage, Room};
pub use context::vectors;
pub use context::{
    AgentInfo, Call, Charge, Chunk, Component, Content, Context, ContextError, Failure, Files, JobStatus,
    JobView, Memory, Outcome, RequestInfo, SecretText,
};
pub use question::{Decision, LookedUp, Question, Said};
pub use registry::{REFERENCE_TYPES, Registry, registry};
