//! What components call: skills, of this agent or another, and models that have tools. Each call is a run of its own,
//! a child of the run that it is made in, named by that run and the activation: whoever goes on with the run finds
//! its calls, and none is made twice.
//!
//! Read in this order: [`callee`] (whose skill, and by what authority), [`lineage`] (how deeply), [`birth`] (the run
//! that a call becomes), [`wait`] (its end), then [`skill`] and [`talk`].

pub mod birth;
mod callee;
pub mod lineage;
mod skill;
mod talk;
mod wait;

use std::sync::Arc;

use async_trait::async_trait;
use sre_components::context::calls::{CallError, CallFailure, Calls, SkillAnswer, SkillCalled, Talk};
use sre_engine::ActivationKey;
use tonic::{Code, Status};

pub use wait::cancel_calls;

use super::context::ActivationContext;
use super::scope::RunScope;

/// The activation that calls.
struct Caller {
    scope: Arc<RunScope>,
    key: ActivationKey,
    /// Which wait of the activation the call's is.
    place: u32,
}

#[async_trait]
impl Calls for ActivationContext {
    async fn call_skill(&self, call: SkillCalled) -> Result<SkillAnswer, CallError> {
        Box::pin(skill::call(&self.caller(), call)).await
    }

    async fn talk(&self, talk: Talk) -> Result<String, CallError> {
        Box::pin(talk::talk(&self.caller(), talk)).await
    }
}

impl ActivationContext {
    fn caller(&self) -> Caller {
        Caller { scope: self.scope().clone(), key: self.key().clone(), place: self.next_await() }
    }
}

/// What a service's refusal means for a call.
fn failure(status: &Status) -> CallError {
    let kind = match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => CallFailure::Invalid,
        Code::PermissionDenied | Code::Unauthenticated => CallFailure::Denied,
        Code::DeadlineExceeded => CallFailure::Timeout,
        Code::Cancelled => CallFailure::Cancelled,
        Code::Unavailable | Code::ResourceExhausted => CallFailure::Unavailable,
        _ => CallFailure::Failed,
    };
    CallError::new(kind, status.message())
}
