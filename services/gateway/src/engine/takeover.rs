//! Runs that nobody works on: new ones that found no slot, jobs, and those whose engine died. This engine
//! listens on its command stream, claims what it has slots for, and goes on with it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use sre_proto::memory::v1::attach_response::Command;
use sre_proto::memory::v1::{ClaimedRun, ParkRequest, PendingSignal, RunKind, RunRecord};
use tokio::sync::Notify;
use tonic::Code;

use super::core::Engine;
use super::debugger;
use super::journal::store::JournalStore;
use super::launch::{self, Claimable};
use super::session::Lease;

const RETRY: Duration = Duration::from_millis(200);
/// How often it looks although nobody told it to.
const ROUND: Duration = Duration::from_secs(5);
/// A run that is handed back rests so long.
const REST: Duration = Duration::from_secs(1);

/// What other parts of the engine tell the claimer.
#[derive(Clone)]
pub struct Takeover {
    journal: JournalStore,
    look: Arc<Notify>,
}

impl Takeover {
    /// Nothing to tell yet.
    pub fn new(journal: JournalStore) -> Self {
        Self { journal, look: Arc::default() }
    }

    /// Something can be claimed.
    pub fn look(&self, what: Claimable) {
        tracing::trace!(?what, "something can be claimed");
        self.look.notify_one();
    }

    /// Gives a run back that this engine cannot go on with, as long as it is still this engine's.
    pub async fn hand_back(&self, run: &RunRecord, lease: &Lease) -> HandedBack {
        while !lease.lost().is_cancelled() {
            let request = ParkRequest {
                run_id: run.run_id.clone(),
                session: lease.id().to_string(),
                epoch: run.epoch,
                until: Some((self.journal.clock().now() + REST).into()),
                ..ParkRequest::default()
            };
            match self.journal.park(request).await {
                Ok(answer) if answer.parked => return HandedBack::Yes,
                Ok(answer) => {
                    tokio::time::sleep(REST).await;
                    return HandedBack::Not(answer.signals);
                }
                Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(RETRY).await,
                Err(status) => {
                    // Fenced or ended: it is not this engine's any more.
                    tracing::debug!(run = run.run_id, %status, "a run was not handed back");
                    return HandedBack::Yes;
                }
            }
        }
        HandedBack::Yes
    }
}

/// Whether a run was given back.
pub enum HandedBack {
    /// It is not this engine's any more.
    Yes,
    /// It is: these signals wait for it.
    Not(Vec<PendingSignal>),
}

/// Claims and goes on with runs until the process drains.
pub async fn claim_forever(engine: Engine) {
    let draining = engine.host.draining();
    while !draining.is_cancelled() {
        let Some(lease) = engine.sessions.wait(ROUND).await else { continue };
        match engine.journal.attach(lease.id()).await {
            Ok(commands) => attached(&engine, &lease, commands).await,
            Err(status) => tracing::debug!(%status, "the engine cannot attach to the journal"),
        }
        tokio::select! {
            () = draining.cancelled() => {}
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn attached(
    engine: &Engine,
    lease: &Lease,
    mut commands: futures::stream::BoxStream<
        'static,
        Result<sre_proto::memory::v1::AttachResponse, tonic::Status>,
    >,
) {
    let draining = engine.host.draining();
    let mut full = false;
    loop {
        let claim = tokio::select! {
            () = draining.cancelled() => return,
            () = lease.lost().cancelled() => return,
            command = commands.next() => match command {
                Some(Ok(command)) => match command.command {
                    Some(Command::Signal(delivery)) => {
                        if let Some(signal) = delivery.signal {
                            engine.live.signal(&delivery.run_id, signal);
                        }
                        false
                    }
                    Some(Command::ClaimHint(_) | Command::Attached(_)) => true,
                    Some(Command::SessionLost(_)) => {
                        engine.sessions.suspect();
                        return;
                    }
                    None => false,
                },
                Some(Err(status)) => {
                    tracing::debug!(%status, "the command stream broke");
                    return;
                }
                None => return,
            },
            () = engine.takeover.look.notified() => true,
            () = engine.admission.freed(), if full => true,
            () = tokio::time::sleep(ROUND) => true,
        };
        if claim {
            full = claim_some(engine, lease).await;
        }
    }
}

/// Claims as much as there are slots for. Returns whether slots were what was lacking.
async fn claim_some(engine: &Engine, lease: &Lease) -> bool {
    let batch = usize::try_from(engine.host.config().journal.claim_batch).unwrap_or(16).clamp(1, 256);
    loop {
        let mut slots: Vec<_> = std::iter::from_fn(|| engine.admission.slot()).take(batch).collect();
        if slots.is_empty() {
            return true;
        }
        let claimed = match engine.journal.claim(lease.id(), slots.len()).await {
            Ok(claimed) => claimed,
            Err(status) => {
                tracing::debug!(%status, "nothing could be claimed");
                return false;
            }
        };
        let all = claimed.len() == slots.len();
        for claimed in claimed {
            if let Some(slot) = slots.pop() {
                engine.host.spawn("run", Box::pin(go_on(engine.clone(), lease.clone(), claimed, slot)));
            }
        }
        if !all {
            return false;
        }
    }
}

async fn go_on(engine: Engine, lease: Lease, claimed: ClaimedRun, slot: super::admission::Slot) {
    let Some(run) = claimed.run else { return };
    tracing::debug!(run = run.run_id, epoch = run.epoch, "claimed a run");
    if run.kind() == RunKind::Debug {
        drop(slot);
        return debugger::claimed(engine, lease, run, claimed.signals).await;
    }
    let entry = loop {
        match engine.live.enter(&run.run_id) {
            Some(entry) => break entry,
            // This engine still winds up its work under an earlier epoch.
            None => {
                if let Some(mut earlier) = engine.live.get(&run.run_id) {
                    let _ = earlier.over.wait_for(Option::is_some).await;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    for signal in claimed.signals {
        entry.run().signal(signal);
    }
    launch::go_on(engine, run, lease, entry, slot).await;
}
