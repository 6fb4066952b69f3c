//! Making the token, and remembering that it was made.

use std::time::Duration;

use sre_identity::Claims;
use sre_identity::grant::Grant;
use sre_proto::error::Reason;

use super::credentials::{self, Credential, Kind};
use super::proof::Proven;
use super::subject::{DecidedOn, Subject};
use super::{Ask, Sts};
use crate::account;
use crate::api_keys;
use crate::audit::entry::Entry;
use crate::error::Error;
use crate::moment::Moment;

const CHANGED: &str = "memberships of the caller were changed meanwhile: try again";

/// What an exchange gives.
#[derive(Debug, Clone)]
pub struct Minted {
    /// The signed token.
    pub token: String,
    /// What it says.
    pub claims: Claims,
    /// A signed resume grant and its end, where asked for.
    pub grant: Option<(String, Moment)>,
}

impl Sts {
    pub(super) async fn mint(
        &self,
        ask: &Ask,
        proven: &Proven,
        subject: Subject,
        ceiling: &[String],
        entry: &Entry,
        now: Moment,
    ) -> Result<Minted, Error> {
        let claims = self.claims(ask, proven, &subject, ceiling.to_vec(), now)?;
        let token = self.state.ring().sign_token(&claims)?;
        let grant = match ask.grant_lifetime {
            Some(lifetime) => Some(self.grant(proven, &claims, lifetime, now)?),
            None => None,
        };
        let credential = |id: &str, kind, ends| Credential {
            id: id.to_owned(),
            kind,
            team: subject.team.clone().unwrap_or_default(),
            api_key: proven.api_key.clone(),
            root: claims.root.clone(),
            ends,
        };
        let mut made = vec![credential(&claims.jti, Kind::Token, Moment::from_secs(claims.exp))];
        if let Some((grant, _)) = &grant {
            made.push(credential(&grant.jti, Kind::Grant, Moment::from_secs(grant.exp)));
        }
        let chain = std::iter::once(claims.root.clone()).chain(claims.via.iter().cloned()).collect();
        let entry = entry
            .clone()
            .on(claims.agent.clone().unwrap_or_else(|| "self".to_owned()))
            .of_team(claims.team.as_deref().unwrap_or_default())
            .acting_for(&subject.candidate, chain)
            .with_token(&claims.jti);
        self.state
            .write(move |tx| {
                for DecidedOn { candidate, version } in &subject.decided_on {
                    if account::version(tx, candidate)? != *version {
                        return Err(Error::Conflict(CHANGED.to_owned()));
                    }
                }
                for credential in &made {
                    // Looked at again here: a key revoked since the proof was checked gives no token.
                    if let Some(key) = &credential.api_key {
                        api_keys::check_live(tx, key, now)?;
                    }
                    credentials::insert(tx, credential)?;
                }
                entry.write(tx)
            })
            .await?;
        let grant = grant.map(|(grant, text)| (text, Moment::from_secs(grant.exp)));
        Ok(Minted { token, claims, grant })
    }

    fn claims(
        &self,
        ask: &Ask,
        proven: &Proven,
        subject: &Subject,
        ceiling: Vec<String>,
        now: Moment,
    ) -> Result<Claims, Error> {
        let iat = now.secs();
        let longest = iat + seconds(self.lifetimes.token);
        // Authority never grows by exchanging: what follows from a token ends with it.
        let exp = proven.ends.map_or(longest, |(_, ends)| ends.secs().min(longest));
        if exp <= iat {
            return Err(Error::credentials(
                Reason::CredentialsInvalid,
                "the proof has expired: exchange again",
            ));
        }
        Ok(Claims {
            iss: self.state.ring().issuer().to_owned(),
            sub: subject.id.to_string(),
            act: ask.bound_to.as_ref().unwrap_or_else(|| ask.presenter.spiffe_id()).to_string(),
            via: subject.via.clone(),
            root: proven.root.to_string(),
            aud: ask.audience.clone(),
            scope: ask.scopes.clone(),
            ceil: ceiling,
            jti: sre_proto::ids::new_uuid().to_string(),
            iat,
            exp,
            purpose: ask.purpose,
            agent: subject.agent.clone(),
            team: subject.team.clone(),
            txn: proven.transaction.clone(),
            // What a component has others do counts for its runs too.
            runs: if ask.runs.is_empty() { proven.runs.clone() } else { ask.runs.clone() },
        })
    }

    fn grant(
        &self,
        proven: &Proven,
        claims: &Claims,
        lifetime: Duration,
        now: Moment,
    ) -> Result<(Grant, String), Error> {
        if lifetime > self.lifetimes.grant {
            let days = self.lifetimes.grant.as_secs() / (24 * 3600);
            let message = format!("is longer than {days} days, the most that is allowed");
            return Err(Error::invalid("resume_grant_time_to_live", message));
        }
        let agent = claims.agent.clone().ok_or_else(|| {
            Error::invalid("want_resume_grant", "a resume grant is for a run: the proof runs no agent")
        })?;
        let wanted = now.secs() + seconds(lifetime);
        // A grant obtained with a grant ends with it: it cannot be renewed for ever.
        let exp = match proven.ends {
            Some((Kind::Grant, ends)) => ends.secs().min(wanted),
            Some((Kind::Token, _)) | None => wanted,
        };
        let grant = Grant {
            iss: claims.iss.clone(),
            sub: claims.sub.clone(),
            via: claims.via.clone(),
            root: claims.root.clone(),
            ceil: claims.ceil.clone(),
            jti: sre_proto::ids::new_uuid().to_string(),
            iat: claims.iat,
            exp,
            agent,
            team: claims.team.clone(),
            txn: claims.txn.clone(),
        };
        let text = self.state.ring().sign_grant(&grant)?;
        Ok((grant, text))
    }
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
