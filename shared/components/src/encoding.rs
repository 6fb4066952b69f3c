//! Bytes to text and back, as the reference's runtime does it: lenient where it is lenient.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The names a setting may use, in the order messages list them.
pub const NAMES: &[&str] =
    &["hex", "base64", "base64url", "latin1", "binary", "utf8", "utf-8", "ascii", "utf16le", "ucs2"];

/// A text encoding of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hexadecimal.
    Hex,
    /// Base64 with padding.
    Base64,
    /// Base64 with the URL alphabet, without padding.
    Base64Url,
    /// One character per byte, U+0000 to U+00FF.
    Latin1,
    /// UTF-8; bytes that are none become U+FFFD.
    Utf8,
    /// Seven bits.
    Ascii,
    /// Two bytes per character, the low one first.
    Utf16Le,
}

/// Accepts `-` or `_`, any padding or none, and bits left over at the end.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl Encoding {
    /// Reads a name; upper and lower case are the same.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "hex" => Self::Hex,
            "base64" => Self::Base64,
            "base64url" => Self::Base64Url,
            "latin1" | "binary" => Self::Latin1,
            "utf8" | "utf-8" => Self::Utf8,
            "ascii" => Self::Ascii,
            "utf16le" | "utf-16le" | "ucs2" | "ucs-2" => Self::Utf16Le,
            _ => return None,
        })
    }

    /// Bytes as text.
    pub fn text_of(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(bytes),
            Self::Latin1 => bytes.iter().copied().map(char::from).collect(),
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Ascii => bytes.iter().map(|byte| char::from(byte & 0x7f)).collect(),
            Self::Utf16Le => {
                let units: Vec<u16> =
                    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
                String::from_utf16_lossy(&units)
            }
        }
    }

    /// The bytes a text stands for. Never fails: what cannot be read is left out or cut off.
    pub fn bytes_of(self, text: &str) -> Vec<u8> {
        match self {
            Self::Hex => hex_prefix(text),
            Self::Base64 | Self::Base64Url => lenient_base64(text),
            Self::Latin1 | Self::Ascii => text.encode_utf16().map(low_byte).collect(),
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        }
    }
}

/// The low byte of a UTF-16 unit: what lies above is dropped, as in the reference.
fn low_byte(unit: u16) -> u8 {
    unit.to_le_bytes()[0]
}

/// Whole pairs of digits up to the first that is none.
fn hex_prefix(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.map_while(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Both alphabets; characters of neither are skipped, `=` ends the text.
fn lenient_base64(text: &str) -> Vec<u8> {
    let mut digits: String = text
        .chars()
        .take_while(|c| *c != '=')
        .filter_map(|c| match c {
            '-' => Some('+'),
            '_' => Some('/'),
            c if c.is_ascii_alphanumeric() || c == '+' || c == '/' => Some(c),
            _ => None,
        })
        .collect();
    // A single digit left over holds less than a byte.
    if digits.len() % 4 == 1 {
        digits.pop();
    }
    LENIENT.decode(digits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_bytes() {
        let bytes = "Héllo✓".as_bytes();
        assert_eq!(Encoding::Hex.text_of(bytes), "48c3a96c6c6fe29c93");
        assert_eq!(Encoding::Base64.text_of(bytes), "SMOpbGxv4pyT");
        assert_eq!(Encoding::Base64Url.text_of(&[0xfb, 0xff, 1]), "-_8B");
        assert_eq!(Encoding::Latin1.text_of("é".as_bytes()), "Ã©");
        assert_eq!(Encoding::Ascii.text_of(&[0xc3]), "C");
        assert_eq!(Encoding::Utf16Le.text_of(b"abc"), "扡");
    }

    #[test]
    fn bytes_of_text_are_cut_off_rather_than_refused() {
        assert_eq!(Encoding::Hex.bytes_of("zz11"), b"");
        assert_eq!(Encoding::Hex.bytes_of("4142zz43"), b"AB");
        assert_eq!(Encoding::Hex.bytes_of("abc"), [0xab]);
        assert_eq!(Encoding::Base64.bytes_of("_-8"), [0xff, 0xef]);
        assert_eq!(Encoding::Base64.bytes_of("aG\nk=!!"), b"hi");
        assert_eq!(Encoding::Base64.bytes_of("zz!"), [0xcf]);
        assert_eq!(Encoding::Base64.bytes_of("a"), b"");
        assert_eq!(Encoding::Latin1.bytes_of("Ã©"), "é".as_bytes());
        assert_eq!(Encoding::Utf16Le.bytes_of("扡"), b"ab");
    }

    #[test]
    fn every_listed_name_is_known_in_any_case() {
        for name in NAMES {
            assert!(Encoding::parse(name).is_some(), "{name}");
            assert!(Encoding::parse(&name.to_uppercase()).is_some(), "{name}");
        }
        assert_eq!(Encoding::parse("nope"), None);
    }
}
