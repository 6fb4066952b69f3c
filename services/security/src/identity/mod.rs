//! The token service: proofs of identity in, short-lived signed tokens out.
//!
//! An exchange goes through the same steps whatever the proof: take the proof apart, look the request up in
//! the fixed table of `sre-identity`, find out for whom the token would be, check rights, mint.

pub mod agent_access;
pub mod certificates;
pub mod credentials;
pub mod key_ring;
pub mod mint;
pub mod proof;
pub mod revocations;
pub mod service;
pub mod signing_keys;
pub mod subject;

use std::sync::Arc;
use std::time::Duration;

use agent_access::AgentAccess;
use mint::Minted;
use proof::Proven;
use sre_identity::exchange::{self, permit};
use sre_identity::{Peer, Purpose, SpiffeId};
use sre_proto::error::Reason;
use sre_proto::security::v1::exchange_request::Proof;
use subject::DecidedOn;
use tonic::Status;

use crate::audit::entry::Entry;
use crate::error::Error;
use crate::moment::Moment;
use crate::oidc::Providers;
use crate::state::State;

/// How often a right is decided on before a change in between is the caller's to wait for.
const DECISIONS: usize = 3;
const MAX_SCOPES: usize = 64;
const MAX_AUDIENCE: usize = 9;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks.
    pub presenter: Peer,
    /// Who will present the token, where that is not who asks.
    pub bound_to: Option<SpiffeId>,
    /// What for.
    pub purpose: Purpose,
    /// The agent to run; empty where none.
    pub agent: String,
    /// Roles that will be called.
    pub audience: Vec<String>,
    /// What will be called.
    pub scopes: Vec<String>,
    /// How long a resume grant must live, where one is wanted.
    pub grant_lifetime: Option<Duration>,
    /// The runs that calls with the token are made in.
    pub runs: Vec<String>,
}

/// How long things live.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Tokens.
    pub token: Duration,
    /// Resume grants, at most.
    pub grant: Duration,
}

/// The token service.
#[derive(Clone)]
pub struct Sts {
    state: State,
    agents: Arc<dyn AgentAccess>,
    providers: Providers,
    lifetimes: Lifetimes,
}

impl Sts {
    /// Over the role's state.
    pub fn new(
        state: State,
        agents: Arc<dyn AgentAccess>,
        providers: Providers,
        lifetimes: Lifetimes,
    ) -> Self {
        Self { state, agents, providers, lifetimes }
    }

    /// Exchanges a proof for a token. `entry` becomes the record of it, in the same transaction.
    pub async fn exchange(&self, ask: &Ask, proof: Option<Proof>, entry: Entry) -> Result<Minted, Error> {
        let proof = proof.ok_or_else(|| Error::invalid("proof", "is not set"))?;
        check_sizes(ask)?;
        if ask.grant_lifetime.is_some() && !exchange::may_hold_grants(&ask.presenter) {
            let message = format!("{} may not hold resume grants", ask.presenter.principal());
            return Err(Error::denied(Reason::MethodNotAllowed, message));
        }
        let kind = exchange::Proof::of(&proof);
        let held = proof::read_held(&self.state, &ask.presenter, &proof)?;
        let ceiling = permit(&exchange::Ask {
            presenter: &ask.presenter,
            purpose: ask.purpose,
            proof: kind,
            ceiling: held.as_ref().map(|held| held.ceiling.as_slice()),
            audience: &ask.audience,
            scopes: &ask.scopes,
        })
        .map_err(Status::from)?;
        let proven: Proven = match held {
            Some(held) => proof::of_held(&self.state, held).await?,
            None => proof::of_caller(&self.state, &self.providers, &proof).await?,
        };
        let mut left = DECISIONS;
        loop {
            left -= 1;
            let subject = self.subject(ask, kind, &proven).await?;
            let decided_on = subject.decided_on.clone();
            match self.mint(ask, &proven, subject, &ceiling, &entry, Moment::now()).await {
                Err(Error::Conflict(_)) if left > 0 => {
                    for DecidedOn { candidate, .. } in decided_on {
                        self.state.forget(&candidate).await;
                    }
                }
                minted => return minted,
            }
        }
    }
}

fn check_sizes(ask: &Ask) -> Result<(), Error> {
    if ask.audience.len() > MAX_AUDIENCE {
        return Err(Error::invalid(
            "audience",
            format!("names {} roles: {MAX_AUDIENCE} at most", ask.audience.len()),
        ));
    }
    if ask.scopes.len() > MAX_SCOPES {
        return Err(Error::invalid("scopes", format!("are {}: {MAX_SCOPES} at most", ask.scopes.len())));
    }
    Ok(())
}
