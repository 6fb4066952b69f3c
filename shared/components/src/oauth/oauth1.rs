//! Signed calls: OAuth 1.0a (RFC 5849) with HMAC-SHA1, and the body's hash of the OAuth Request Body Hash extension.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::{Digest as _, Sha1};
use url::Url;

/// All but letters, digits and `-._~` (§3.6).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The body of a call that is signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyOf<'a> {
    /// Its media type, without parameters; empty for none.
    pub media: &'a str,
    /// What is sent.
    pub bytes: &'a [u8],
}

/// Who signs, and what makes the signature this call's own.
pub(super) struct Signer {
    pub consumer_key: String,
    pub consumer_secret: String,
    pub token: String,
    pub token_secret: String,
    pub nonce: String,
    pub timestamp: String,
}

type Pairs = Vec<(String, String)>;

impl Signer {
    /// The `Authorization` header of a call.
    pub fn header(&self, method: &Method, url: &Url, body: BodyOf<'_>) -> String {
        let mut own: Pairs = [
            ("oauth_consumer_key", self.consumer_key.as_str()),
            ("oauth_nonce", &self.nonce),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", &self.timestamp),
            ("oauth_token", &self.token),
            ("oauth_version", "1.0"),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        if let Some(hash) = body_hash(method, body) {
            own.push(("oauth_body_hash".to_owned(), hash));
        }
        let mut signed = own.clone();
        signed.extend(url.query_pairs().into_owned());
        if body.media == "application/x-www-form-urlencoded" {
            signed.extend(url::form_urlencoded::parse(body.bytes).into_owned());
        }
        let signature =
            signature(&base_string(method, url, signed), &self.consumer_secret, &self.token_secret);
        own.push(("oauth_signature".to_owned(), signature));
        own.sort();
        let fields = own.iter().map(|(name, value)| format!("{}=\"{}\"", encode(name), encode(value)));
        format!("OAuth {}", fields.collect::<Vec<_>>().join(", "))
    }
}

/// The hash of a body whose content is not signed as parameters.
fn body_hash(method: &Method, body: BodyOf<'_>) -> Option<String> {
    let hashed = match body.media {
        "application/x-www-form-urlencoded" => false,
        "" => matches!(*method, Method::POST | Method::PUT | Method::PATCH),
        media => media.starts_with("application/") || media.starts_with("text/"),
    };
    hashed.then(|| STANDARD.encode(Sha1::digest(body.bytes)))
}

/// §3.4.1: method, address and parameters. Of repeated names every value counts.
fn base_string(method: &Method, url: &Url, parameters: Pairs) -> String {
    let mut address = url.clone();
    address.set_query(None);
    address.set_fragment(None);
    // Credentials in an address are none of the call's.
    let _ = address.set_username("");
    let _ = address.set_password(None);
    let mut encoded: Pairs =
        parameters.into_iter().map(|(name, value)| (encode(&name), encode(&value))).collect();
    encoded.sort();
    let joined = encoded.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
    format!("{}&{}&{}", method.as_str().to_uppercase(), encode(address.as_str()), encode(&joined))
}

fn signature(base: &str, consumer_secret: &str, token_secret: &str) -> String {
    let key = format!("{}&{}", encode(consumer_secret), encode(token_secret));
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key.as_bytes()) else {
        // HMAC takes keys of any length.
        return String::new();
    };
    mac.update(base.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// RFC 5849 §1.2, the request for a photo.
    #[test]
    fn the_example_of_the_rfc_is_signed_as_there() {
        let url: Url = "http://photos.example.net/photos?file=vacation.jpg&size=original".parse().unwrap();
        let mut signed = pairs(&[
            ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
            ("oauth_token", "nnch734d00sl2jdk"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131202"),
            ("oauth_nonce", "chapoH"),
        ]);
        signed.extend(url.query_pairs().into_owned());
        let base = base_string(&Method::GET, &url, signed);
        assert_eq!(signature(&base, "kd94hf93k423kf44", "pfkkdhi9sl3r4s00"), "MdpQcU8iPSUjWoN/UDMsK2sui9I=");
    }

    /// RFC 5849 §3.4.1.1: repeated and empty parameters, from query and form.
    #[test]
    fn d20_repeated_parameters_are_all_signed() {
        let url: Url = "http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b".parse().unwrap();
        let mut signed = pairs(&[
            ("oauth_consumer_key", "9djdj82h48djs9d2"),
            ("oauth_token", "kkk9d7dh3k39sjv7"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131201"),
            ("oauth_nonce", "7d8f3e4a"),
        ]);
        signed.extend(url.query_pairs().into_owned());
        signed.extend(url::form_urlencoded::parse(b"c2&a3=2+q").into_owned());
        let expected = "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D%25253D\
                        %26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e4a\
                        %26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201\
                        %26oauth_token%3Dkkk9d7dh3k39sjv7";
        assert_eq!(base_string(&Method::POST, &url, signed), expected);
    }

    #[test]
    fn bodies_that_are_no_parameters_are_hashed() {
        let hash = |method, media, bytes: &[u8]| body_hash(&method, BodyOf { media, bytes });
        let json = hash(Method::POST, "application/json", b"{\"a\":1}");
        assert_eq!(json.as_deref(), Some("n4nHQM60bXQYySSnisV5QdXpZSA="));
        assert!(hash(Method::GET, "text/plain", b"x").is_some() && hash(Method::PUT, "", b"").is_some());
        assert_eq!(hash(Method::GET, "", b""), None);
        assert_eq!(hash(Method::POST, "application/x-www-form-urlencoded", b"a=1"), None);
        assert_eq!(hash(Method::POST, "multipart/form-data", b"x"), None);
    }

    #[test]
    fn the_header_names_what_a_server_checks() {
        let signer = Signer {
            consumer_key: "ck".into(),
            consumer_secret: "cs".into(),
            token: "t".into(),
            token_secret: "ts".into(),
            nonce: "n".into(),
            timestamp: "1".into(),
        };
        let body = BodyOf { media: "application/json", bytes: b"{\"a\":1}" };
        let header = signer.header(&Method::POST, &"http://h/x?a=1".parse().unwrap(), body);
        for field in [
            "oauth_consumer_key=\"ck\"",
            "oauth_nonce=\"n\"",
            "oauth_signature=\"",
            "oauth_version=\"1.0\"",
            "oauth_signature_method=\"HMAC-SHA1\"",
            "oauth_timestamp=\"1\"",
            "oauth_token=\"t\"",
            "oauth_body_hash=\"n4nHQM60bXQYySSnisV5QdXpZSA%3D\"",
        ] {
            assert!(header.starts_with("OAuth ") && header.contains(field), "{field}: {header}");
        }
        assert!(!header.contains("cs\"") && !header.contains("ts\""));
    }
}
