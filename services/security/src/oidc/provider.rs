//! One provider: its keys, and what a token of it must say.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode};
use serde_json::{Map, Value};
use sre_service::config::{Issuer, SignatureAlgorithm};

use super::claims::{self, Header};
use super::keys::Keys;
use super::{Verified, refused};
use crate::error::Error;
use crate::moment::Moment;

/// A provider.
pub struct Provider {
    config: Issuer,
    keys: Keys,
}

impl Provider {
    /// Asks it nothing yet.
    pub fn new(config: &Issuer) -> anyhow::Result<Self> {
        Ok(Self { config: config.clone(), keys: Keys::new(config)? })
    }

    /// As its tokens name it.
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Fetches its keys again.
    pub async fn refresh(&self) {
        self.keys.fetch().await;
    }

    /// Verifies a token that names this provider.
    pub async fn verify(&self, token: &str, header: &Header) -> Result<Verified, Error> {
        let accepted = header.algorithm().filter(|one| self.config.algorithms.contains(one));
        let algorithm = accepted.ok_or_else(|| refused("its signature algorithm is not accepted"))?;
        let key = self.keys.find(header.kid.as_deref(), algorithm).await?;
        let claims = decode::<Map<String, Value>>(token, &key, &self.validation(algorithm));
        let claims = claims.map_err(|error| refused(reason(error.kind())))?.claims;
        let skew = i64::try_from(self.config.clock_skew_seconds).unwrap_or(300);
        let issued = claims.get("iat").and_then(Value::as_i64);
        if issued.is_some_and(|at| at > Moment::now().secs() + skew) {
            return Err(refused("it is issued in the future"));
        }
        if !claims::is_for_party(&self.config, &claims) {
            return Err(refused("the client that obtained it is not accepted"));
        }
        let ends = claims.get("exp").and_then(Value::as_i64).ok_or_else(|| refused("it has no whole exp"))?;
        Ok(Verified {
            user: claims::user(&self.config, &claims)?,
            ends: Moment::from_secs(ends),
            teams: claims::teams(&self.config, &claims),
        })
    }

    fn validation(&self, algorithm: SignatureAlgorithm) -> Validation {
        let mut validation = Validation::new(match algorithm {
            SignatureAlgorithm::RS256 => Algorithm::RS256,
            SignatureAlgorithm::ES256 => Algorithm::ES256,
            SignatureAlgorithm::EdDSA => Algorithm::EdDSA,
        });
        validation.leeway = self.config.clock_skew_seconds;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&self.config.audiences);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation
    }
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "it has expired: get a new one",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::InvalidIssuer => "it is of another issuer",
        ErrorKind::InvalidSignature => "its signature does not hold",
        ErrorKind::MissingRequiredClaim(_) => "it lacks one of exp, iss, aud and sub",
        _ => "it is malformed",
    }
}
