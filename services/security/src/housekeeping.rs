//! What runs beside the calls: the key ring is kept fresh, keys rotate, checkpoints are signed, what ended is
//! forgotten, a rotation that was cut off goes on.

use std::time::Duration;

use sre_service::Host;
use tokio::time::{MissedTickBehavior, interval};

use crate::error::Error;
use crate::managed_vault::ManagedVault;
use crate::moment::Moment;
use crate::state::State;
use crate::vault::rotation::Rotation;

/// Verifiers forget a key set that nobody confirms for minutes.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
const PRUNE_EVERY: Duration = Duration::from_secs(60);

pub(crate) fn spawn(host: &Host, state: &State, managed: &ManagedVault, rotation: &Rotation) {
    let key_time = Duration::from_secs(host.config().security.key_rotation_hours.max(1) * 3600);
    host.spawn("security-keys", keys(state.clone(), key_time));
    host.spawn("security-follow", state.clone().follow());
    host.spawn("security-checkpoints", checkpoints(state.clone()));
    host.spawn("security-pruning", pruning(state.clone()));
    host.spawn("managed-vault-sweep", sweeping(managed.clone()));
    host.spawn("vault-reseal", resuming(rotation.clone()));
}

async fn keys(state: State, rotation: Duration) {
    let mut ticks = every(REFRESH_EVERY);
    loop {
        ticks.tick().await;
        told("refreshing the key ring", state.refresh(Moment::now()).await);
        let due = state.ring().signing_since().map(|since| since.plus(rotation) <= Moment::now());
        if due.is_ok_and(|due| due) {
            match state.rotate_key(|_| Ok(())).await {
                Ok(key_id) => tracing::info!(key_id, "the signing key was rotated"),
                Err(error) => told("rotating the signing key", Err(error)),
            }
        }
    }
}

async fn checkpoints(state: State) {
    let mut ticks = every(CHECKPOINT_EVERY);
    loop {
        ticks.tick().await;
        told("signing audit checkpoints", state.sign_checkpoints(Moment::now()).await);
    }
}

async fn pruning(state: State) {
    let mut ticks = every(PRUNE_EVERY);
    loop {
        ticks.tick().await;
        told("forgetting what has ended", state.prune(Moment::now()).await);
    }
}

async fn sweeping(managed: ManagedVault) {
    let mut ticks = every(PRUNE_EVERY);
    loop {
        ticks.tick().await;
        told("removing expired managed secrets", managed.sweep().await);
    }
}

/// Until nothing is sealed with an older key: a rotation that was cut off goes on here.
async fn resuming(rotation: Rotation) {
    let mut ticks = every(PRUNE_EVERY);
    loop {
        ticks.tick().await;
        match rotation.resume().await {
            Ok(0) => return,
            Ok(resealed) => tracing::info!(resealed, "a rotation of the vault keys was completed"),
            Err(error) => told("completing a rotation of the vault keys", Err(error)),
        }
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A failure is tried again at the next tick; it is told, not fatal.
fn told(what: &str, result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!(error = %error, "{what} failed and is tried again");
    }
}
