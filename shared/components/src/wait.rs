//! Waiting for a service no longer than the run lives.

use crate::context::{Call, ContextError, Failure};

/// What a cancelled component answers.
pub(crate) const KILLED: &str = "Agent killed";

/// The result of a call of a service, or an error once the run is cancelled or its time is over. What is given up
/// is dropped, and with it the call.
///
/// # Errors
/// The call's, [`Failure::Cancelled`] or [`Failure::Timeout`].
pub(crate) async fn for_run<T>(
    call: Call<'_>,
    work: impl Future<Output = Result<T, ContextError>> + Send,
) -> Result<T, ContextError> {
    let cancelled = call.context.cancelled();
    tokio::select! {
        biased;
        () = cancelled.cancelled() => Err(ContextError::new(Failure::Cancelled, KILLED)),
        done = work => done,
        () = tokio::time::sleep_until(call.context.deadline()) => {
            Err(ContextError::new(Failure::Timeout, "the run's time is over"))
        }
    }
}
