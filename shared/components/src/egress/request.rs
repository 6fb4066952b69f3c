//! What goes out, what comes back, and what that may take.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode};
use url::Url;

use super::proxy::Proxy;

/// What an outbound call may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time to connect.
    pub connect: Duration,
    /// Time for everything, redirects and repeats included.
    pub total: Duration,
    /// Largest answer, after decompression.
    pub response_bytes: usize,
    /// How many times its compressed size an answer may have. Only what is larger than a small answer counts.
    pub expansion: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            total: Duration::from_secs(60),
            response_bytes: 50 * 1024 * 1024,
            expansion: 200,
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
    /// How often it may be made in all. More than once only if a repeat does no harm.
    pub attempts: u32,
    /// The proxy it goes through.
    pub proxy: Option<Proxy>,
}

impl Request {
    /// A request without headers and body, which is made once.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None, attempts: 1, proxy: None }
    }

    /// The same, made up to so many times where its method says that a repeat does no harm (RFC 9110 §9.2.2).
    #[must_use]
    pub fn repeatable(mut self, attempts: u32) -> Self {
        if self.method.is_idempotent() {
            self.attempts = attempts.max(1);
        }
        self
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Takes out what belongs to the connection: the length of the body and how it is framed are the client's to
    /// say, else two servers on the way could read two different requests.
    pub(super) fn without_framing(&mut self) {
        let own = ["keep-alive", "proxy-connection", "proxy-authorization", "http2-settings"];
        for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
            self.headers.remove(name);
        }
        own.iter().for_each(|name| drop(self.headers.remove(*name)));
        let says_empty =
            |headers: &HeaderMap| headers.get_all(CONTENT_LENGTH).iter().eq([&HeaderValue::from_static("0")]);
        if self.body.is_some() || !says_empty(&self.headers) {
            self.headers.remove(CONTENT_LENGTH);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: Option<&'static str>, headers: &[(&'static str, &'static str)]) -> Request {
        let mut request = Request::new(Method::POST, Url::parse("http://h/").unwrap());
        request.body = body.map(Bytes::from);
        for (name, value) in headers {
            request.headers.append(*name, HeaderValue::from_static(value));
        }
        request.without_framing();
        request
    }

    #[test]
    fn framing_is_not_the_authors_to_choose() {
        let smuggled =
            [("transfer-encoding", "chunked"), ("content-length", "4"), ("connection", "x"), ("x", "y")];
        let kept: Vec<_> = request(Some("body"), &smuggled).headers.keys().map(|k| k.to_string()).collect();
        assert_eq!(kept, ["x"]);
        assert!(request(None, &[("content-length", "0")]).headers.contains_key(CONTENT_LENGTH));
        assert!(!request(None, &[("content-length", "7")]).headers.contains_key(CONTENT_LENGTH));
        assert!(
            !request(None, &[("content-length", "0"), ("content-length", "7")])
                .headers
                .contains_key(CONTENT_LENGTH)
        );
    }

    #[test]
    fn only_what_does_no_harm_is_repeated() {
        let attempts = |method| Request::new(method, Url::parse("http://h/").unwrap()).repeatable(3).attempts;
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(attempts(method), 3);
        }
        for method in [Method::POST, Method::PATCH] {
            assert_eq!(attempts(method), 1);
        }
    }
}
