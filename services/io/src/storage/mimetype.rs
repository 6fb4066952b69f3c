//! The media type of a file that comes without one.

/// How much of a file is looked at.
pub const HEAD_BYTES: usize = 8 * 1024;

const TEXT: &str = "text/plain";
const BINARY: &str = "application/octet-stream";

/// What a browser would run. Only a caller who says so explicitly stores these (H22, H24).
const ACTIVE: &[&str] = &[
    "text/html",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/javascript",
    "application/javascript",
    "application/ecmascript",
    "application/xml",
    "text/xml",
    "application/xslt+xml",
    "application/x-shockwave-flash",
];

/// Whether a browser would run it; parameters are ignored. Whatever is or may be read as HTML or XML is.
pub fn is_active(mimetype: &str) -> bool {
    let essence = mimetype.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    ACTIVE.contains(&essence.as_str())
        || essence.ends_with("+xml")
        || essence.ends_with("script")
        || essence.ends_with("html")
        || matches!(essence.as_str(), "multipart/related" | "message/rfc822")
}

/// The ending of names that fits a type; none where none is known.
pub fn ending(mimetype: &str) -> Option<&'static str> {
    match mimetype.split(';').next().unwrap_or_default().trim() {
        // The tables list these under endings that nobody expects.
        TEXT => Some("txt"),
        BINARY => Some("bin"),
        "image/jpeg" => Some("jpg"),
        "audio/mpeg" => Some("mp3"),
        "video/mp4" => Some("mp4"),
        "text/html" => Some("html"),
        essence => mime_guess::get_mime_extensions_str(essence)?.first().copied(),
    }
}

/// Tells the type from the content's first bytes, then from the name, never by fetching anything.
pub fn detect(name: &str, head: &[u8]) -> String {
    if let Some(kind) = infer::get(head) {
        return harmless(kind.mime_type(), head);
    }
    match mime_guess::from_path(name).first_raw() {
        Some(guess) => harmless(guess, head),
        None => plain(head).to_owned(),
    }
}

/// Whether a caller's media type has the shape `type/subtype`, parameters allowed.
pub fn is_valid(text: &str) -> bool {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.len() <= 255
        && text.bytes().all(|b| (0x20..0x7f).contains(&b))
        && essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
}

fn harmless(guess: &str, head: &[u8]) -> String {
    if ACTIVE.contains(&guess) { plain(head).to_owned() } else { guess.to_owned() }
}

fn plain(head: &[u8]) -> &'static str {
    let cut_short = |error: std::str::Utf8Error| error.error_len().is_none() && head.len() >= HEAD_BYTES;
    match std::str::from_utf8(head) {
        Ok(text) if !text.contains('\0') => TEXT,
        // The head may end in the middle of a character.
        Err(error) if cut_short(error) && !head.contains(&0) => TEXT,
        _ => BINARY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_goes_before_the_name_and_text_is_the_last_guess() {
        let png = b"\x89PNG\r\n\x1a\n0000IHDR";
        assert_eq!(detect("a.txt", png), "image/png");
        assert_eq!(detect("a.json", b"{}"), "application/json");
        assert_eq!(detect("a", b"hello"), "text/plain");
        assert_eq!(detect("a", b"\xff\x00\xfe"), "application/octet-stream");
        assert_eq!(detect("a", b""), "text/plain");
        let mut long = vec![b'a'; HEAD_BYTES - 1];
        long.push(0xc3);
        assert_eq!(detect("a", &long), "text/plain");
    }

    /// services.md D45: words that could be base64, braces and the like say nothing; H24: what an address names is
    /// never looked at.
    #[test]
    fn d45_h24_text_is_text_whatever_it_looks_like() {
        for text in [
            "test",
            "male",
            "{bad}",
            "body{color:red}",
            "key: value",
            "a,b\n1,2",
            "# Title",
            "select 1 from t",
            "function f() {}",
            "https://127.0.0.1/image.png",
            "data:image/png;base64,iVBORw0KGgo=",
        ] {
            assert_eq!(detect("a", text.as_bytes()), TEXT, "{text}");
        }
        assert_eq!(detect("a.css", b"body{color:red}"), "text/css", "the name says so");
    }

    #[test]
    fn h22_detection_never_gives_an_active_type() {
        for (name, content) in [
            ("a.html", "<!DOCTYPE html><html></html>"),
            ("a", "<html><script>1</script></html>"),
            ("a.svg", "<svg onload=\"1\"/>"),
            ("a.js", "alert(1)"),
            ("a.xml", "<?xml version=\"1.0\"?><x/>"),
        ] {
            assert_eq!(detect(name, content.as_bytes()), "text/plain", "{name}");
        }
    }

    #[test]
    fn a_caller_cannot_smuggle_a_header() {
        assert!(is_valid("text/html; charset=utf-8"));
        for bad in ["", "text", "text/", "/x", "text/pl ain", "text/plain\r\nx: y", "te(xt/plain"] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }
}
