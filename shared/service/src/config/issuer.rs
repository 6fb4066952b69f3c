//! `[[security.issuers]]`: OpenID Connect providers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sre_identity::candidate::is_valid_id;

/// An OpenID Connect provider. Its tokens are bearers of the HTTP doors and act as the user that they name; what
/// that user may do is decided by Account and access lists, as for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Issuer {
    /// The provider's URL, as `iss` of its tokens says it. Its keys are found through
    /// `<issuer>/.well-known/openid-configuration`. `https`, or `http` on a loopback address.
    pub issuer: String,
    /// Values of `aud` that are for this deployment; one of them must be in the token.
    pub audiences: Vec<String>,
    /// Signatures that are accepted.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// Where the provider's keys are, where that is not at the provider's own host (or there is no discovery).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// A PEM file of authorities that vouch for the provider's TLS, besides the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Clients whose tokens are accepted, by `azp` or `client_id`; all where empty.
    pub authorized_parties: Vec<String>,
    /// The claim that names the user.
    pub user_claim: String,
    /// How the user's id is made from the claim: `claim` (the value itself, which must be an id) or `digest` (32
    /// hex digits of a digest of issuer and value, for values of any shape).
    pub user_id: UserId,
    /// Put before every user id of this provider, so that providers cannot name each other's users.
    pub user_prefix: String,
    /// The claim that lists the user's groups at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_claim: Option<String>,
    /// With `groups_claim`: the team that a group stands for. A token is accepted only where one of its groups
    /// stands for the user's home team. Groups give nothing that Account does not.
    pub groups: BTreeMap<String, String>,
    /// How far the provider's clock may be off, in seconds, 300 at most.
    pub clock_skew_seconds: u64,
    /// The least time between two looks for keys, in milliseconds. Tokens with unknown keys cause one look at
    /// most in it.
    pub refetch_ms: u64,
}

/// A signature of JSON Web Tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignatureAlgorithm {
    /// RSA, PKCS #1, SHA-256.
    RS256,
    /// ECDSA on P-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

/// How a user's id is made from a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserId {
    /// It is the claim's value.
    Claim,
    /// It is a digest of issuer and value.
    Digest,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audiences: Vec::new(),
            algorithms: vec![SignatureAlgorithm::RS256, SignatureAlgorithm::ES256, SignatureAlgorithm::EdDSA],
            jwks_uri: None,
            ca: None,
            authorized_parties: Vec::new(),
            user_claim: "sub".to_owned(),
            user_id: UserId::Claim,
            user_prefix: String::new(),
            groups_claim: None,
            groups: BTreeMap::new(),
            clock_skew_seconds: 30,
            refetch_ms: 10_000,
        }
    }
}

/// What types cannot say about the providers.
pub(super) fn check(issuers: &[Issuer], is_production: bool) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for one in issuers {
        let name = &one.issuer;
        url("issuer", name, is_production)?;
        if let Some(uri) = &one.jwks_uri {
            url("jwks_uri", uri, is_production)?;
        }
        if !seen.insert(name) {
            return Err(format!("{name} is listed twice: keep one entry"));
        }
        if one.audiences.iter().all(String::is_empty) {
            return Err(format!("{name} has no audiences: without one, tokens for others would be accepted"));
        }
        if one.algorithms.is_empty() {
            return Err(format!("{name} accepts no algorithm: name one, or leave algorithms out"));
        }
        if one.user_claim.is_empty() {
            return Err(format!("{name} has an empty user_claim: name one, or leave it out"));
        }
        if one.clock_skew_seconds > 300 {
            return Err(format!("{name} has a clock_skew_seconds over 300: mend the clock instead"));
        }
        if !one.user_prefix.is_empty() && !is_valid_id(&format!("{}x", one.user_prefix)) {
            return Err(format!(
                "{name} has a user_prefix that no id begins with: use letters, digits, - and _"
            ));
        }
        if one.groups.is_empty() != one.groups_claim.is_none() {
            return Err(format!("{name}: groups and groups_claim go together"));
        }
        if let Some((group, team)) = one.groups.iter().find(|(_, team)| !is_valid_id(team)) {
            return Err(format!("{name}: group {group:?} stands for {team:?}, which is no id of a team"));
        }
    }
    // One that could name the other's users could be all of them. Digests of two issuers never meet.
    for (place, one) in issuers.iter().enumerate() {
        let meets = |other: &&Issuer| {
            let (a, b) = (&one.user_prefix, &other.user_prefix);
            let both_digest = one.user_id == UserId::Digest && other.user_id == UserId::Digest;
            !both_digest && (a.starts_with(b.as_str()) || b.starts_with(a.as_str()))
        };
        if let Some(other) = issuers.iter().skip(place + 1).find(meets) {
            let (one, other) = (&one.issuer, &other.issuer);
            return Err(format!(
                "{one} and {other} could name each other's users: give each a user_prefix that does not begin the other's"
            ));
        }
    }
    Ok(())
}

/// `https`, or `http` on loopback outside production.
fn url(key: &str, text: &str, is_production: bool) -> Result<(), String> {
    let uri: Uri = text.parse().map_err(|_| format!("{key} {text:?} is no URL"))?;
    let host = uri.host().unwrap_or_default();
    let is_loopback = host == "localhost"
        || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(()),
        Some("http") if is_loopback && !is_production => Ok(()),
        _ => Err(format!(
            "{key} {text:?} is not https: keys of a provider are not taken from who is in between"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(issuer: &str) -> Issuer {
        Issuer { issuer: issuer.into(), audiences: vec!["sre".into()], ..Issuer::default() }
    }

    #[test]
    fn providers_are_https_or_on_loopback() {
        assert!(check(&[issuer("https://login.example.com/realm")], true).is_ok());
        assert!(check(&[issuer("http://127.0.0.1:8080")], false).is_ok());
        assert!(check(&[issuer("http://[::1]:8080")], false).is_ok());
        for (wrong, is_production) in [
            ("http://127.0.0.1:8080", true),
            ("http://login.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("file:///etc/passwd", false),
            ("login.example.com", false),
            ("", false),
        ] {
            assert!(check(&[issuer(wrong)], is_production).is_err(), "{wrong}");
        }
        let elsewhere =
            Issuer { jwks_uri: Some("http://10.0.0.1/keys".into()), ..issuer("https://a.example") };
        assert!(check(&[elsewhere], false).is_err());
    }

    #[test]
    fn an_audience_is_asked_for_and_providers_do_not_name_each_others_users() {
        let (a, b) = (issuer("https://a.example"), issuer("https://b.example"));
        assert!(check(&[Issuer { audiences: Vec::new(), ..a.clone() }], false).is_err());
        assert!(check(&[a.clone(), a.clone()], false).is_err());
        assert!(check(&[a.clone(), b.clone()], false).is_err());
        let with = |prefix: &str, one: &Issuer| Issuer { user_prefix: prefix.into(), ..one.clone() };
        assert!(check(&[with("a-", &a), with("b-", &b)], false).is_ok());
        assert!(check(&[with("a-", &a), with("a-b", &b)], false).is_err());
        assert!(check(&[a.clone(), with("b-", &b)], false).is_err(), "no prefix begins every prefix");
        let digest = |one: &Issuer| Issuer { user_id: UserId::Digest, ..one.clone() };
        assert!(check(&[a.clone(), digest(&b)], false).is_err(), "a value can look like a digest");
        assert!(check(&[digest(&a), digest(&b)], false).is_ok());
        assert!(check(&[with("a-", &a), digest(&with("b-", &b))], false).is_ok());
        assert!(check(&[with("a b", &a)], false).is_err());
        let groups = BTreeMap::from([("g".to_owned(), "red".to_owned())]);
        assert!(check(&[Issuer { groups: groups.clone(), ..a.clone() }], false).is_err());
        assert!(check(&[Issuer { groups, groups_claim: Some("groups".into()), ..a }], false).is_ok());
    }
}
