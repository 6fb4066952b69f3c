//! Failures of outbound calls, in the words of the reference's HTTP client.

use std::error::Error as _;
use std::io;

/// Why an outbound call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The policy forbids the address.
    #[error("connect to {host}:{port} is not allowed by the egress policy: list it in [egress] allow")]
    Refused {
        /// The host as named in the URL.
        host: String,
        /// The port.
        port: u16,
    },
    /// No URL.
    #[error("Invalid URL")]
    InvalidUrl,
    /// Neither `http` nor `https`.
    #[error("Unsupported protocol {0}:")]
    Scheme(String),
    /// The name does not resolve.
    #[error("getaddrinfo ENOTFOUND {0}")]
    NotFound(String),
    /// The connection could not be made.
    #[error("connect {code} {address}")]
    Connect {
        /// The system's name of the error, for example `ECONNREFUSED`.
        code: &'static str,
        /// Where to, `ip:port`.
        address: String,
    },
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    /// It took longer than the limit.
    #[error("timeout of {millis}ms exceeded")]
    Timeout {
        /// The limit.
        millis: u128,
    },
    /// The answer is larger than the limit.
    #[error("maxContentLength size of {limit_bytes} exceeded")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// A small answer grows too large when it is decompressed.
    #[error(
        "the answer is more than {times} times as large as what was sent: it is not decompressed further"
    )]
    Expands {
        /// The limit.
        times: usize,
    },
    /// The proxy speaks a protocol that is none of a proxy's.
    #[error("`{0}` is no scheme of a proxy: use http, https, socks4, socks4a, socks5 or socks5h")]
    Proxy(String),
    /// Redirected too often.
    #[error("Maximum number of redirects exceeded")]
    TooManyRedirects,
    /// The request has a header that HTTP cannot carry.
    #[error("Invalid character in header content [\"{0}\"]")]
    Header(String),
}

/// Raised inside the resolver; found again in the chain of causes.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error("not allowed by the egress policy")]
    Refused,
    #[error("no such host")]
    NotFound,
}

/// What the library's error means for a call to `host:port`.
pub(super) fn from_reqwest(error: &reqwest::Error, host: &str, port: u16, millis: u128) -> EgressError {
    if error.is_timeout() {
        return EgressError::Timeout { millis };
    }
    let mut cause = error.source();
    // The library's own message would show the URL, which may hold secrets.
    let mut last = "the request could not be sent".to_owned();
    while let Some(inner) = cause {
        if let Some(resolve) = inner.downcast_ref::<ResolveError>() {
            return match resolve {
                ResolveError::Refused => EgressError::Refused { host: host.to_owned(), port },
                ResolveError::NotFound => EgressError::NotFound(host.to_owned()),
            };
        }
        if let Some(io) = inner.downcast_ref::<io::Error>()
            && let Some(code) = code(io.kind())
        {
            return match error.is_connect() {
                true => EgressError::Connect { code, address: format!("{host}:{port}") },
                false => EgressError::Broken(format!("read {code}")),
            };
        }
        last = inner.to_string();
        cause = inner.source();
    }
    EgressError::Broken(last)
}

fn code(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => "ECONNREFUSED",
        io::ErrorKind::ConnectionReset => "ECONNRESET",
        io::ErrorKind::ConnectionAborted => "ECONNABORTED",
        io::ErrorKind::TimedOut => "ETIMEDOUT",
        io::ErrorKind::HostUnreachable => "EHOSTUNREACH",
        io::ErrorKind::NetworkUnreachable => "ENETUNREACH",
        io::ErrorKind::AddrNotAvailable => "EADDRNOTAVAIL",
        io::ErrorKind::BrokenPipe => "EPIPE",
        _ => return None,
    })
}
