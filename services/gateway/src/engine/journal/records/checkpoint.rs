//! The folded state of a run, and what is under way at it.

use bytes::Bytes;
use prost::Message;

use super::Waiting;

/// The folded state so far. Checkpoints are a chain: each holds what changed since the one before it.
#[derive(Clone, PartialEq, Message)]
pub struct Checkpoint {
    /// Sequence of the checkpoint before this one; 0 for the first.
    #[prost(int64, tag = "1")]
    pub previous: i64,
    /// The state of the run, as the state machine writes it, without secrets.
    #[prost(bytes = "bytes", tag = "2")]
    pub state: Bytes,
    /// Effects under way: intents without an end.
    #[prost(message, repeated, tag = "3")]
    pub intents: Vec<OpenIntent>,
    /// Waits under way.
    #[prost(message, repeated, tag = "4")]
    pub waits: Vec<OpenWait>,
    /// Whether the run is paused.
    #[prost(bool, tag = "5")]
    pub paused: bool,
}

/// An effect under way at a checkpoint.
#[derive(Clone, PartialEq, Message)]
pub struct OpenIntent {
    /// Its activation.
    #[prost(string, tag = "1")]
    pub step: String,
    /// How often it was started.
    #[prost(uint32, tag = "2")]
    pub times: u32,
}

/// A wait under way at a checkpoint.
#[derive(Clone, PartialEq, Message)]
pub struct OpenWait {
    /// Its activation.
    #[prost(string, tag = "1")]
    pub step: String,
    /// The wait.
    #[prost(message, optional, tag = "2")]
    pub waiting: Option<Waiting>,
}
