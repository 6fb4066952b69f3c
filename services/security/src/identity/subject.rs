//! Whom a token is for, and whether it may be.

use std::sync::Arc;

use sre_identity::exchange::{Proof as ProofKind, extend_chain};
use sre_identity::resource::Pattern;
use sre_identity::{Candidate, Purpose, SpiffeId};
use sre_proto::error::Reason;
use tonic::Status;

use super::proof::{self, Proven};
use super::{Ask, Sts};
use crate::account::Principal;
use crate::error::Error;

static AGENT: Pattern = Pattern::new("teams/{team}/agents/{agent}");

/// Whom a token is for.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its SPIFFE id.
    pub id: SpiffeId,
    /// The same as a Candidate.
    pub candidate: Candidate,
    /// The agents before it.
    pub via: Vec<String>,
    /// The agent's full name, where one runs.
    pub agent: Option<String>,
    /// Its home team; none where Account does not know it.
    pub team: Option<String>,
    /// Whose memberships it was decided on.
    pub decided_on: Vec<DecidedOn>,
}

/// Memberships that a right was decided on. Where they are others when the token is made, it is decided again: so
/// there is no moment between check and act, whichever replica changes them.
#[derive(Debug, Clone)]
pub struct DecidedOn {
    /// Whose.
    pub candidate: Candidate,
    /// Their version; none where Account did not know it.
    pub version: Option<i64>,
}

impl Sts {
    pub(super) async fn subject(
        &self,
        ask: &Ask,
        kind: ProofKind,
        proven: &Proven,
    ) -> Result<Subject, Error> {
        match ask.purpose {
            Purpose::Run => self.agent(&proven.candidate, &ask.agent, Vec::new()).await,
            Purpose::SubAgent => {
                let mut decided_on = self.still_allowed(kind, proven).await?;
                if proven.agent.is_none() {
                    return Err(Error::invalid("purpose", "SUB_AGENT needs a proof of a run: use RUN"));
                }
                let via = extend_chain(&proven.via, proven.subject.as_str()).map_err(Status::from)?;
                let subject = self.agent(&proven.candidate, &ask.agent, via).await?;
                decided_on.extend(subject.decided_on);
                Ok(Subject { decided_on, ..subject })
            }
            Purpose::Forward => {
                no_other_agent(ask, None)?;
                self.same(proven).await
            }
            Purpose::NextHop | Purpose::Component => {
                no_other_agent(ask, proven.agent.as_deref())?;
                let decided_on = self.still_allowed(kind, proven).await?;
                Ok(Subject { decided_on, ..self.same(proven).await? })
            }
        }
    }

    /// The agent that `caller` wants to run. Not allowed and not there are the same answer (hole H37).
    async fn agent(&self, caller: &Candidate, name: &str, via: Vec<String>) -> Result<Subject, Error> {
        let asked = AGENT.parse_field("agent", name)?;
        let (known, decided_on) = self.decided_on(caller).await?;
        let full = self.agents.may_invoke(caller, known.as_deref(), name).await?.ok_or_else(refused)?;
        let parts =
            AGENT.parse(&full).map_err(|_| Error::Internal(format!("agent service named {full:?}")))?;
        let candidate = Candidate::agent(parts.get("agent")).map_err(|_| refused())?;
        if candidate.id() != asked.get("agent") {
            return Err(Error::Internal(format!("agent service named {full:?} when asked for {name:?}")));
        }
        // The team is what Account says, whatever a name or document claims (hole H12).
        let home = self.state.resolve(&candidate).await?.ok_or_else(refused)?.home_team.clone();
        if home != parts.get("team") {
            return Err(refused());
        }
        let id = proof::candidate_id(&candidate, self.state.trust_domain())?;
        Ok(Subject { id, candidate, via, agent: Some(full), team: Some(home), decided_on: vec![decided_on] })
    }

    /// The subject of the proof, as Account knows it now.
    async fn same(&self, proven: &Proven) -> Result<Subject, Error> {
        let known = self.state.resolve(&proven.candidate).await?;
        if known.is_none() && proven.agent.is_some() {
            return Err(refused());
        }
        Ok(Subject {
            id: proven.subject.clone(),
            candidate: proven.candidate.clone(),
            via: proven.via.clone(),
            agent: proven.agent.clone(),
            team: known.map(|known| known.home_team.clone()),
            decided_on: Vec::new(),
        })
    }

    async fn decided_on(&self, candidate: &Candidate) -> Result<(Option<Arc<Principal>>, DecidedOn), Error> {
        let known = self.state.resolve(candidate).await?;
        let version = known.as_ref().map(|known| known.version);
        Ok((known, DecidedOn { candidate: candidate.clone(), version }))
    }

    /// A grant was given weeks ago: whoever started the run must still have the right to. For a sub-agent that
    /// is the agent before it. Tokens live for minutes: theirs needs no second look.
    async fn still_allowed(&self, kind: ProofKind, proven: &Proven) -> Result<Vec<DecidedOn>, Error> {
        if kind != ProofKind::ResumeGrant {
            return Ok(Vec::new());
        }
        let agent = proven.agent.as_deref().ok_or_else(refused)?;
        let malformed =
            |_| Error::credentials(Reason::CredentialsInvalid, "the grant names a malformed identity");
        let invoker = match proven.via.last() {
            Some(before) => proof::candidate(&before.parse().map_err(malformed)?)?,
            None => proof::candidate(&proven.root)?,
        };
        // The root may have been removed although the agent in between was not.
        let root = proof::candidate(&proven.root)?;
        let mut decided_on = Vec::new();
        if root != invoker {
            let (known, of_root) = self.decided_on(&root).await?;
            known.ok_or_else(refused)?;
            decided_on.push(of_root);
        }
        let (known, of_invoker) = self.decided_on(&invoker).await?;
        self.agents.may_invoke(&invoker, known.as_deref(), agent).await?.ok_or_else(refused)?;
        decided_on.push(of_invoker);
        Ok(decided_on)
    }
}

fn no_other_agent(ask: &Ask, agent: Option<&str>) -> Result<(), Error> {
    if ask.agent.is_empty() || Some(ask.agent.as_str()) == agent {
        return Ok(());
    }
    Err(Error::invalid("agent", "is another one than the proof's: use RUN or SUB_AGENT"))
}

fn refused() -> Error {
    Error::denied(Reason::AclDenied, "access denied")
}
