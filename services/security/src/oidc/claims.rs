//! What a token says, before and after it is verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use sre_identity::Candidate;
use sre_service::config::{Issuer, SignatureAlgorithm, UserId};

use super::refused;
use crate::error::Error;

/// Digits of a user's id that is a digest: 128 bits.
const DIGEST_HEX: usize = 32;
/// Types of tokens that are those of a provider. Ours have another one.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// The part of a header that is looked at. `jku`, `jwk`, `x5u` and `x5c` are not.
#[derive(Debug, Clone, Deserialize)]
pub struct Header {
    /// The signature.
    pub alg: String,
    /// The key.
    pub kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl Header {
    /// The algorithm, where it is one that may be accepted at all.
    pub fn algorithm(&self) -> Option<SignatureAlgorithm> {
        match self.alg.as_str() {
            "RS256" => Some(SignatureAlgorithm::RS256),
            "ES256" => Some(SignatureAlgorithm::ES256),
            "EdDSA" => Some(SignatureAlgorithm::EdDSA),
            _ => None,
        }
    }
}

/// Reads the header, which nobody has verified.
pub fn header(token: &str) -> Result<Header, Error> {
    let header: Header = segment(token, 0)?;
    if header.crit.is_some() {
        return Err(refused("its header asks for an extension"));
    }
    let typ = header.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
    if !TYPES.contains(&typ.as_str()) {
        return Err(refused("it is of another type"));
    }
    Ok(header)
}

/// Reads the issuer, which nobody has verified: it only chooses whose keys must have signed the token.
pub fn issuer(token: &str) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Payload {
        iss: String,
    }
    Ok(segment::<Payload>(token, 1)?.iss)
}

fn segment<T: for<'de> Deserialize<'de>>(token: &str, place: usize) -> Result<T, Error> {
    let malformed = || refused("it is malformed");
    let parts: Vec<&str> = token.split('.').collect();
    let [_, _, _] = parts.as_slice() else { return Err(malformed()) };
    let text = parts.get(place).ok_or_else(malformed)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| malformed())?;
    serde_json::from_slice(&bytes).map_err(|_| malformed())
}

/// The user that verified claims name.
pub fn user(issuer: &Issuer, claims: &Map<String, Value>) -> Result<Candidate, Error> {
    let claim = &issuer.user_claim;
    let value = claims.get(claim).and_then(Value::as_str).filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| refused(&format!("it has no claim {claim:?}")))?;
    // An address that its provider never verified is anybody's.
    if claim == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
        return Err(refused("its email is not verified"));
    }
    let id = match issuer.user_id {
        UserId::Claim => value.to_owned(),
        UserId::Digest => {
            let mut hasher = blake3::Hasher::new_derive_key("sre oidc user id 1");
            hasher.update(issuer.issuer.as_bytes()).update(&[0]).update(value.as_bytes());
            hasher.finalize().to_hex().chars().take(DIGEST_HEX).collect()
        }
    };
    Candidate::user(&format!("{}{id}", issuer.user_prefix)).map_err(|_| {
        refused(&format!(
            "its claim {claim:?} is no user id: map it with user_claim, or set user_id to digest"
        ))
    })
}

/// The teams that the token's groups stand for; none where groups do not count.
pub fn teams(issuer: &Issuer, claims: &Map<String, Value>) -> Option<Vec<String>> {
    let groups = claims.get(issuer.groups_claim.as_ref()?);
    let groups = groups.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let team = |group: &Value| group.as_str().and_then(|group| issuer.groups.get(group).cloned());
    Some(groups.iter().filter_map(team).collect())
}

/// Whether the client that obtained the token is one of those accepted.
pub fn is_for_party(issuer: &Issuer, claims: &Map<String, Value>) -> bool {
    let party = claims.get("azp").or_else(|| claims.get("client_id")).and_then(Value::as_str);
    let accepted = &issuer.authorized_parties;
    accepted.is_empty() || party.is_some_and(|party| accepted.iter().any(|one| one == party))
}
