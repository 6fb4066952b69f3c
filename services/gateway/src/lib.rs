//! The gateway: the edge faces the network, the engine runs agents. Two modules, two principals, joined by a
//! Link: in separate processes a broken door can only act for its callers within its policy.

pub mod edge;
pub mod engine;

pub use engine::recording;
