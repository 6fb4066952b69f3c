//! FSign: HMAC and RSA signatures.

use futures::future::{BoxFuture, FutureExt as _};
use rsa::RsaPrivateKey;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
use sre_engine::Outcome;
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingSpec};
use sre_engine::value::{Map, Value};

use super::hash::{check_algorithm, check_encoding};
use super::{not_data, received};
use crate::context::{Call, Component};
use crate::digest::Algorithm;
use crate::encoding::Encoding;
use crate::outcome::{one, or_error};
use crate::settings;

static SPEC: ComponentSpec = ComponentSpec::new("FSign", "Signs data with a shared or a private key")
    .effect(Effect::Pure)
    .settings(&[
        SettingSpec::text_or_empty("key", "Key", 0)
            .template()
            .describe("the key, where the input `Key` gives none: text for HMAC, PEM for RSA"),
        SettingSpec::any("signMethod", "Sign Method")
            .check(|value| one_of("Sign Method", value, &["HMAC", "RSA"]))
            .default("HMAC")
            .describe("with a key that both sides have, or with a private key"),
        SettingSpec::any("dataTransform", "Data Transform")
            .check(|value| one_of("Data Transform", value, &["None", "Stringify", "Querystring"]))
            .default("None")
            .describe("how data that is no text becomes text"),
        SettingSpec::any("hashType", "Hash Type")
            .check(|value| listed_or_empty(value, |value| check_algorithm("Hash Type", value)))
            .default("md5")
            .describe("the digest that is signed"),
        SettingSpec::any("RSA_padding", "RSA Padding")
            .check(|value| {
                let known = ["RSA_PKCS1_PADDING", "RSA_PKCS1_PSS_PADDING", "RSA_NO_PADDING"];
                one_of("RSA Padding", value, &known)
            })
            .default("RSA_PKCS1_PADDING")
            .describe("of RSA: how the digest is padded"),
        SettingSpec::any("RSA_saltLength", "RSA Salt Length")
            .default("RSA_PSS_SALTLEN_MAX_SIGN")
            .describe("of PSS: the length of the salt"),
        SettingSpec::any("encoding", "Encoding")
            .check(|value| listed_or_empty(value, |value| check_encoding("Encoding", value)))
            .default("hex")
            .describe("how the signature is written"),
    ])
    .inputs(&[
        PortSpec::new("Data", "Any", "what to sign"),
        PortSpec::new("Key", "Text", "the key, instead of the setting").optional(),
    ])
    .outputs(&[PortSpec::new("Signature", "Text", "the signature")])
    .scopes(&["sre.security.v1.Vault"]);

fn listed_or_empty(value: &Value, check: impl Fn(&Value) -> Result<(), String>) -> Result<(), String> {
    if value.truthy() { check(value) } else { Ok(()) }
}

fn one_of(label: &str, value: &Value, allowed: &[&str]) -> Result<(), String> {
    listed_or_empty(value, |value| {
        let known = value.as_str().is_some_and(|text| allowed.contains(&text));
        known.then_some(()).ok_or_else(|| format!("\"{label}\" must be one of [{}]", allowed.join(", ")))
    })
}

/// The type.
pub struct FSign;

impl Component for FSign {
    fn spec(&self) -> &'static ComponentSpec {
        &SPEC
    }

    fn process<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Outcome> {
        async move { or_error(sign(call).await) }.boxed()
    }
}

async fn sign(call: Call<'_>) -> Result<Outcome, String> {
    let key = key(call).await?;
    let setting = |name: &str, default: &str| match settings::text(call, name) {
        text if text.is_empty() => default.to_owned(),
        text => text,
    };
    let hash = setting("hashType", "md5");
    let algorithm = Algorithm::parse(&hash).ok_or_else(|| format!("Invalid digest: {hash}"))?;
    let encoding = Encoding::parse(&setting("encoding", "hex")).unwrap_or(Encoding::Hex);
    let data = data(call.get("Data"), &setting("dataTransform", "None"))?;
    let signature = match setting("signMethod", "HMAC").as_str() {
        "RSA" => rsa(&key, algorithm, &data, &Padding::of(call)?)?,
        _ => algorithm.hmac(key.as_bytes(), &data).ok_or_else(|| format!("Invalid digest: {hash}"))?,
    };
    Ok(one("Signature", encoding.text_of(&signature)))
}

/// The key input is data and taken as it is; the setting is the author's, so it may name inputs and vault
/// keys.
async fn key(call: Call<'_>) -> Result<String, String> {
    let wrong = |value: Option<&Value>| {
        format!(
            "The \"key\" argument must be of type string or an instance of ArrayBuffer, Buffer, TypedArray, \
             DataView, KeyObject, or CryptoKey. Received {}",
            received(value)
        )
    };
    match call.get("Key").filter(|key| key.truthy()) {
        Some(Value::String(key)) => Ok(key.to_string()),
        Some(other) => Err(wrong(Some(other))),
        None => match call.node.setting("key") {
            Some(Value::String(key)) => settings::render(call, key).await.map_err(|error| error.message),
            other => Err(wrong(other)),
        },
    }
}

fn data(value: Option<&Value>, transform: &str) -> Result<Vec<u8>, String> {
    match (value, transform) {
        (Some(Value::String(text)), _) => Ok(text.as_bytes().to_vec()),
        (Some(value), "Stringify") => Ok(value.to_json_text().into_bytes()),
        (Some(value), "Querystring") => Ok(querystring(value).into_bytes()),
        (Some(Value::Binary(binary)), _) => Ok(binary.data.to_vec()),
        (other, _) => Err(not_data(other)),
    }
}

/// `k=v` joined by `&`; a list repeats its key, nested values are left empty.
fn querystring(value: &Value) -> String {
    let empty = Map::new();
    let members = value.as_object().unwrap_or(&empty);
    let mut pairs = Vec::new();
    for (key, value) in members {
        let values = value.as_array().unwrap_or(std::slice::from_ref(value));
        pairs.extend(values.iter().map(|value| format!("{}={}", escaped(key), escaped(&scalar(value)))));
    }
    pairs.join("&")
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => value.to_text(),
        _ => String::new(),
    }
}

/// Percent-encoding as `encodeURIComponent` has it.
fn escaped(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const SET: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'!')
        .remove(b'~')
        .remove(b'*')
        .remove(b'\'')
        .remove(b'(')
        .remove(b')');
    utf8_percent_encode(text, SET).to_string()
}

enum Padding {
    Pkcs1v15,
    Pss { salt: Salt },
}

enum Salt {
    Digest,
    Longest,
}

impl Padding {
    fn of(call: Call<'_>) -> Result<Self, String> {
        match settings::text(call, "RSA_padding").as_str() {
            "RSA_PKCS1_PSS_PADDING" => {
                let salt = match settings::text(call, "RSA_saltLength").as_str() {
                    "RSA_PSS_SALTLEN_DIGEST" => Salt::Digest,
                    _ => Salt::Longest,
                };
                Ok(Self::Pss { salt })
            }
            "RSA_NO_PADDING" => Err("RSA_NO_PADDING cannot sign: choose RSA_PKCS1_PADDING or \
                                     RSA_PKCS1_PSS_PADDING"
                .to_owned()),
            _ => Ok(Self::Pkcs1v15),
        }
    }
}

fn rsa(pem: &str, algorithm: Algorithm, data: &[u8], padding: &Padding) -> Result<Vec<u8>, String> {
    let key = RsaPrivateKey::from_pkcs8_pem(pem).or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem));
    // The parser's message could quote the key.
    let key = key.map_err(|_| "the key is not an RSA private key in PEM form".to_owned())?;
    let digest = algorithm.digest(data);
    // Blinded, so that the time it takes says nothing about the key.
    let mut random = rsa::rand_core::OsRng;
    let unusable = || "this digest cannot be used with RSA".to_owned();
    let signature = match padding {
        Padding::Pkcs1v15 => {
            key.sign_with_rng(&mut random, algorithm.pkcs1v15().ok_or_else(unusable)?, &digest)
        }
        Padding::Pss { salt } => {
            let longest =
                key.size().checked_sub(digest.len() + 2).ok_or("the key is too short for this digest")?;
            let salt = match salt {
                Salt::Digest => digest.len(),
                Salt::Longest => longest,
            };
            key.sign_with_rng(&mut random, algorithm.pss(salt).ok_or_else(unusable)?, &digest)
        }
    };
    signature.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use rsa::pkcs8::EncodePrivateKey as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn querystrings_repeat_the_key_of_a_list() {
        let value = Value::from(json!({"a": 1, "b": ["x", "y"], "c": "h i", "d": {"e": 1}, "f": null}));
        assert_eq!(querystring(&value), "a=1&b=x&b=y&c=h%20i&d=&f=");
        let signed = Algorithm::Md5
            .hmac(b"k", querystring(&Value::from(json!({"a": 1, "b": ["x", "y"], "c": "h i"}))).as_bytes())
            .unwrap();
        assert_eq!(hex::encode(signed), "a4f7ae5f9811207954a09d13d65bc0c5");
    }

    #[test]
    fn rsa_signatures_verify() {
        let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
        let pem = key.to_pkcs8_pem(rsa::pkcs8::LineEnding::LF).unwrap();
        let digest = Algorithm::Sha256.digest(b"data");
        let public = key.to_public_key();

        let signature = rsa(&pem, Algorithm::Sha256, b"data", &Padding::Pkcs1v15).unwrap();
        public.verify(Algorithm::Sha256.pkcs1v15().unwrap(), &digest, &signature).unwrap();

        for (salt, length) in [(Salt::Digest, 32), (Salt::Longest, 128 - 32 - 2)] {
            let signature = rsa(&pem, Algorithm::Sha256, b"data", &Padding::Pss { salt }).unwrap();
            public.verify(Algorithm::Sha256.pss(length).unwrap(), &digest, &signature).unwrap();
        }
    }

    #[test]
    fn a_bad_key_is_not_quoted() {
        let error = rsa("very secret", Algorithm::Sha256, b"d", &Padding::Pkcs1v15).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}
