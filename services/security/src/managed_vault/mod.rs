//! Secrets that agents obtain while they run, such as tokens of third parties. The domain: names, limits, time to
//! live; the backends are behind a trait.
//!
//! A secret belongs to an agent. [`ManagedVault::set`] with an expected version is what a renewal of a token writes
//! back with: of several at once, one succeeds, and the others read what it wrote.

pub mod connectors;
pub mod service;

use std::time::Duration;

use connectors::{Expected, ManagedInfo, ManagedStore, Place, Written};
use sre_service::connectors::{Instance, Instances};

use crate::error::Error;
use crate::moment::Moment;
use crate::vault::secret::SecretValue;
use crate::vault::{check_key, check_value};

/// The longest time to live.
const MAX_TIME_TO_LIVE: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// The managed vault. Callers have been checked.
#[derive(Clone)]
pub struct ManagedVault {
    instances: Instances<dyn ManagedStore>,
}

impl ManagedVault {
    /// Over backends.
    pub fn new(instances: Instances<dyn ManagedStore>) -> Self {
        Self { instances }
    }

    fn store(&self, instance: &str) -> Result<Instance<dyn ManagedStore>, Error> {
        Ok(self.instances.get(instance).map_err(tonic::Status::from)?)
    }

    /// A secret with its value.
    pub async fn get(&self, place: &Place, instance: &str) -> Result<(ManagedInfo, SecretValue), Error> {
        check_key(&place.key)?;
        let found = self.store(instance)?.get(place, Moment::now()).await?;
        found.ok_or_else(|| Error::SecretNotFound(place.key.clone()))
    }

    /// What there is, without the value.
    pub async fn check(&self, place: &Place, instance: &str) -> Result<Option<ManagedInfo>, Error> {
        check_key(&place.key)?;
        Ok(self.store(instance)?.get(place, Moment::now()).await?.map(|(info, _)| info))
    }

    /// Sets a secret, if what is there is as expected.
    pub async fn set(
        &self,
        place: &Place,
        value: SecretValue,
        time_to_live: Option<Duration>,
        expected: Expected,
        instance: &str,
    ) -> Result<ManagedInfo, Error> {
        check_key(&place.key)?;
        check_value(&value)?;
        let now = Moment::now();
        if time_to_live.is_some_and(|time| time.is_zero() || time > MAX_TIME_TO_LIVE) {
            return Err(Error::invalid("time_to_live", "must be more than nothing and ten years at most"));
        }
        let expires = time_to_live.map(|time| now.plus(time));
        match self.store(instance)?.set(place, value, expires, expected, now).await? {
            Written::Done(info) => Ok(info),
            Written::Conflict => Err(Error::Conflict(format!(
                "managed secret {:?} has another version by now: read it again",
                place.key
            ))),
        }
    }

    /// Deletes a secret.
    pub async fn delete(&self, place: &Place, instance: &str) -> Result<(), Error> {
        check_key(&place.key)?;
        let gone = self.store(instance)?.delete(place, Moment::now()).await?;
        if gone { Ok(()) } else { Err(Error::SecretNotFound(place.key.clone())) }
    }

    /// Deletes all secrets of an agent in one instance.
    pub async fn purge(&self, team: &str, agent: &str, instance: &str) -> Result<u64, Error> {
        Ok(self.store(instance)?.purge(team, agent).await?)
    }

    /// Deletes all secrets of an agent that goes.
    pub async fn forget_agent(&self, team: &str, agent: &str) -> Result<(), Error> {
        for store in self.instances.all() {
            store.purge(team, agent).await?;
        }
        Ok(())
    }

    /// Removes what has expired.
    pub async fn sweep(&self) -> Result<(), Error> {
        for store in self.instances.all() {
            store.sweep(Moment::now()).await?;
        }
        Ok(())
    }
}
