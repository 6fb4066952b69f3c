//! The outbound HTTP client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header;
use tokio::time::Instant;
use url::{Host, Url};

use super::body;
use super::error::{EgressError, from_reqwest};
use super::policy::Policy;
use super::proxy::{ProxiedResolver, Proxy};
use super::redirect;
use super::request::{Limits, Request, Response};
use super::resolver::{CheckedResolver, Lookup, Port};
use super::retry;

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 20;

/// The outbound client; clones share connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    policy: Arc<Policy>,
    limits: Limits,
    lookup: Lookup,
    /// For ports that no rule names.
    other: reqwest::Client,
    /// One client per port that a rule names: the resolver learns no port, so each knows its own.
    named: HashMap<u16, reqwest::Client>,
}

impl Client {
    /// A client under a policy.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(policy: Policy, limits: Limits) -> Result<Self, reqwest::Error> {
        Self::with_lookup(policy, limits, Lookup::System)
    }

    /// The same with names of its own in place of the system's: for tests, whose names must not depend on a network.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn with_names(
        policy: Policy,
        limits: Limits,
        names: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static,
    ) -> Result<Self, reqwest::Error> {
        Self::with_lookup(policy, limits, Lookup::Fixed(Arc::new(names)))
    }

    pub(super) fn with_lookup(
        policy: Policy,
        limits: Limits,
        lookup: Lookup,
    ) -> Result<Self, reqwest::Error> {
        let policy = Arc::new(policy);
        let build = |port: Port| {
            let resolver = CheckedResolver::new(policy.clone(), port, lookup.clone());
            builder(limits).no_proxy().dns_resolver(Arc::new(resolver)).build()
        };
        let other = build(Port::Other)?;
        let named = policy.ports().into_iter().map(|port| Ok((port, build(Port::Named(port))?)));
        let named = named.collect::<Result<_, reqwest::Error>>()?;
        Ok(Self { inner: Arc::new(Inner { policy, limits, lookup, other, named }) })
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// Sends a request and follows its redirects, as often as it may be made, within the limits and within
    /// `within`.
    ///
    /// # Errors
    /// [`EgressError`], in the words of the reference's client.
    pub async fn send(&self, request: Request, within: Duration) -> Result<Response, EgressError> {
        let limit = within.min(self.inner.limits.total);
        let timeout = EgressError::Timeout { millis: limit.as_millis() };
        let until = Instant::now() + limit;
        tokio::time::timeout(limit, self.repeat(request, until)).await.unwrap_or(Err(timeout))
    }

    async fn repeat(&self, request: Request, until: Instant) -> Result<Response, EgressError> {
        let mut attempt = 1;
        loop {
            let result = self.follow(request.clone()).await;
            let pause = if attempt < request.attempts { retry::pause(attempt, &result) } else { None };
            // What would come too late is not waited for: the answer at hand says more than a timeout.
            match pause {
                Some(pause) if Instant::now() + pause < until => tokio::time::sleep(pause).await,
                _ => return result,
            }
            attempt += 1;
        }
    }

    /// Sends a request within the limits and within `within`, and gives what comes back even where that names
    /// another address: whoever may reach only some hosts follows it by a request of its own.
    ///
    /// # Errors
    /// [`EgressError`], in the words of the reference's client.
    pub async fn send_once(&self, request: Request, within: Duration) -> Result<Response, EgressError> {
        let limit = within.min(self.inner.limits.total);
        let timeout = EgressError::Timeout { millis: limit.as_millis() };
        let once = async {
            let response = self.hop(&request).await?;
            self.read(response, request.url).await
        };
        tokio::time::timeout(limit, once).await.unwrap_or(Err(timeout))
    }

    async fn follow(&self, mut request: Request) -> Result<Response, EgressError> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.hop(&request).await?;
            match redirect::next(&request, response.status(), response.headers())? {
                None => return self.read(response, request.url).await,
                Some(next) => request = next,
            }
        }
        Err(EgressError::TooManyRedirects)
    }

    async fn hop(&self, request: &Request) -> Result<reqwest::Response, EgressError> {
        let (host, port) = self.target(&request.url)?;
        let proxied = match &request.proxy {
            None => None,
            Some(proxy) => Some(self.through(proxy, &host, port).await?),
        };
        let client = proxied.as_ref().or_else(|| self.inner.named.get(&port)).unwrap_or(&self.inner.other);
        let mut sent = request.clone();
        sent.without_framing();
        let accepted = HeaderValue::from_static(body::ACCEPT_ENCODING);
        sent.headers.entry(header::ACCEPT_ENCODING).or_insert(accepted);
        let mut builder = client.request(sent.method, sent.url).headers(sent.headers);
        if let Some(body) = sent.body {
            builder = builder.body(body);
        }
        match builder.send().await {
            Ok(response) => Ok(response),
            Err(error) => Err(self.explain(&error, &host, port).await),
        }
    }

    /// Host and port of a URL; an address in place of a name is checked here, as nothing resolves it.
    fn target(&self, url: &Url) -> Result<(String, u16), EgressError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EgressError::Scheme(url.scheme().to_owned()));
        }
        let port = url.port_or_known_default().ok_or(EgressError::InvalidUrl)?;
        let (host, address) = match url.host().ok_or(EgressError::InvalidUrl)? {
            Host::Domain(name) => (name.to_owned(), None),
            Host::Ipv4(v4) => (v4.to_string(), Some(IpAddr::V4(v4))),
            Host::Ipv6(v6) => (format!("[{v6}]"), Some(IpAddr::V6(v6))),
        };
        if let Some(address) = address
            && !self.inner.policy.permits(&host, address, port)
        {
            return Err(EgressError::Refused { host, port });
        }
        Ok((host, port))
    }

    async fn explain(&self, error: &reqwest::Error, host: &str, port: u16) -> EgressError {
        let explained = from_reqwest(error, host, port, self.inner.limits.total.as_millis());
        match explained {
            // The reference names the address, not the host.
            EgressError::Connect { code, .. }
                if !host.starts_with('[') && host.parse::<IpAddr>().is_err() =>
            {
                let addresses = self.inner.lookup.addresses(host).await.unwrap_or_default();
                let found = addresses.into_iter().find(|found| self.inner.policy.permits(host, *found, port));
                let address = found.map_or_else(|| host.to_owned(), |address| address.to_string());
                EgressError::Connect { code, address: format!("{address}:{port}") }
            }
            other => other,
        }
    }

    async fn read(&self, response: reqwest::Response, url: Url) -> Result<Response, EgressError> {
        let (host, port) = self.target(&url)?;
        let limits = self.inner.limits;
        let status = response.status();
        let explain = |error: &reqwest::Error| from_reqwest(error, &host, port, limits.total.as_millis());
        let (headers, body) = body::read(response, limits, explain).await?;
        Ok(Response { status, headers, body, url })
    }

    /// A client through a proxy. The proxy must be permitted like any address, and so must the target, as far as
    /// it can be known here what its name leads to.
    async fn through(&self, proxy: &Proxy, host: &str, port: u16) -> Result<reqwest::Client, EgressError> {
        let policy = &self.inner.policy;
        let refused = |host: &str, port| EgressError::Refused { host: host.to_owned(), port };
        let proxy_host = match proxy.url().host().ok_or(EgressError::InvalidUrl)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(v4) => v4.to_string(),
            Host::Ipv6(v6) => v6.to_string(),
        };
        // The hosts of other schemes than the web's are read as names, addresses among them.
        let literal = proxy_host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        if literal.is_some_and(|address| !policy.permits(&proxy_host, address, proxy.port())) {
            return Err(refused(&proxy_host, proxy.port()));
        }
        let is_name = !host.starts_with('[') && host.parse::<IpAddr>().is_err();
        if is_name
            && proxy.resolves()
            && let Ok(found) = self.inner.lookup.addresses(host).await
            && !found.iter().any(|address| policy.permits(host, *address, port))
        {
            return Err(refused(host, port));
        }
        let resolver = ProxiedResolver {
            policy: policy.clone(),
            lookup: self.inner.lookup.clone(),
            proxy: (proxy_host, proxy.port()),
            target_port: port,
        };
        let through = reqwest::Proxy::all(proxy.url().clone()).map_err(|_| EgressError::InvalidUrl)?;
        let client = builder(self.inner.limits).proxy(through).dns_resolver(Arc::new(resolver)).build();
        client.map_err(|_| EgressError::Broken("the proxy's client could not be made".to_owned()))
    }
}

/// What every client has.
fn builder(limits: Limits) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        // A call that must not be made twice is made once, also where a server says that it did nothing. (A
        // connection that was closed before anything was written is still replaced.)
        .retry(reqwest::retry::never())
        .connect_timeout(limits.connect)
        .timeout(limits.total)
        // Decompressed in one place, under the limits.
        .no_gzip()
        .no_brotli()
        .no_deflate()
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("policy", &self.inner.policy)
            .field("limits", &self.inner.limits)
            .finish()
    }
}

mod stream;

pub use stream::Streamed;

#[cfg(test)]
mod tests;
