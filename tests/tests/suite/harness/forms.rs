//! The forms in which a secret could stand somewhere, and where it does.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// A text in all forms it is looked for in.
pub struct Forms(Vec<(&'static str, String)>);

impl Forms {
    /// Of a text without characters that JSON or URLs escape: in those it stands as it is, or every byte encoded.
    pub fn of(text: &str) -> Self {
        let escaped = |byte: u8| format!("%{byte:02X}");
        let hexadecimal: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let url: String = text.bytes().map(escaped).collect();
        // An encoder in between may escape what it need not.
        let cautious: String = text
            .bytes()
            .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { escaped(byte) })
            .collect();
        let mut forms = vec![
            ("in clear", text.to_owned()),
            ("in hexadecimal", hexadecimal.to_uppercase()),
            ("in hexadecimal", hexadecimal),
            ("URL-encoded", url.to_lowercase()),
            ("URL-encoded", url),
            ("URL-encoded", cautious.replace("%2D", "%2d")),
            ("URL-encoded", cautious),
        ];
        // What stands before it shifts the encoding by 0, 1 or 2 bytes.
        for offset in 0..3 {
            forms.push(("in base64", core(&STANDARD, text, offset)));
            forms.push(("in base64", core(&URL_SAFE, text, offset)));
        }
        Self(forms)
    }

    /// The form in which it stands in there, if it does.
    pub fn found_in(&self, bytes: &[u8]) -> Option<&'static str> {
        // Every form is ASCII: what is no text around it does not matter.
        let text = String::from_utf8_lossy(bytes);
        self.0.iter().find(|(_, form)| text.contains(form)).map(|(name, _)| *name)
    }

    /// Panics where it stands in there in any form.
    pub fn assert_absent(&self, what: &str, bytes: &[u8]) {
        if let Some(form) = self.found_in(bytes) {
            panic!("{what} holds the secret {form}: {}", String::from_utf8_lossy(bytes));
        }
    }

    /// The files of a folder in which it stands, with the form.
    pub fn found_under(&self, folder: &Path) -> Vec<String> {
        let look = |path: PathBuf| {
            let form = self.found_in(&std::fs::read(&path).unwrap())?;
            Some(format!("{} {form}", path.display()))
        };
        files(folder).into_iter().filter_map(look).collect()
    }
}

/// The characters that depend on the text alone, whatever stands before and after it.
fn core(engine: &impl base64::Engine, text: &str, offset: usize) -> String {
    let bytes: Vec<u8> = std::iter::repeat_n(0, offset).chain(text.bytes()).collect();
    let encoded = engine.encode(&bytes);
    encoded[(offset * 8).div_ceil(6)..bytes.len() * 8 / 6].to_owned()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| match entry.file_type().unwrap() {
            kind if kind.is_dir() => files(&entry.path()),
            kind if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn every_form_is_found_wherever_it_stands() {
    let forms = Forms::of("a-secret-text");
    for (before, after) in [("", ""), ("x", "y"), ("xy", "?>"), ("xyz", "")] {
        let whole = format!("{before}a-secret-text{after}");
        for encoded in [whole.clone(), STANDARD.encode(&whole), URL_SAFE.encode(&whole)] {
            assert!(forms.found_in(encoded.as_bytes()).is_some(), "{encoded}");
        }
    }
    let hexadecimal = "612d7365637265742d74657874";
    for encoded in [hexadecimal, &hexadecimal.to_uppercase(), "a%2Dsecret%2Dtext", "a%2dsecret%2dtext"] {
        assert!(forms.found_in(encoded.as_bytes()).is_some(), "{encoded}");
    }
    assert_eq!(forms.found_in(b"another text"), None);
}
