//! Identities from a SPIFFE Workload API, such as SPIRE's agent offers: certificates, keys and the trust bundle
//! arrive over a stream, and new ones are taken over as they come.
//!
//! The bundle of the deployment's own trust domain is believed, and no other: federation is off.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use spiffe::{TrustDomain, X509Context, X509Source};
use sre_identity::{PatternTable, Svid, SvidSource, TrustRoots};
use tokio::time::Instant;

use crate::config::Config;
use crate::first_start;
use crate::role::Role;

/// How often an agent that is not there yet is looked for.
const RETRY: Duration = Duration::from_millis(250);

/// A Workload API, and what it says now.
pub(crate) struct Workload {
    source: X509Source,
    trust_domain: TrustDomain,
    patterns: PatternTable,
}

impl Workload {
    /// Connects and waits for the first answer. The agent may start after us.
    pub(crate) async fn connect(endpoint: &str, config: &Arc<Config>) -> anyhow::Result<Self> {
        let give_up = Instant::now() + config.deadlines.start();
        let trust_domain = TrustDomain::try_from(config.trust_domain.as_str())
            .with_context(|| format!("trust_domain {}", config.trust_domain))?;
        let patterns = first_start::patterns(config)?;
        loop {
            let attempt = tokio::time::timeout_at(give_up, X509Source::builder().endpoint(endpoint).build());
            let error = match attempt.await {
                Ok(Ok(source)) => return Ok(Self { source, trust_domain, patterns }),
                Ok(Err(error)) => anyhow::Error::from(error),
                Err(_) => anyhow::anyhow!("it did not answer in time"),
            };
            if Instant::now() + RETRY >= give_up {
                return Err(error.context(format!(
                    "certs.workload_api {endpoint} gives no identity: check the agent, and that an entry is \
                     registered for this process"
                )));
            }
            tracing::warn!(endpoint, error = format!("{error:#}"), "no identity from the workload api yet");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// An identity for each of these roles.
    pub(crate) fn identities(&self, roles: &[Role]) -> anyhow::Result<Vec<(Role, Arc<SvidSource>)>> {
        let context = self.source.x509_context()?;
        let one = |role: &Role| {
            let (svid, roots) = self.identity(&context, *role)?;
            Ok((*role, SvidSource::new(svid, roots, self.patterns.clone())?))
        };
        roles.iter().map(one).collect()
    }

    /// Takes over what the API says, until the process ends.
    pub(crate) async fn follow(self, sources: Vec<(Role, Arc<SvidSource>)>) {
        let mut updates = self.source.updated();
        while updates.changed().await.is_ok() {
            let context = match self.source.x509_context() {
                Ok(context) => context,
                Err(error) => {
                    // Withdrawn: what we have is used until it ends, which is soon.
                    tracing::warn!(%error, "the workload api has no identity for this process any more");
                    continue;
                }
            };
            for (role, source) in &sources {
                let taken =
                    self.identity(&context, *role).and_then(|(svid, roots)| Ok(source.replace(svid, roots)?));
                match taken {
                    Ok(()) => tracing::info!(%role, "certificate taken over from the workload api"),
                    Err(error) => {
                        tracing::warn!(%role, error = format!("{error:#}"), "certificate not taken over")
                    }
                }
            }
        }
        tracing::warn!("the stream of the workload api ended: certificates are not renewed any more");
    }

    /// The SVID of a role, and the bundle of the trust domain.
    fn identity(&self, context: &X509Context, role: Role) -> anyhow::Result<(Svid, TrustRoots)> {
        let bundle = context.bundle_set().get(&self.trust_domain);
        let bundle = bundle.with_context(|| format!("there is no bundle for {}", self.trust_domain))?;
        let roots = TrustRoots::from_der(bundle.authorities().iter().map(|one| one.as_bytes()))?;
        let mut found = Vec::new();
        for one in context.svids() {
            let chain = one.cert_chain().iter().map(|one| one.as_bytes().to_vec());
            // An identity that is none of ours may be another workload's on the same machine.
            let Ok(svid) = Svid::from_der(chain, one.private_key().as_bytes(), &self.patterns) else {
                continue;
            };
            if svid.peer().is_service(role.name()) {
                return Ok((svid, roots));
            }
            found.push(svid.peer().principal().to_string());
        }
        bail!(
            "the workload api gives no identity of service/{role} (but {}): register an entry for it",
            if found.is_empty() { "none of this deployment".to_owned() } else { found.join(", ") }
        )
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
