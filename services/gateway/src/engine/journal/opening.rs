//! Opening a run, once, whatever becomes of the answers.

use std::time::Duration;

use sre_proto::error::{Reason, reason};
use sre_proto::memory::v1::{JournalRecord, OpenRunRequest, RunRecord, RunState};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::queue::{AppendError, CALLERS_PATIENCE, worth_repeating};
use super::store::JournalStore;
use crate::engine::session::Lease;

const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What became of a run that was to be opened.
#[derive(Debug)]
pub enum Begun {
    /// It is this engine's.
    Here(RunRecord),
    /// It exists already, or waits for a slot: somebody else sees to it, or nobody yet.
    Elsewhere(RunRecord),
}

/// A run that is yet to be opened.
pub struct Opening {
    request: OpenRunRequest,
    reply: oneshot::Sender<Result<Begun, Status>>,
    opened: CancellationToken,
}

impl Opening {
    /// Opens this run, and tells what became of it; `opened` is cancelled once it is durable and this
    /// engine's.
    pub fn new(
        request: OpenRunRequest,
        opened: CancellationToken,
    ) -> (Self, oneshot::Receiver<Result<Begun, Status>>) {
        let (reply, begun) = oneshot::channel();
        (Self { request, reply, opened }, begun)
    }

    /// The run's id.
    pub fn run_id(&self) -> &str {
        self.request.run.as_ref().map(|run| run.run_id.as_str()).unwrap_or_default()
    }

    /// It cannot be opened.
    pub fn refuse(self, status: Status) {
        // Whoever asked may be gone.
        let _ = self.reply.send(Err(status));
    }

    /// Opens it with these records, for the lease. A store that does not answer may have opened it; so it is
    /// asked until it answers, though not longer than the lease can matter.
    pub async fn open(
        self,
        store: &JournalStore,
        lease: &Lease,
        records: Vec<JournalRecord>,
    ) -> Result<(), AppendError> {
        let run_id = self.run_id().to_owned();
        let Self { mut request, reply, opened } = self;
        let next = i64::try_from(records.len()).unwrap_or(i64::MAX).saturating_add(1);
        request.session = lease.id().to_string();
        request.records = records;
        let began = Instant::now();
        let mut reply = Some(reply);
        let mut wait = FIRST_WAIT;
        loop {
            let failed = match store.open(request.clone()).await {
                Ok(answer) => {
                    let run = answer.run.unwrap_or_default();
                    let mut told = |begun| match reply.take() {
                        // Whoever asked may be gone; the run is not.
                        Some(reply) => {
                            let _ = reply.send(Ok(begun));
                            true
                        }
                        None => false,
                    };
                    let here = run.run_id == run_id
                        && run.session == request.session
                        && run.state() == RunState::Leased
                        && run.next_sequence == next;
                    return match (here, request.request_id.is_empty()) {
                        (false, _) => {
                            told(Begun::Elsewhere(run));
                            Err(AppendError::Elsewhere)
                        }
                        (true, has_no_name) => {
                            let told = told(Begun::Here(run));
                            // Its caller heard that it was not opened, and may have asked again.
                            if !told && has_no_name {
                                return Err(AppendError::Unwanted);
                            }
                            opened.cancel();
                            Ok(())
                        }
                    };
                }
                Err(status) => status,
            };
            let fenced = reason(&failed) == Some(Reason::Fenced);
            if fenced || !worth_repeating(&failed) || lease.lost().is_cancelled() {
                let error = if fenced {
                    AppendError::Fenced
                } else {
                    AppendError::Refused(failed.message().to_owned())
                };
                if let Some(reply) = reply {
                    let _ = reply.send(Err(failed));
                }
                return Err(error);
            }
            let patience = CALLERS_PATIENCE.saturating_sub(began.elapsed());
            if patience.is_zero()
                && let Some(reply) = reply.take()
            {
                let _ = reply.send(Err(failed));
            }
            // The last attempt that its caller waits for is made when their patience ends, not long after.
            let pause = if reply.is_some() { wait.min(patience) } else { wait };
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::journal::testing::{Alone, lease};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn whoever_asked_hears_within_a_second_that_memory_is_away() {
        let alone = Alone::new().await;
        let (lease, mut tasks) = lease().await;
        let store = alone.store();
        let (opening, begun) = Opening::new(OpenRunRequest::default(), CancellationToken::new());
        tasks.spawn(async move { drop(opening.open(&store, &lease, Vec::new()).await) });
        let heard = tokio::time::timeout(SECOND, begun).await.expect("it is told in time").unwrap();
        let refused = heard.unwrap_err();
        assert_eq!(reason(&refused), Some(Reason::RoleUnavailable), "{refused:?}");
        assert!(refused.message().contains(&alone.nobody), "{refused:?}");
    }
}
