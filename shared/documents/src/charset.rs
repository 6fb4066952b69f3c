//! Bytes as text.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// The text of bytes: by their mark, as UTF-8, by the named character set, or as the one that old files mostly have.
pub(crate) fn text<'a>(bytes: &'a [u8], mimetype: &str) -> Cow<'a, str> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return encoding.decode_without_bom_handling(&bytes[mark..]).0;
    }
    if let Some(text) = UTF_8.decode_without_bom_handling_and_without_replacement(bytes) {
        return text;
    }
    let label = mimetype.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("charset="));
    let named = label.and_then(|label| Encoding::for_label(label.trim_matches('"').as_bytes()));
    named.unwrap_or(WINDOWS_1252).decode_without_bom_handling(bytes).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn character_sets_are_told() {
        assert_eq!(text("ä✓".as_bytes(), ""), "ä✓");
        assert_eq!(text(b"\xEF\xBB\xBFa", ""), "a");
        assert_eq!(text(b"\xFF\xFEa\0\xE4\0", ""), "aä");
        assert_eq!(text(b"\xE4\x80", ""), "ä€");
        assert_eq!(text(b"\x82\xA0", "text/html; charset=\"Shift_JIS\""), "あ");
    }
}
