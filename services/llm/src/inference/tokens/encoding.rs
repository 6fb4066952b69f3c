//! Tokenizers that are known: OpenAI's. A vocabulary is read when somebody first counts with it.

use crate::models::Resolved;

/// A longer run of letters without a blank, or of blanks, is counted in pieces: tokenizers take the square of its
/// length, and nothing that people write has one.
const LONGEST_RUN: usize = 1024;

/// A vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Of GPT-4o and what came after it.
    O200k,
    /// Of GPT-4, GPT-3.5 and embeddings.
    Cl100k,
}

impl Encoding {
    /// The vocabulary of a model; none where nobody but its provider knows it.
    pub fn of(model: &Resolved) -> Option<Self> {
        if !matches!(
            model.provider.to_ascii_lowercase().as_str(),
            "openai" | "azure" | "azureopenai" | "echo"
        ) {
            return None;
        }
        // The tests' provider counts like a current model of OpenAI's.
        if model.provider.eq_ignore_ascii_case("echo") {
            return Some(Self::O200k);
        }
        let id = model.model_id.rsplit('/').next().unwrap_or_default();
        // A model that was trained further: `ft:gpt-4o-mini:...`.
        let id = id.strip_prefix("ft:").unwrap_or(id);
        let begins = |families: &[&str]| families.iter().any(|family| id.starts_with(family));
        match () {
            () if begins(&[
                "gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-6", "chatgpt-", "o1", "o3", "o4", "gpt-oss",
            ]) =>
            {
                Some(Self::O200k)
            }
            () if begins(&["gpt-4", "gpt-3.5", "gpt-35", "text-embedding-"]) => Some(Self::Cl100k),
            () => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::O200k => "o200k_base",
            Self::Cl100k => "cl100k_base",
        }
    }

    /// The tokens of a text. What stands for a special token counts as the letters that it is.
    pub fn count(self, text: &str) -> i64 {
        let tokenizer = match self {
            Self::O200k => tiktoken_rs::o200k_base_singleton(),
            Self::Cl100k => tiktoken_rs::cl100k_base_singleton(),
        };
        let count: usize = pieces(text).map(|piece| tokenizer.encode_ordinary(piece).len()).sum();
        i64::try_from(count).unwrap_or(i64::MAX)
    }
}

/// A text, cut where a run is too long.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, left) = rest.split_at(cut(rest));
        rest = left;
        Some(piece)
    })
}

/// The length of the part up to the end of a run's longest piece.
fn cut(text: &str) -> usize {
    let mut run = 0;
    let mut is_blank = false;
    for (place, letter) in text.char_indices() {
        run = if letter.is_whitespace() == is_blank { run + 1 } else { 1 };
        is_blank = letter.is_whitespace();
        if run > LONGEST_RUN {
            return place;
        }
    }
    text.len()
}
