//! The outbound HTTP client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use url::{Host, Url};

use super::error::{EgressError, from_reqwest};
use super::policy::Policy;
use super::redirect;
use super::resolver::{CheckedResolver, Lookup, Port};

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 20;

/// What an outbound call may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time to connect.
    pub connect: Duration,
    /// Time for everything, redirects included.
    pub total: Duration,
    /// Largest answer, after decompression.
    pub response_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            total: Duration::from_secs(60),
            response_bytes: 50 * 1024 * 1024,
        }
    }
}

/// An outbound request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; `None` sends none.
    pub body: Option<Bytes>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None }
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decompressed.
    pub body: Bytes,
    /// Where it came from, after redirects.
    pub url: Url,
}

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

    pub(super) fn with_lookup(
        policy: Policy,
        limits: Limits,
        lookup: Lookup,
    ) -> Result<Self, reqwest::Error> {
        let policy = Arc::new(policy);
        let build = |port: Port| {
            reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                // A call that must not be made twice is made once, also where a server says that it did
                // nothing. (A connection that was closed before anything was written is still replaced.)
                .retry(reqwest::retry::never())
                .no_proxy()
                .connect_timeout(limits.connect)
                .timeout(limits.total)
                .dns_resolver(Arc::new(CheckedResolver::new(policy.clone(), port, lookup.clone())))
                .build()
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

    /// Sends a request and follows its redirects, within the limits and within `within`.
    ///
    /// # Errors
    /// [`EgressError`], in the words of the reference's client.
    pub async fn send(&self, request: Request, within: Duration) -> Result<Response, EgressError> {
        let limit = within.min(self.inner.limits.total);
        let timeout = EgressError::Timeout { millis: limit.as_millis() };
        tokio::time::timeout(limit, self.follow(request)).await.unwrap_or(Err(timeout))
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
        let client = self.inner.named.get(&port).unwrap_or(&self.inner.other);
        let mut builder = client.request(request.method.clone(), request.url.clone());
        builder = builder.headers(request.headers.clone());
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
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

    /// Reads the body piece by piece, so that a compressed one cannot grow over the limit unseen.
    async fn read(&self, mut response: reqwest::Response, url: Url) -> Result<Response, EgressError> {
        let limit_bytes = self.inner.limits.response_bytes;
        let (host, port) = self.target(&url)?;
        if response.content_length().is_some_and(|length| length > limit_bytes as u64) {
            return Err(EgressError::TooLarge { limit_bytes });
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = BytesMut::new();
        let millis = self.inner.limits.total.as_millis();
        while let Some(piece) =
            response.chunk().await.map_err(|error| from_reqwest(&error, &host, port, millis))?
        {
            if body.len() + piece.len() > limit_bytes {
                return Err(EgressError::TooLarge { limit_bytes });
            }
            body.extend_from_slice(&piece);
        }
        Ok(Response { status, headers, body: body.freeze(), url })
    }
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
