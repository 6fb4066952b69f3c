//! Proxies that a call may go through.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use super::error::{EgressError, ResolveError};
use super::policy::Policy;
use super::resolver::Lookup;

/// A proxy: `http(s)://`, `socks4(a)://` or `socks5(h)://`, with credentials where it wants some.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    url: Url,
}

impl Proxy {
    /// Reads an address.
    ///
    /// # Errors
    /// [`EgressError::InvalidUrl`] if it is none, [`EgressError::Proxy`] if its scheme is no proxy's.
    pub fn parse(text: &str) -> Result<Self, EgressError> {
        let url = Url::parse(text.trim()).map_err(|_| EgressError::InvalidUrl)?;
        let known = matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h");
        if !known {
            return Err(EgressError::Proxy(url.scheme().to_owned()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(EgressError::InvalidUrl);
        }
        Ok(Self { url })
    }

    /// Where it is.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        let usual = if self.url.scheme().starts_with("socks") { 1080 } else { 80 };
        self.url.port_or_known_default().unwrap_or(usual)
    }

    /// Whether the proxy looks names up. Otherwise they are looked up here, under the policy.
    pub(super) fn resolves(&self) -> bool {
        !matches!(self.url.scheme(), "socks4" | "socks5")
    }
}

/// Without its credentials.
impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}:{}", self.url.scheme(), self.url.host_str().unwrap_or_default(), self.port())
    }
}

/// Resolves the names of one proxied call: the proxy's for its port, all others for the target's.
pub(super) struct ProxiedResolver {
    pub policy: Arc<Policy>,
    pub lookup: Lookup,
    pub proxy: (String, u16),
    pub target_port: u16,
}

impl Resolve for ProxiedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, lookup) = (self.policy.clone(), self.lookup.clone());
        let host = name.as_str().to_owned();
        let port = if host.eq_ignore_ascii_case(&self.proxy.0) { self.proxy.1 } else { self.target_port };
        Box::pin(async move {
            let found = lookup.addresses(&host).await?;
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| policy.permits(&host, *address, port))
                .map(|address| SocketAddr::new(address, 0))
                .collect();
            if allowed.is_empty() {
                return Err(ResolveError::Refused.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_credentials_not_shown() {
        let proxy = Proxy::parse(" http://user:secret@proxy.example:3128 ").unwrap();
        assert_eq!(format!("{proxy:?}"), "http://proxy.example:3128");
        assert!(proxy.resolves() && Proxy::parse("socks5h://h").unwrap().resolves());
        assert!(!Proxy::parse("socks5://h").unwrap().resolves());
        assert_eq!(Proxy::parse("socks5://h").unwrap().port(), 1080);
        assert_eq!(Proxy::parse("").unwrap_err().to_string(), "Invalid URL");
        assert_eq!(Proxy::parse("ftp://h").unwrap_err(), EgressError::Proxy("ftp".into()));
    }
}
