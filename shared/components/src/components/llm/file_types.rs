//! Which types of files a provider's models take, and by which feature of a model.

use sre_engine::data::binary::{self, UNKNOWN_TYPE};
use sre_engine::value::Binary;

/// What a model must be able to do for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// See images.
    Image,
    /// Hear sound.
    Audio,
    /// See films.
    Video,
    /// Read documents.
    Document,
}

impl Feature {
    /// The name that the catalogue has for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Document => "document",
        }
    }

    /// The feature by which models of a provider take a type with a prompt.
    pub(crate) fn of(provider: &str, mimetype: &str) -> Option<Self> {
        let takes = |entry: &&Entry| entry.types.iter().any(|known| matches(known, mimetype));
        table(provider).iter().find(takes).map(|entry| entry.feature)
    }
}

/// Whether models edit images of a type.
pub(crate) fn is_editable(mimetype: &str) -> bool {
    EDITABLE.iter().any(|known| matches(known, mimetype))
}

struct Entry {
    feature: Feature,
    types: &'static [&'static str],
}

/// Types of images that models edit.
pub(crate) const EDITABLE: &[&str] = &["image/png", "image/jpeg", "image/jpg", "image/webp"];

const IMAGES: &[&str] = &["image/png", "image/jpeg", "image/jpg", "image/webp", "image/gif"];
const STILL_IMAGES: &[&str] = &["image/png", "image/jpeg", "image/jpg", "image/webp"];
const GOOGLE_IMAGES: &[&str] =
    &["image/png", "image/jpeg", "image/jpg", "image/webp", "image/heic", "image/heif"];
const GOOGLE_FILMS: &[&str] = &[
    "video/mp4",
    "video/mpeg",
    "video/mov",
    "video/quicktime",
    "video/avi",
    "video/x-msvideo",
    "video/x-flv",
    "video/mpg",
    "video/webm",
    "video/wmv",
    "video/3gpp",
];
const GOOGLE_SOUND: &[&str] =
    &["audio/wav", "audio/mp3", "audio/mpeg", "audio/aiff", "audio/aac", "audio/ogg", "audio/flac"];
const GOOGLE_DOCUMENTS: &[&str] = &[
    "application/pdf",
    "application/json",
    "application/rtf",
    "application/x-javascript",
    "application/x-python",
    "text/*",
];
const OFFICE_DOCUMENTS: &[&str] = &[
    "application/pdf",
    "application/msword",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "application/vnd.ms-excel",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "text/csv",
    "text/html",
    "text/plain",
    "text/markdown",
];

const SEES: Entry = Entry { feature: Feature::Image, types: IMAGES };
const OPENAI: &[Entry] = &[SEES, Entry { feature: Feature::Document, types: &["application/pdf"] }];
const ANTHROPIC: &[Entry] =
    &[SEES, Entry { feature: Feature::Document, types: &["application/pdf", "text/*", "application/json"] }];
const BEDROCK: &[Entry] = &[SEES, Entry { feature: Feature::Document, types: OFFICE_DOCUMENTS }];
const OLLAMA: &[Entry] = &[Entry { feature: Feature::Image, types: STILL_IMAGES }];
const GOOGLE: &[Entry] = &[
    Entry { feature: Feature::Image, types: GOOGLE_IMAGES },
    Entry { feature: Feature::Video, types: GOOGLE_FILMS },
    Entry { feature: Feature::Audio, types: GOOGLE_SOUND },
    Entry { feature: Feature::Document, types: GOOGLE_DOCUMENTS },
];

fn table(provider: &str) -> &'static [Entry] {
    match provider.to_ascii_lowercase().as_str() {
        "googleai" | "vertexai" => GOOGLE,
        "anthropic" => ANTHROPIC,
        "bedrock" => BEDROCK,
        "ollama" => OLLAMA,
        // What speaks OpenAI's language takes what OpenAI takes.
        _ => OPENAI,
    }
}

fn matches(known: &str, mimetype: &str) -> bool {
    let essence = mimetype.split(';').next().unwrap_or_default().trim();
    match known.strip_suffix('*') {
        Some(family) => essence.len() > family.len() && essence.starts_with(family),
        None => essence.eq_ignore_ascii_case(known),
    }
}

/// The types that models of a provider take by the features that one has.
pub(crate) fn supported(provider: &str, has: impl Fn(Feature) -> bool) -> Vec<&'static str> {
    let entries = table(provider).iter().filter(|entry| has(entry.feature));
    entries.flat_map(|entry| entry.types.iter().copied()).collect()
}

/// The type of bytes: what is said of them, or else what they look like.
pub(crate) fn told(file: &Binary) -> String {
    if !matches!(file.mimetype.as_ref(), "" | UNKNOWN_TYPE) {
        return file.mimetype.to_string();
    }
    binary::binary(&file.name, None, file.data.clone()).mimetype.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_needs_its_feature() {
        for (provider, mimetype, feature) in [
            ("OpenAI", "image/png", Some(Feature::Image)),
            ("OpenAI", "application/pdf", Some(Feature::Document)),
            ("OpenAI", "text/plain", None),
            ("Groq", "image/gif", Some(Feature::Image)),
            ("GoogleAI", "image/gif", None),
            ("GoogleAI", "image/heic", Some(Feature::Image)),
            ("GoogleAI", "video/x-msvideo", Some(Feature::Video)),
            ("GoogleAI", "audio/flac", Some(Feature::Audio)),
            ("GoogleAI", "text/plain; charset=utf-8", Some(Feature::Document)),
            ("Anthropic", "text/markdown", Some(Feature::Document)),
            ("Ollama", "image/gif", None),
        ] {
            assert_eq!(Feature::of(provider, mimetype), feature, "{provider} {mimetype}");
        }
        assert!(is_editable("image/webp") && !is_editable("image/gif"));
    }
}
