//! What counts as a binary, and what must be fetched or stored before it is one (rulings 30).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::value::{Binary, Value};

/// Shortest text taken for bare base64.
const MIN_BARE_BASE64: usize = 16;
/// The type of bytes that nobody can tell.
pub const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Work that the engine cannot do itself; the driver does it and gives back the value.
#[derive(Clone, Debug, PartialEq)]
pub enum NeedsIo {
    /// Fetch a URL: the value is a [`Value::Binary`].
    Fetch {
        /// The address, as it came.
        url: String,
        /// File name to give it, an extension is added from its type.
        name: String,
    },
    /// Look up a stored file, as the running agent: the value is `{mimetype, size, url, name}`.
    Stat {
        /// A `smythfs://` address.
        url: String,
    },
    /// Read a stored file, as the running agent: the value is the text `data:<mime>;base64,…`.
    DataUrl {
        /// The object `{url, mimetype, …}`.
        file: Value,
    },
    /// Store bytes in the agent's temporary area: the value is `{mimetype, size, url, name}`.
    Store {
        /// The bytes.
        binary: Value,
    },
}

/// A value typed Binary, recognised.
#[derive(Clone, Debug, PartialEq)]
pub enum Recognised {
    /// Ready: bytes in memory or a stored file's object.
    Ready(Value),
    /// One step of input or output away.
    Needs(NeedsIo),
    /// Several, in order.
    List(Vec<Recognised>),
}

/// Recognises a value; `name` is the file name without extension. `None`: no binary can be made of it.
pub fn recognise(value: &Value, name: &str) -> Option<Recognised> {
    match value {
        Value::Binary(_) => Some(Recognised::Ready(value.clone())),
        Value::Object(map) => {
            let url = map.get("url")?.as_str()?;
            if url.starts_with("smythfs://") && map.contains_key("mimetype") {
                return Some(Recognised::Ready(value.clone()));
            }
            recognise_text(url, name).filter(|found| !is_plain_text(found))
        }
        Value::Array(items) => {
            let list: Option<Vec<_>> = items.iter().map(|item| recognise(item, name)).collect();
            list.map(Recognised::List)
        }
        Value::String(text) => recognise_text(text, name),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn recognise_text(text: &str, name: &str) -> Option<Recognised> {
    let trimmed = text.trim();
    if let Some(single) = recognise_address(trimmed, name) {
        return Some(single);
    }
    let urls = several_urls(trimmed);
    if urls.len() > 1 {
        return Some(Recognised::List(urls.iter().filter_map(|url| recognise_address(url, name)).collect()));
    }
    if let Some(data) = bare_base64(trimmed) {
        return Some(Recognised::Ready(binary(name, None, data.into()).into()));
    }
    let plain = binary(name, Some("text/plain"), Bytes::copy_from_slice(text.as_bytes()));
    Some(Recognised::Ready(plain.into()))
}

fn is_plain_text(found: &Recognised) -> bool {
    matches!(found, Recognised::Ready(Value::Binary(binary)) if binary.mimetype.as_ref() == "text/plain")
}

fn recognise_address(text: &str, name: &str) -> Option<Recognised> {
    if text.starts_with("smythfs://") && !text.contains(char::is_whitespace) {
        return Some(Recognised::Needs(NeedsIo::Stat { url: text.to_owned() }));
    }
    if let Some((mimetype, data)) = data_url(text) {
        return Some(Recognised::Ready(binary(name, Some(mimetype), data.into()).into()));
    }
    is_url(text).then(|| Recognised::Needs(NeedsIo::Fetch { url: text.to_owned(), name: name.to_owned() }))
}

/// `scheme://host.tld…` without blanks or commas.
fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c));
    scheme_ok && host.contains('.') && !text.contains([',', '\n']) && !text.contains(char::is_whitespace)
}

fn several_urls(text: &str) -> Vec<String> {
    let address = |part: &str| part.starts_with("smythfs://") || is_url(part);
    if let Some(json) = super::permissive_json::parse(text) {
        let members: Vec<Value> = match json {
            Value::Array(items) => items.to_vec(),
            Value::Object(map) => map.values().cloned().collect(),
            _ => Vec::new(),
        };
        let urls = members.iter().filter_map(Value::as_str).map(|part| part.trim().to_owned());
        return urls.filter(|part| address(part)).collect();
    }
    let parts = text.split([',', '\n']).map(str::trim);
    parts.filter(|part| address(part)).map(str::to_owned).collect()
}

/// The type and bytes of `data:<type>;base64,<text>`.
pub fn data_url(text: &str) -> Option<(&str, Vec<u8>)> {
    let (head, body) = text.strip_prefix("data:")?.split_once(',')?;
    let mimetype = head.strip_suffix(";base64")?.split(';').next()?;
    let compact: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    Some((mimetype, STANDARD.decode(compact).ok()?))
}

/// Bytes of a text that can only be meant as base64: long enough, whole, padded, canonical.
pub fn bare_base64(text: &str) -> Option<Vec<u8>> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    // Words with single blanks between them are prose; base64 breaks in lines only.
    if compact.len() < MIN_BARE_BASE64 || !compact.len().is_multiple_of(4) || text.contains(' ') {
        return None;
    }
    STANDARD.decode(&compact).ok()
}

/// A binary with its type told from the bytes where it is not given, and its name completed.
pub fn binary(name: &str, mimetype: Option<&str>, data: Bytes) -> Binary {
    let told = mimetype.filter(|m| !m.is_empty()).map(str::to_owned);
    let mimetype = told
        .or_else(|| infer::get(&data).map(|kind| kind.mime_type().to_owned()))
        .unwrap_or_else(|| UNKNOWN_TYPE.to_owned());
    Binary { name: with_extension(name, &mimetype).into(), mimetype: mimetype.into(), data }
}

fn with_extension(name: &str, mimetype: &str) -> String {
    match extension(mimetype) {
        Some(extension) if !name.to_lowercase().ends_with(&format!(".{extension}")) => {
            format!("{name}.{extension}")
        }
        _ => name.to_owned(),
    }
}

/// The usual extension of a media type; none for unknown bytes.
pub fn extension(mimetype: &str) -> Option<&'static str> {
    let essence = mimetype.split(';').next().unwrap_or_default().trim();
    // The registry's first entry is often an odd one (`asm` for plain text), so the usual ones come first.
    let usual = match essence {
        UNKNOWN_TYPE | "" => return None,
        "text/plain" => "txt",
        "text/html" => "html",
        "text/markdown" => "md",
        "text/javascript" | "application/javascript" => "js",
        "text/xml" | "application/xml" => "xml",
        "image/jpeg" => "jpg",
        "image/svg+xml" => "svg",
        "image/tiff" => "tiff",
        "audio/mpeg" => "mp3",
        "audio/x-wav" | "audio/wav" => "wav",
        "audio/mp4" => "m4a",
        "audio/ogg" => "ogg",
        "video/mp4" => "mp4",
        "video/mpeg" => "mpeg",
        "video/quicktime" => "mov",
        "application/gzip" => "gz",
        _ => "",
    };
    if !usual.is_empty() {
        return Some(usual);
    }
    mime_guess::get_mime_extensions_str(essence).and_then(|list| list.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(value: Value) -> std::sync::Arc<Binary> {
        match recognise(&value, "u-x") {
            Some(Recognised::Ready(Value::Binary(binary))) => binary,
            other => panic!("{value}: {other:?}"),
        }
    }

    #[test]
    fn plain_text_stays_text() {
        for text in ["some text here!", "male", "hey there", "abcd", "d41d8cd98f00b204e9800998ecf8427"] {
            let binary = ready(Value::from(text));
            assert_eq!((binary.mimetype.as_ref(), binary.name.as_ref()), ("text/plain", "u-x.txt"), "{text}");
            assert_eq!(binary.data, text.as_bytes());
        }
    }

    #[test]
    fn data_urls_and_long_base64_are_decoded() {
        let binary = ready(Value::from("data:text/html;base64,SGVsbG8="));
        assert_eq!((binary.name.as_ref(), binary.data.as_ref()), ("u-x.html", b"Hello".as_ref()));
        let unknown = ready(Value::from("aGVsbG8gd29ybGQ="));
        assert_eq!((unknown.mimetype.as_ref(), unknown.name.as_ref()), (UNKNOWN_TYPE, "u-x"));
        assert_eq!(unknown.data.as_ref(), b"hello world");
        let png = ready(Value::from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"));
        assert_eq!(png.name.as_ref(), "u-x.png");
    }

    #[test]
    fn addresses_need_the_driver() {
        let fetch = |url: &str| Recognised::Needs(NeedsIo::Fetch { url: url.into(), name: "n".into() });
        assert_eq!(recognise(&Value::from("https://a.org/x.png"), "n"), Some(fetch("https://a.org/x.png")));
        let stat = Recognised::Needs(NeedsIo::Stat { url: "smythfs://t.team/a/x".into() });
        assert_eq!(recognise(&Value::from("smythfs://t.team/a/x"), "n"), Some(stat));
        assert_eq!(
            recognise(&Value::from("https://a.org/1, https://b.org/2"), "n"),
            Some(Recognised::List(vec![fetch("https://a.org/1"), fetch("https://b.org/2")]))
        );
        assert_eq!(
            recognise(&Value::from(r#"["https://a.org/1","https://b.org/2"]"#), "n"),
            Some(Recognised::List(vec![fetch("https://a.org/1"), fetch("https://b.org/2")]))
        );
    }

    #[test]
    fn what_cannot_be_bytes_is_refused() {
        for json in [serde_json::json!(5), serde_json::json!(true), serde_json::json!({"a": 1})] {
            assert_eq!(recognise(&Value::from(json), "n"), None);
        }
    }

    #[test]
    fn stored_files_pass() {
        let file =
            Value::from(serde_json::json!({"url": "smythfs://t.team/a/x", "mimetype": "a/b", "size": 1}));
        assert_eq!(recognise(&file, "n"), Some(Recognised::Ready(file.clone())));
    }
}
