//! What a component asks people, and what came of an effect of which nobody knows whether it happened.

use std::time::Duration;

use sre_engine::Outcome;
use sre_engine::value::Map;

/// A question that a component puts to people; see [`Context::approval`](crate::Context::approval).
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What is asked, in one line.
    pub title: String,
    /// What is to be decided about. Secrets in it are replaced before it is stored.
    pub details: Map,
    /// Who may decide: `user/x`, `team/x`, `admins`, `members`.
    pub approvers: Vec<String>,
    /// How long they may take.
    pub time_limit: Duration,
}

/// What people said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Approved(Said),
    /// No.
    Rejected(Said),
    /// Nothing, in the time they had.
    Expired,
}

/// Who decided, and with which words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// A candidate such as `user/alice`.
    pub by: String,
    /// Free text.
    pub comment: String,
}

/// What a component found out about an effect that was started and not finished; see
/// [`Component::look_up`](crate::Component::look_up).
#[derive(Clone, Debug, PartialEq)]
pub enum LookedUp {
    /// It happened, and this is what it gave.
    Happened(Outcome),
    /// It did not happen, and will not any more.
    NotHappened,
    /// Nobody can tell, for this reason.
    Unknown(String),
}
