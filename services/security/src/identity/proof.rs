//! Proofs: who is acted for, and within which bounds.

use sre_identity::{Candidate, Peer, SpiffeId, TrustDomain};
use sre_proto::error::Reason;
use sre_proto::security::v1::exchange_request::Proof;

use super::credentials::{self, Kind};
use crate::api_keys;
use crate::error::Error;
use crate::moment::Moment;
use crate::oidc::Providers;
use crate::state::State;

/// A token or grant of ours that is the proof, its signature verified.
#[derive(Debug, Clone)]
pub struct Held {
    /// Token or grant.
    pub kind: Kind,
    /// Its `jti`.
    pub id: String,
    /// Whom it is for.
    pub subject: SpiffeId,
    /// The agents before the subject.
    pub via: Vec<String>,
    /// The caller at the beginning.
    pub root: SpiffeId,
    /// The most that may follow from it.
    pub ceiling: Vec<String>,
    /// The agent that runs, where one does.
    pub agent: Option<String>,
    /// The same over the chain.
    pub transaction: String,
    /// The runs that its calls are made in.
    pub runs: Vec<String>,
    /// When it ends.
    pub ends: Moment,
}

/// What a proof proves.
#[derive(Debug, Clone)]
pub struct Proven {
    /// Whom it is for: the caller itself, or the subject of a token or grant.
    pub subject: SpiffeId,
    /// The same as a Candidate.
    pub candidate: Candidate,
    /// The agents before the subject.
    pub via: Vec<String>,
    /// The caller at the beginning.
    pub root: SpiffeId,
    /// The agent that runs, where one does.
    pub agent: Option<String>,
    /// The same over the chain.
    pub transaction: String,
    /// The runs that its calls are made in.
    pub runs: Vec<String>,
    /// The API key at the beginning of the chain, where there was one.
    pub api_key: Option<String>,
    /// What the proof is and when it ends, where it is a token or grant, ours or a provider's.
    pub ends: Option<(Kind, Moment)>,
}

/// Takes a token or grant apart; none for other proofs. A grant is accepted only from the engine.
pub fn read_held(state: &State, presenter: &Peer, proof: &Proof) -> Result<Option<Held>, Error> {
    let malformed =
        |_| Error::credentials(Reason::CredentialsInvalid, "the proof names a malformed identity");
    match proof {
        Proof::Token(text) => {
            let claims = state.ring().verify_proof(text, presenter)?;
            Ok(Some(Held {
                kind: Kind::Token,
                id: claims.jti.clone(),
                subject: claims.sub.parse().map_err(malformed)?,
                via: claims.via.clone(),
                root: claims.root.parse().map_err(malformed)?,
                ceiling: claims.ceil.clone(),
                agent: claims.agent.clone(),
                transaction: claims.txn.clone(),
                runs: claims.runs.clone(),
                ends: Moment::from_secs(claims.exp),
            }))
        }
        Proof::ResumeGrant(text) => {
            let grant = state.ring().verify_grant(text, presenter)?;
            Ok(Some(Held {
                kind: Kind::Grant,
                id: grant.jti,
                subject: grant.sub.parse().map_err(malformed)?,
                via: grant.via,
                root: grant.root.parse().map_err(malformed)?,
                ceiling: grant.ceil,
                agent: Some(grant.agent),
                transaction: grant.txn,
                runs: Vec::new(),
                ends: Moment::from_secs(grant.exp),
            }))
        }
        Proof::ApiKey(_) | Proof::OidcToken(_) | Proof::Peer(_) => Ok(None),
    }
}

/// What a token or grant proves. The API key at its beginning must still be live.
pub async fn of_held(state: &State, held: Held) -> Result<Proven, Error> {
    let (id, now) = (held.id.clone(), Moment::now());
    let api_key = state
        .read(move |conn| {
            let Some(known) = credentials::find(conn, &id)? else {
                // Signed by us and not remembered: the store was taken back to an older state.
                let message = "the proof is not known to this token service: start again from the caller";
                return Err(Error::credentials(Reason::CredentialsInvalid, message));
            };
            if let Some(key) = &known.api_key {
                api_keys::check_live(conn, key, now)?;
            }
            Ok(known.api_key)
        })
        .await?;
    Ok(Proven {
        candidate: candidate(&held.subject)?,
        subject: held.subject,
        via: held.via,
        root: held.root,
        agent: held.agent,
        transaction: held.transaction,
        runs: held.runs,
        api_key,
        ends: Some((held.kind, held.ends)),
    })
}

/// What a caller's own credential proves.
pub async fn of_caller(state: &State, providers: &Providers, proof: &Proof) -> Result<Proven, Error> {
    match proof {
        Proof::ApiKey(text) => {
            let (text, now) = (zeroize::Zeroizing::new(text.clone()), Moment::now());
            let key = state.read(move |conn| api_keys::verify(conn, &text, now)).await?;
            fresh(candidate_id(&key.principal, state.trust_domain())?, Some(key.id))
        }
        Proof::Peer(peer) => {
            let id: SpiffeId = peer
                .spiffe_id
                .parse()
                .map_err(|error| Error::invalid("peer.spiffe_id", format!("{error}")))?;
            if id.trust_domain() != state.trust_domain() {
                let message = format!("{id} is of another trust domain than {}", state.trust_domain());
                return Err(Error::credentials(Reason::CredentialsInvalid, message));
            }
            fresh(id, None)
        }
        Proof::OidcToken(text) => {
            let verified = providers.verify(text).await?;
            if let Some(teams) = &verified.teams {
                let home = state.resolve(&verified.user).await?.map(|known| known.home_team.clone());
                if home.is_none_or(|home| !teams.contains(&home)) {
                    // The provider's groups narrow what Account gives, and widen nothing.
                    let message = "no group in the token stands for the home team of its user";
                    return Err(Error::denied(Reason::NotTeamMember, message));
                }
            }
            let proven = fresh(candidate_id(&verified.user, state.trust_domain())?, None)?;
            Ok(Proven { ends: Some((Kind::Token, verified.ends)), ..proven })
        }
        Proof::Token(_) | Proof::ResumeGrant(_) => {
            Err(Error::Internal("a token was taken for a caller's own credential".to_owned()))
        }
    }
}

fn fresh(subject: SpiffeId, api_key: Option<String>) -> Result<Proven, Error> {
    Ok(Proven {
        candidate: candidate(&subject)?,
        root: subject.clone(),
        subject,
        via: Vec::new(),
        agent: None,
        transaction: sre_proto::ids::new_uuid().to_string(),
        runs: Vec::new(),
        api_key,
        ends: None,
    })
}

/// A service never is one.
pub fn candidate(id: &SpiffeId) -> Result<Candidate, Error> {
    Candidate::try_from(id.principal()).map_err(|_| {
        let message = format!("{id} is not an agent, user or team: nobody acts for a service");
        Error::credentials(Reason::CredentialsInvalid, message)
    })
}

/// The SPIFFE id of a Candidate.
pub fn candidate_id(candidate: &Candidate, trust_domain: &TrustDomain) -> Result<SpiffeId, Error> {
    let principal =
        candidate.principal().ok_or_else(|| Error::Internal("the public has no identity".to_owned()))?;
    Ok(principal.in_domain(trust_domain))
}
