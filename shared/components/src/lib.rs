//! The component library: every built component type, one file each under [`components`], and what they
//! share. A component sees its input, its record and a [`Context`]; it keeps no state of its own.

pub mod binary_io;
pub mod canonical;
pub mod components;
pub mod context;
pub mod digest;
pub mod egress;
pub mod encoding;
pub mod external;
mod outcome;
pub mod question;
pub mod registry;
mod settings;

pub use context::{
    AgentInfo, Call, Chunk, Component, Content, Context, ContextError, Failure, JobStatus, JobView, Outcome,
    RequestInfo, SecretText,
};
pub use question::{Decision, LookedUp, Question, Said};
pub use registry::{REFERENCE_TYPES, Registry, registry};
