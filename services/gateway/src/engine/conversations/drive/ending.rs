//! What a turn's run answers in the end.

use sre_proto::error::Reason;
use sre_proto::gateway::v1::RunFailure;
use sre_proto::memory::v1::RunState;

use super::super::machine::End;
use super::Drive;
use crate::engine::answers::Closed;

impl Drive {
    /// How the turn's run ends.
    pub(super) fn closed(&self, end: End) -> (RunState, Closed) {
        if let Some(turn) = &self.scope.span {
            turn.ended(&end, &self.turn.text);
        }
        let answer = |failure: Option<&RunFailure>| {
            let mut answer = serde_json::json!({
                "text": self.turn.text,
                "request_id": self.turn.first_request,
            });
            if let Some(failure) = failure {
                answer["error"] = failure.message.clone().into();
            }
            answer.to_string().into()
        };
        let closed = |failure: Option<RunFailure>, http_status: i32| Closed {
            legacy: answer(failure.as_ref()),
            failure,
            http_status,
            ..Closed::default()
        };
        match end {
            End::Done => (RunState::Done, closed(None, 200)),
            End::Failed { reason, message } => {
                (RunState::Failed, closed(Some(RunFailure { reason, message }), 500))
            }
            End::Cancelled { reason } => {
                let failure = RunFailure {
                    reason: sre_proto::error::name(Reason::Cancelled).to_owned(),
                    message: reason,
                };
                (RunState::Cancelled, closed(Some(failure), 499))
            }
        }
    }
}
