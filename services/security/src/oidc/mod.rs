//! Tokens of OpenID Connect providers, as proofs of who a user is.
//!
//! A token is believed when a provider that the configuration lists signed it for this deployment, with a key that
//! was found through that provider's own configuration. Nothing in a token says where to look: `jku`, `x5u` and an
//! issuer that is not listed lead nowhere.

mod claims;
mod fetch;
mod keys;
mod provider;

use std::sync::Arc;
use std::time::Duration;

use sre_identity::Candidate;
use sre_proto::error::Reason;
use sre_service::config::Issuer;

use crate::error::Error;
use crate::moment::Moment;
use provider::Provider;

/// The longest token that is looked at.
pub const MAX_TOKEN_BYTES: usize = 16 << 10;
/// How often keys are fetched again without being asked for.
const REFRESH_EVERY: Duration = Duration::from_secs(300);

/// What a token proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who.
    pub user: Candidate,
    /// When the token ends.
    pub ends: Moment,
    /// The teams that its groups stand for, where the provider's groups count.
    pub teams: Option<Vec<String>>,
}

/// The providers of the configuration. Clones share their keys.
#[derive(Clone)]
pub struct Providers(Arc<[Provider]>);

impl Providers {
    /// Asks no provider anything yet.
    pub fn new(issuers: &[Issuer]) -> anyhow::Result<Self> {
        Ok(Self(issuers.iter().map(Provider::new).collect::<anyhow::Result<Vec<_>>>()?.into()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Verifies a token.
    pub async fn verify(&self, token: &str) -> Result<Verified, Error> {
        if self.0.is_empty() {
            return Err(refused(
                "this deployment knows no provider: send an api key, or set security.issuers",
            ));
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(refused(&format!("it is longer than {MAX_TOKEN_BYTES} bytes")));
        }
        let header = claims::header(token)?;
        let issuer = claims::issuer(token)?;
        let provider = self.0.iter().find(|one| one.issuer() == issuer);
        provider
            .ok_or_else(|| refused("its issuer is not listed in security.issuers"))?
            .verify(token, &header)
            .await
    }

    /// Keeps the providers' keys fresh until the process ends.
    pub async fn keep_fresh(self) {
        loop {
            futures::future::join_all(self.0.iter().map(Provider::refresh)).await;
            tokio::time::sleep(REFRESH_EVERY).await;
        }
    }
}

/// A token that is not believed, and why.
fn refused(why: &str) -> Error {
    Error::credentials(Reason::CredentialsInvalid, format!("the OpenID Connect token is not valid: {why}"))
}

#[cfg(test)]
pub(crate) mod tests;
