//! What a leaf certificate says about its holder.

use std::time::{Duration, SystemTime};

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::spiffe::{PatternTable, SpiffeId};

/// What the holder does with the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    Client,
    Server,
    /// Ours, for both directions.
    Both,
}

/// Why a certificate holds no identity of this deployment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Not X.509.
    #[error("the certificate cannot be parsed: {0}")]
    Malformed(String),
    /// An authority's certificate is no identity.
    #[error("the certificate is an authority's: present a leaf certificate")]
    Authority,
    /// The usages do not allow it.
    #[error("the certificate lacks the key usage {0}")]
    Usage(&'static str),
    /// More or less than one URI name.
    #[error("the certificate has {0} URI names: an identity has exactly one")]
    UriNames(usize),
    /// The names stand for nobody here.
    #[error("the name {0:?} is no identity of this trust domain")]
    Unknown(String),
}

/// An identity as its certificate states it.
#[derive(Debug)]
pub(crate) struct Leaf {
    pub id: SpiffeId,
    pub not_after: SystemTime,
}

/// Reads the identity. The chain is verified elsewhere; here only the leaf's own content counts.
pub(crate) fn read(der: &[u8], patterns: &PatternTable, usage: Usage) -> Result<Leaf, LeafError> {
    let malformed = |e: &dyn std::fmt::Display| LeafError::Malformed(e.to_string());
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|e| malformed(&e))?;
    if !rest.is_empty() {
        return Err(LeafError::Malformed("there are bytes after the certificate".to_owned()));
    }
    check_usage(&certificate, usage)?;
    let names = certificate.subject_alternative_name().map_err(|e| malformed(&e))?;
    let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let id = identify(names, patterns)?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Leaf { id, not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) })
}

fn check_usage(certificate: &X509Certificate<'_>, usage: Usage) -> Result<(), LeafError> {
    let malformed = |e: x509_parser::error::X509Error| LeafError::Malformed(e.to_string());
    if certificate.basic_constraints().map_err(malformed)?.is_some_and(|extension| extension.value.ca) {
        return Err(LeafError::Authority);
    }
    if let Some(key_usage) = certificate.key_usage().map_err(malformed)? {
        if key_usage.value.key_cert_sign() {
            return Err(LeafError::Authority);
        }
        if !key_usage.value.digital_signature() {
            return Err(LeafError::Usage("digitalSignature"));
        }
    }
    // Asked for explicitly: the chain verifier lets a leaf without this extension pass.
    let extended = certificate.extended_key_usage().map_err(malformed)?;
    let (client, server) = extended
        .map(|extension| (extension.value.client_auth, extension.value.server_auth))
        .unwrap_or_default();
    if matches!(usage, Usage::Client | Usage::Both) && !client {
        return Err(LeafError::Usage("clientAuth"));
    }
    if matches!(usage, Usage::Server | Usage::Both) && !server {
        return Err(LeafError::Usage("serverAuth"));
    }
    Ok(())
}

/// Exactly one URI name; or, where the table has a DNS rule, no URI name and exactly one DNS name. Other DNS and
/// IP names are for clients that verify host names and mean nothing here.
fn identify(names: &[GeneralName<'_>], patterns: &PatternTable) -> Result<SpiffeId, LeafError> {
    let uris: Vec<&str> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    // A name that does not decode could be a second URI.
    if let Some(GeneralName::Invalid(tag, _)) =
        names.iter().find(|name| matches!(name, GeneralName::Invalid(..)))
    {
        return Err(LeafError::Malformed(format!("alternative name of type {} does not decode", tag.0)));
    }
    if let [uri] = uris.as_slice() {
        return patterns.identify_uri(uri).ok_or_else(|| LeafError::Unknown((*uri).to_owned()));
    }
    if !uris.is_empty() || !patterns.has_dns_rules() {
        return Err(LeafError::UriNames(uris.len()));
    }
    let mut dns = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    match (dns.next(), dns.next()) {
        (Some(name), None) => patterns.identify_dns(name).ok_or_else(|| LeafError::Unknown(name.to_owned())),
        _ => Err(LeafError::UriNames(0)),
    }
}

#[cfg(test)]
#[path = "leaf_tests.rs"]
mod tests;
