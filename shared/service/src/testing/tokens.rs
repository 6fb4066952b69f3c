//! Tokens of the stand-in.

use sre_identity::token::{Claims, Purpose, issuer};
use sre_identity::{Candidate, Principal};
use sre_proto::security::v1 as pb;
use tonic::Status;

use super::security::StandIn;
use super::{must, unix_seconds};
use crate::role::Role;

const LIFETIME_SECONDS: i64 = 300;

impl StandIn {
    /// See [`super::TestSuite::token`].
    pub fn token(&self, subject: &str, presenter: Role, audience: Role, scopes: &[&str]) -> String {
        let claims = self.claims(subject, presenter, audience, scopes);
        must(self.signer.sign(&claims))
    }

    /// The claims of [`Self::token`], to be changed and signed by [`Self::sign`].
    pub fn claims(&self, subject: &str, presenter: Role, audience: Role, scopes: &[&str]) -> Claims {
        let subject: Principal = must(subject.parse());
        let candidate = must(Candidate::try_from(&subject));
        let scope: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let id = subject.in_domain(&self.domain).to_string();
        Claims {
            iss: issuer(&self.domain),
            sub: id.clone(),
            act: format!("spiffe://{}/service/{presenter}", self.domain),
            via: Vec::new(),
            root: id,
            aud: vec![audience.name().to_owned()],
            ceil: scope.clone(),
            scope,
            jti: sre_proto::ids::new_uuid().to_string(),
            iat: unix_seconds(),
            exp: unix_seconds() + LIFETIME_SECONDS,
            purpose: Purpose::Forward,
            agent: None,
            team: Some(self.principal(&candidate).home_team).filter(|team| !team.is_empty()),
            txn: sre_proto::ids::new_uuid().to_string(),
            runs: Vec::new(),
        }
    }

    /// Signs claims as they are.
    pub fn sign(&self, claims: &Claims) -> String {
        must(self.signer.sign(claims))
    }

    /// Grants what is asked for.
    pub(super) fn exchanged(
        &self,
        presenter: &str,
        request: &pb::ExchangeRequest,
    ) -> Result<pb::ExchangeResponse, Status> {
        use pb::exchange_request::Proof;
        let purpose = Purpose::from_proto(request.purpose)
            .ok_or_else(|| sre_proto::error::invalid_argument("purpose", "name one"))?;
        let wrong = |what: &str| sre_proto::error::invalid_argument("proof", what.to_owned());
        let proven = match &request.proof {
            Some(Proof::Peer(peer)) => peer.spiffe_id.clone(),
            Some(Proof::Token(token)) => subject_of(token).ok_or_else(|| wrong("is no token"))?,
            Some(Proof::ResumeGrant(grant)) => subject_of(grant).ok_or_else(|| wrong("is no grant"))?,
            // Keys of the stand-in are written `sre_<kind>/<id>`.
            Some(Proof::ApiKey(key)) => {
                let name = key.strip_prefix("sre_").ok_or_else(|| wrong("is no key"))?;
                format!("spiffe://{}/{name}", self.domain)
            }
            Some(Proof::OidcToken(_)) | None => return Err(wrong("is not supported here")),
        };
        let agent = Some(request.agent.clone()).filter(|agent| !agent.is_empty());
        let subject = match &agent {
            Some(agent) => {
                let id = agent.rsplit('/').next().unwrap_or_default();
                format!("spiffe://{}/agent/{id}", self.domain)
            }
            None => proven.clone(),
        };
        let name = subject.strip_prefix(&format!("spiffe://{}/", self.domain)).unwrap_or_default();
        let candidate: Candidate = name.parse().map_err(|_| wrong("names nobody"))?;
        *self.exchanges.lock() += 1;
        let now = unix_seconds();
        let claims = Claims {
            iss: issuer(&self.domain),
            sub: subject.clone(),
            act: match request.presenter.as_str() {
                "" => presenter.to_owned(),
                component => format!("spiffe://{}/{component}", self.domain),
            },
            via: Vec::new(),
            root: proven.clone(),
            aud: request.audience.clone(),
            scope: request.scopes.clone(),
            ceil: request.scopes.clone(),
            jti: sre_proto::ids::new_uuid().to_string(),
            iat: now,
            exp: now + LIFETIME_SECONDS,
            purpose,
            agent: agent.clone(),
            team: Some(self.principal(&candidate).home_team).filter(|team| !team.is_empty()),
            txn: sre_proto::ids::new_uuid().to_string(),
            runs: request.runs.clone(),
        };
        let token = self.sign(&claims);
        let expires = prost_types::Timestamp { seconds: claims.exp, nanos: 0 };
        let resume_grant = if request.want_resume_grant { token.clone() } else { String::new() };
        Ok(pb::ExchangeResponse {
            token,
            expire_time: Some(expires),
            subject,
            root_caller: proven,
            agent: agent.unwrap_or_default(),
            team: claims.team.unwrap_or_default(),
            resume_grant_expire_time: request.want_resume_grant.then_some(expires),
            resume_grant,
        })
    }
}

/// The subject that a token names. The stand-in believes what it is told.
fn subject_of(token: &str) -> Option<String> {
    use base64::Engine as _;
    let payload = token.split('.').nth(1)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
    Some(claims.get("sub")?.as_str()?.to_owned())
}
