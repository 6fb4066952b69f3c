//! Checks AWS signatures, written from their description: it shares no code with what signs.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use hmac::{Hmac, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::routes::Incoming;

/// The test key's id.
pub const ACCESS_KEY_ID: &str = "AKIDFAKEPROVIDER";
/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "fake-provider/secret+key";
/// The token that goes with it, where the caller sends one.
pub const SESSION_TOKEN: &str = "fake-session-token";

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The id of the key that signed a request.
pub(crate) fn check(incoming: &Incoming) -> anyhow::Result<String> {
    let header = incoming.header("authorization");
    let fields = header.strip_prefix("AWS4-HMAC-SHA256 ").context("MissingAuthenticationToken")?;
    let field = |name: &str| {
        let found = fields.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        found.with_context(|| format!("the authorization has no {name}"))
    };
    let scope: Vec<&str> = field("Credential")?.split('/').collect();
    let [id, date, region, service, "aws4_request"] = scope[..] else {
        anyhow::bail!("the credential's scope is none")
    };
    ensure!(id == ACCESS_KEY_ID, "UnrecognizedClientException: the access key is not known");
    ensure!(service == "bedrock", "the signature is of service {service:?}, not bedrock");
    let moment = incoming.header("x-amz-date");
    ensure!(moment.starts_with(date) && moment.len() == 16, "x-amz-date is not of the scope's day");
    let token = incoming.header("x-amz-security-token");
    ensure!(token.is_empty() || token == SESSION_TOKEN, "the session token is not known");
    let signed = field("SignedHeaders")?;
    ensure!(signed.split(';').any(|name| name == "host"), "the host is not signed");
    let canonical = canonical(incoming, signed);
    let day = format!("{date}/{region}/{service}/aws4_request");
    let to_sign =
        format!("AWS4-HMAC-SHA256\n{moment}\n{day}\n{}", hex::encode(Sha256::digest(canonical.as_bytes())));
    let mut key = mac(format!("AWS4{SECRET_ACCESS_KEY}").as_bytes(), date)?;
    for part in [region, service, "aws4_request"] {
        key = mac(&key, part)?;
    }
    let expected = hex::encode(mac(&key, &to_sign)?);
    ensure!(expected == field("Signature")?, "InvalidSignatureException: the signature does not match");
    Ok(id.to_owned())
}

fn mac(key: &[u8], text: &str) -> anyhow::Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

/// The path is encoded once more than it was sent, as for every service but S3.
fn canonical(incoming: &Incoming, signed: &str) -> String {
    let mut text = format!("{}\n", incoming.method);
    let path: Vec<String> =
        incoming.path.split('/').map(|part| utf8_percent_encode(part, UNRESERVED).to_string()).collect();
    text += &path.join("/");
    let mut pairs: Vec<(String, String)> = incoming
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let again = |text: &str| {
                let plain = percent_decode_str(text).decode_utf8_lossy();
                utf8_percent_encode(&plain, UNRESERVED).to_string()
            };
            (again(name), again(value))
        })
        .collect();
    pairs.sort();
    let query: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let _ = write!(text, "\n{}\n", query.join("&"));
    for name in signed.split(';') {
        let words: Vec<&str> = incoming.header(name).split_whitespace().collect();
        let _ = writeln!(text, "{name}:{}", words.join(" "));
    }
    let _ = write!(text, "\n{signed}\n{}", hex::encode(Sha256::digest(&incoming.body)));
    text
}
