//! Which inbound headers go no further.

use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName};

const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// Removes what a client could use to speak in somebody's name behind the edge: our own metadata, what
/// proxies say about certificates, and credentials that were meant for the edge.
pub fn strip(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("sre-")).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    for name in [FORWARDED_CLIENT_CERT, AUTHORIZATION, COOKIE, HOST] {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_speaks_for_somebody_passes() {
        let mut headers = HeaderMap::new();
        for name in ["sre-delegation", "sre-anything", "x-forwarded-client-cert", "authorization", "cookie"] {
            headers.append(name, "x".parse().unwrap());
            headers.append(name, "y".parse().unwrap());
        }
        headers.append("traceparent", "t".parse().unwrap());
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["traceparent"]);
    }
}
