//! Where a redirect leads and what of the request goes along.

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, LOCATION, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::error::EgressError;
use super::request::Request;

/// The request that a response redirects to; `None` if it does not redirect.
pub(super) fn next(
    request: &Request,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Request>, EgressError> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let mut url = request.url.join(location).map_err(|_| EgressError::InvalidUrl)?;
    if url.fragment().is_none() {
        url.set_fragment(request.url.fragment());
    }
    let mut next = request.clone();
    let becomes_get = match status.as_u16() {
        303 => next.method != Method::GET && next.method != Method::HEAD,
        301 | 302 => next.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        next.method = Method::GET;
        next.body = None;
        for name in [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING] {
            next.headers.remove(name);
        }
    }
    if !same_origin(&request.url, &url) {
        for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
            next.headers.remove(name);
        }
    }
    next.url = url;
    Ok(Some(next))
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(method: Method, status: u16, to: &str) -> Request {
        let mut request = Request::new(method, Url::parse("https://a.example/x#f").unwrap());
        request.headers.insert(AUTHORIZATION, "secret".parse().unwrap());
        request.headers.insert(CONTENT_TYPE, "text/plain".parse().unwrap());
        request.body = Some("body".into());
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, to.parse().unwrap());
        next(&request, StatusCode::from_u16(status).unwrap(), &headers).unwrap().unwrap()
    }

    #[test]
    fn a_redirected_post_becomes_a_get_without_body() {
        for status in [301, 302, 303] {
            let request = redirect(Method::POST, status, "/y");
            assert_eq!((request.method, request.body), (Method::GET, None), "{status}");
            assert!(!request.headers.contains_key(CONTENT_TYPE));
        }
        for status in [307, 308] {
            let request = redirect(Method::POST, status, "/y");
            assert_eq!((request.method, request.body), (Method::POST, Some("body".into())), "{status}");
        }
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        assert!(redirect(Method::GET, 302, "/y").headers.contains_key(AUTHORIZATION));
        for other in ["https://b.example/", "http://a.example/", "https://a.example:444/"] {
            assert!(!redirect(Method::GET, 302, other).headers.contains_key(AUTHORIZATION), "{other}");
        }
        assert_eq!(redirect(Method::GET, 302, "/y").url.as_str(), "https://a.example/y#f");
    }
}
