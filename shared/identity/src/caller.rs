//! Who calls, as every handler sees it.

use std::sync::Arc;

use sre_proto::MethodPolicy;
use sre_proto::error::{self, Reason};
use tonic::{Code, Extensions, Status};

use crate::candidate::Candidate;
use crate::peer::Peer;
use crate::token::{Claims, Purpose, Verified};

/// The caller of a request: put into its extensions by [`crate::AuthLayer`] and by nothing else.
///
/// ```no_run
/// # fn handler(request: tonic::Request<()>) -> Result<(), tonic::Status> {
/// let caller = sre_identity::Caller::of(request.extensions())?;
/// let candidate = caller.require_candidate()?;
/// # let _ = candidate; Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Caller {
    peer: Peer,
    candidate: Option<Candidate>,
    token: Option<Arc<Verified>>,
    policy: &'static MethodPolicy,
    said: Vec<String>,
}

impl Caller {
    /// `said` are the runs that the peer states, where its word counts.
    pub(crate) fn new(
        peer: Peer,
        token: Option<Arc<Verified>>,
        policy: &'static MethodPolicy,
        said: Vec<String>,
    ) -> Self {
        let candidate = match &token {
            Some(token) => Some(token.candidate.clone()),
            None => peer.candidate(),
        };
        Self { peer, candidate, token, policy, said }
    }

    /// The caller of a request. Fails where the layer is missing: closed, not open.
    pub fn of(extensions: &Extensions) -> Result<&Self, Status> {
        extensions.get::<Self>().ok_or_else(|| {
            error::status(
                Code::Unauthenticated,
                Reason::CredentialsMissing,
                "the request passed no authentication layer",
            )
        })
    }

    /// The other end of the connection or link.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// On whose behalf: the token's subject, or the peer itself where it is an agent, user or team. None for
    /// `system` methods.
    pub fn candidate(&self) -> Option<&Candidate> {
        self.candidate.as_ref()
    }

    /// The Candidate, for methods that need one.
    pub fn require_candidate(&self) -> Result<&Candidate, Status> {
        self.candidate.as_ref().ok_or_else(|| {
            error::status(
                Code::Unauthenticated,
                Reason::CredentialsMissing,
                "the call acts for nobody: present a delegation token",
            )
        })
    }

    /// What the presented token says.
    pub fn token(&self) -> Option<&Arc<Claims>> {
        self.token.as_ref().map(|token| &token.claims)
    }

    /// The presented token itself: the proof for an exchange to the next hop, never to be forwarded.
    pub fn presented_token(&self) -> Option<&Arc<str>> {
        self.token.as_ref().map(|token| &token.text)
    }

    /// The policy of the method that is called.
    pub fn policy(&self) -> &'static MethodPolicy {
        self.policy
    }

    /// The SPIFFE id of the caller at the beginning of the chain.
    pub fn root(&self) -> &str {
        match &self.token {
            Some(token) => &token.claims.root,
            None => self.peer.spiffe_id().as_str(),
        }
    }

    /// The SPIFFE ids of the agents that the chain passed through before the Candidate, oldest first.
    pub fn chain(&self) -> &[String] {
        match &self.token {
            Some(token) => &token.claims.via,
            None => &[],
        }
    }

    /// The runs that the call is made in, outermost first, each as [`crate::runs::name`]; verified, and none outside of
    /// runs.
    pub fn runs(&self) -> &[String] {
        match &self.token {
            Some(token) if !token.claims.runs.is_empty() => &token.claims.runs,
            _ => &self.said,
        }
    }

    /// The id of the run that calls; empty outside of runs.
    pub fn run_id(&self) -> &str {
        self.runs().last().and_then(|run| crate::runs::parts(run)).map_or("", |(_, id)| id)
    }

    /// The full name of the agent that the token is for.
    pub fn agent(&self) -> Option<&str> {
        self.token.as_ref()?.claims.agent.as_deref()
    }

    /// The claims of a token that was obtained to run an agent.
    pub fn agent_run(&self) -> Option<&Arc<Claims>> {
        self.token().filter(|claims| claims.purpose == Purpose::Run)
    }
}
