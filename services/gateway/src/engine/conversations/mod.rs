//! Conversations: `sre.gateway.v1.Conversations`. A prompt is a run of kind turn: same session, signals, takeover and
//! watchers as every run, with a state machine of its own in place of a plan's.
//!
//! Read in this order: [`machine`] (what a turn is), [`steps`] (what its journal says), [`history`] and [`wire`] (the
//! messages, kept and sent), [`attachments`] (their
//! files), [`window`] (which of them), [`tools`]; then what does the work: [`prompt`] (what happens
//! to a call), [`drive`] (the loop of one turn), [`model`], [`child`] (a tool as a run), [`own_tools`] (tools of a
//! component), [`stream`] (what is told).

pub mod access;
mod asks;
pub mod attachments;
pub mod child;
pub mod drive;
pub mod history;
pub mod lent;
pub mod machine;
pub mod model;
pub mod own_tools;
pub mod planner;
pub mod prompt;
pub mod scope;
pub mod service;
pub mod settings;
pub mod steps;
pub mod store;
pub mod stream;
pub mod summary;
pub mod tools;
pub mod trace;
pub mod weights;
pub mod window;
pub mod wire;

use sre_service::Link;

use store::ConversationStore;
use weights::Weights;

/// What conversations share.
#[derive(Clone)]
pub struct Conversations {
    /// The messages.
    pub store: ConversationStore,
    /// What messages weigh.
    pub weights: Weights,
}

impl Conversations {
    /// Over the memory service.
    pub fn new(memory: Link) -> Self {
        Self { store: ConversationStore::new(memory), weights: Weights::default() }
    }
}

#[cfg(any(test, feature = "testing"))]
pub mod simulation;
