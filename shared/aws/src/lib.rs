//! What calls of AWS have in common, whatever service they are of: where it is, and the signature (SigV4) with the
//! credentials of the settings and no others.
//!
//! The signature is the SDK's own crate; the SDK's clients are left out for their size and for looking for
//! credentials by themselves.

use std::fmt::{self, Debug};
use std::time::SystemTime;

use anyhow::{Context as _, ensure};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use secrecy::ExposeSecret as _;
use sre_service::connectors::SecretSetting;
use url::Url;

/// The address of a service: the region's, or a given one, which must have TLS unless it is this machine.
/// `what` would travel in clear.
///
/// # Errors
/// If it is none, or not safe.
pub fn endpoint(service: &str, region: &str, given: Option<&str>, what: &str) -> anyhow::Result<Url> {
    let regional = || format!("https://{service}.{region}.amazonaws.com");
    let url = Url::parse(&given.map_or_else(regional, str::to_owned)).context("endpoint is no URL")?;
    let is_loopback = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let is_safe = url.scheme() == "https" || url.scheme() == "http" && is_loopback;
    ensure!(is_safe, "endpoint is not https: {what} would travel in clear");
    Ok(url)
}

/// Checks what every instance needs.
///
/// # Errors
/// If it cannot be right.
pub fn check(region: &str, access_key_id: &str) -> anyhow::Result<()> {
    let is_region = !region.is_empty()
        && region.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    ensure!(is_region, "region is none: write for example eu-central-1");
    ensure!(!access_key_id.is_empty(), "awsAccessKeyId is empty: there is no other source of credentials");
    Ok(())
}

/// Signs calls of one service in one region.
pub struct Signer {
    /// The service's name in signatures.
    pub service: &'static str,
    /// The region.
    pub region: String,
    /// The id of the access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: SecretSetting,
    /// The session's token, where the key is temporary.
    pub session_token: Option<SecretSetting>,
}

impl Signer {
    /// The headers to be added to a call that has `headers`.
    ///
    /// # Errors
    /// If a secret cannot be had, or the call cannot be signed.
    pub async fn sign(
        &self,
        method: &str,
        url: &Url,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Vec<(String, String)>> {
        let secret = self.secret_access_key.reveal().await?;
        let session = match &self.session_token {
            Some(token) => Some(token.reveal().await?.expose_secret().to_owned()),
            None => None,
        };
        let identity =
            Credentials::new(&self.access_key_id, secret.expose_secret(), session, None, "settings").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(self.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let body = SignableBody::Bytes(body);
        let request = SignableRequest::new(method, url.as_str(), headers.iter().copied(), body)?;
        let (instructions, _) = sign(request, &params)?.into_parts();
        Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("service", &self.service)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}
