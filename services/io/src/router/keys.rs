//! The keys that sign links: the newest signs, all verify. They are kept with the links, so that every replica has
//! them, and a new one takes its place after some days by itself.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rand::TryRngCore;
use tokio::time::Instant;

use super::token::Claims;
use super::{LinkStore, MOST};
use crate::clock::{Clock, Millis, millis};
use crate::error::IoError;

const SECRET_BYTES: usize = 32;
/// An address that names an unknown key may be of one that another replica has just made; forged ones must not
/// make us look again and again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Clocks of replicas differ a little.
const MARGIN: Duration = Duration::from_secs(24 * 60 * 60);

/// A key.
#[derive(Clone)]
pub struct KeyRow {
    /// Its name.
    pub id: String,
    /// What it signs with.
    pub secret: Vec<u8>,
    /// When it was made.
    pub created_ms: Millis,
}

/// The keys. Clones share them.
#[derive(Clone)]
pub(super) struct Keys {
    store: Arc<dyn LinkStore>,
    clock: Clock,
    time: Duration,
    known: Arc<ArcSwap<Vec<KeyRow>>>,
    looked: Arc<Mutex<Option<Instant>>>,
}

impl Keys {
    pub(super) fn new(store: Arc<dyn LinkStore>, clock: Clock, time: Duration) -> Self {
        Self { store, clock, time, known: Arc::default(), looked: Arc::default() }
    }

    /// Signs with the newest key, a fresh one where that is too old.
    pub(super) async fn sign(&self, claims: &Claims) -> Result<String, IoError> {
        let key = match self.current() {
            Some(key) => key,
            None => {
                self.look().await?;
                match self.current() {
                    Some(key) => key,
                    None => self.make().await?,
                }
            }
        };
        Ok(Claims { key: key.id, ..claims.clone() }.sign(&key.secret))
    }

    /// The claims of a token; none where they are not of ours.
    pub(super) async fn verify(&self, token: &str) -> Result<Option<Claims>, IoError> {
        let Some(unverified) = Claims::unverified(token) else { return Ok(None) };
        if self.secret(&unverified.key).is_none() {
            let due = {
                let mut looked = self.looked.lock();
                let due = looked.is_none_or(|at| at.elapsed() >= LOOK_AGAIN);
                if due {
                    *looked = Some(Instant::now());
                }
                due
            };
            if due {
                self.look().await?;
            }
        }
        Ok(Claims::verify(token, |key| self.secret(key)))
    }

    /// Removes keys of which no signed address can be valid any more.
    pub(super) async fn sweep(&self) -> Result<(), IoError> {
        let kept = millis(self.time + MOST + MARGIN);
        self.store.drop_keys(self.clock.now().saturating_sub(kept)).await?;
        self.look().await
    }

    fn secret(&self, id: &str) -> Option<Vec<u8>> {
        self.known.load().iter().find(|key| key.id == id).map(|key| key.secret.clone())
    }

    fn current(&self) -> Option<KeyRow> {
        let since = self.clock.now().saturating_sub(millis(self.time));
        let known = self.known.load();
        known.iter().filter(|key| key.created_ms > since).max_by_key(|key| key.created_ms).cloned()
    }

    async fn look(&self) -> Result<(), IoError> {
        let keys = self.store.keys().await?;
        self.known.store(Arc::new(keys));
        Ok(())
    }

    async fn make(&self) -> Result<KeyRow, IoError> {
        let mut secret = vec![0; SECRET_BYTES];
        rand::rngs::OsRng.try_fill_bytes(&mut secret).map_err(|error| {
            IoError::Store(sre_store::StoreError::backend(format!("no randomness for a key: {error}")))
        })?;
        let id = sre_proto::ids::new_uuid().simple().to_string();
        let key = KeyRow { id, secret, created_ms: self.clock.now() };
        self.store.add_key(key.clone()).await?;
        self.look().await?;
        Ok(key)
    }
}
