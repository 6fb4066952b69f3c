//! Rotation of the key-encryption keys, while calls go on.
//!
//! First every ring has its new key, durably; from then on it seals, and the older ones open. Then everything
//! that is kept is wrapped anew, store by store. Cut off anywhere it is taken up at the next start or by the next
//! rotation: what is sealed with an older key opens with it until then.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::connectors::SecretStore;
use super::keks::Keks;
use crate::error::Error;
use crate::managed_vault::connectors::ManagedStore;
use crate::state::State;
use sre_service::connectors::Instances;

/// How to rotate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKeys {
    /// Makes them.
    Make,
    /// Takes those that an operator put into the key files.
    OfFiles,
}

/// What becomes of the older keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldKeys {
    /// They go on opening: backups, and replicas that are late.
    Keep,
    /// They are forgotten once nothing is sealed with them.
    Forget,
}

/// All that is sealed, and the keys that it is sealed with. Clones share it.
#[derive(Clone)]
pub struct Rotation(Arc<Inner>);

struct Inner {
    state: State,
    vaults: Instances<dyn SecretStore>,
    managed: Instances<dyn ManagedStore>,
    /// One rotation at a time.
    turn: Mutex<()>,
}

/// What was done.
#[derive(Debug)]
pub struct Rotated {
    /// The rings as they are now.
    pub keks: Vec<Keks>,
    /// Keys of secrets that were wrapped anew.
    pub resealed: u64,
}

impl Rotation {
    /// Over all that is kept.
    pub fn new(
        state: State,
        vaults: Instances<dyn SecretStore>,
        managed: Instances<dyn ManagedStore>,
    ) -> Self {
        Self(Arc::new(Inner { state, vaults, managed, turn: Mutex::default() }))
    }

    /// Rotates. It runs to its end even where the caller goes away.
    pub async fn rotate(&self, new: NewKeys, old: OldKeys) -> Result<Rotated, Error> {
        let this = self.clone();
        let work = sre_service::task::spawn("vault-rotation", async move { this.run(new, old).await });
        work.await.unwrap_or_else(|error| Err(Error::Internal(format!("the rotation ended: {error}"))))
    }

    /// Takes up a rotation that was cut off; gives how many keys were wrapped anew.
    pub async fn resume(&self) -> Result<u64, Error> {
        let _turn = self.0.turn.lock().await;
        self.reseal().await
    }

    async fn run(&self, new: NewKeys, old: OldKeys) -> Result<Rotated, Error> {
        let _turn = self.0.turn.lock().await;
        let keks = self.keks();
        for ring in &keks {
            let done = match new {
                NewKeys::Make => ring.rotate().await,
                NewKeys::OfFiles => ring.reload().await.map(drop),
            };
            done.map_err(|error| Error::Precondition(format!("key file {}: {error}", ring.name())))?;
        }
        let mut resealed = self.reseal().await?;
        if old == OldKeys::Forget {
            // What was being written with an older key meanwhile.
            resealed += self.reseal().await?;
            for ring in &keks {
                ring.forget_old().await.map_err(|error| Error::Precondition(error.to_string()))?;
            }
        }
        for ring in &keks {
            tracing::info!(key = ring.name(), id = ring.primary().id(), resealed, "a vault key was rotated");
        }
        Ok(Rotated { keks, resealed })
    }

    async fn reseal(&self) -> Result<u64, Error> {
        let mut count = self.0.state.reseal().await?;
        for vault in self.0.vaults.all() {
            count += vault.reseal().await?;
        }
        for managed in self.0.managed.all() {
            count += managed.reseal().await?;
        }
        Ok(count)
    }

    /// Every ring once.
    fn keks(&self) -> Vec<Keks> {
        let mut keks = vec![self.0.state.keks().clone()];
        let mut add = |ring: Option<&Keks>| {
            if let Some(ring) = ring.filter(|ring| !keks.iter().any(|known| known.is(ring))) {
                keks.push(ring.clone());
            }
        };
        self.0.vaults.all().iter().for_each(|vault| add(vault.keks()));
        self.0.managed.all().iter().for_each(|managed| add(managed.keks()));
        keks
    }
}
