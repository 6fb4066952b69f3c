//! What a trigger makes of a request: an answer of its own, or payloads for a run.
//!
//! A trigger collects before its run begins. What it collected is the run's request, so that a run that is rebuilt
//! after a crash has the same payloads, and nothing is fetched or verified twice.

use std::collections::BTreeMap;

use bytes::Bytes;
use sre_engine::value::{Map, Value};

/// The request that came to a trigger's path.
#[derive(Clone, Debug, Default)]
pub struct TriggerRequest {
    /// Method, upper case.
    pub method: String,
    /// Headers under lower-case names.
    pub headers: BTreeMap<String, String>,
    /// Query parameters.
    pub query: Map,
    /// The body as JSON; text where it is none.
    pub body: Value,
    /// The body as it came, which is what signatures are made over.
    pub raw: Bytes,
}

impl TriggerRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name)?.as_str()
    }
}

/// What was collected.
#[derive(Clone, Debug, PartialEq)]
pub enum Collected {
    /// The request is answered; nothing runs.
    Reply(Reply),
    /// A run is started.
    Payloads(Payloads),
}

/// An answer of a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// A text, which is answered as one.
    pub text: String,
}

/// What a run is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payloads {
    /// What follows runs once for each.
    pub items: Vec<Value>,
    /// What tells this event from others: the same is not run twice. Empty where every request is an event.
    pub event: String,
    /// Whether the sender hears at once that it was taken, or waits for what the run comes to.
    pub at_once: bool,
}

/// A request that a trigger does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// Why, without anything secret.
    pub message: String,
}

impl Refused {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<Payloads> for Collected {
    fn from(payloads: Payloads) -> Self {
        Self::Payloads(payloads)
    }
}

/// A name for an event, whatever names it: as long as every name, and telling nothing.
pub(crate) fn event(parts: &[&str]) -> String {
    use sha2::{Digest as _, Sha256};
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    format!("trigger-{}", hex::encode(digest.finalize()))
}
