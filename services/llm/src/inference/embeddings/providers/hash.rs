//! Vectors made here: of the words of a text and of the letters in them, each hashed to a place. The same text
//! gives the same vector everywhere and for ever; texts with words in common lie near each other. No model: it
//! knows no meaning. It is what a suite has that nobody gave a key, and what tests use.

use async_trait::async_trait;

use super::{Call, Embedder, Vectors};
use crate::inference::error::InferenceError;

/// How much the letters of a word count beside the word itself.
const LETTERS: f32 = 0.25;

/// Hashes texts.
#[derive(Debug)]
pub struct Hash;

#[async_trait]
impl Embedder for Hash {
    async fn embed(&self, call: &Call, texts: Vec<String>) -> Result<Vectors, InferenceError> {
        let dimensions = call.dimensions as usize;
        let values = texts.iter().map(|text| vector(text, dimensions)).collect();
        Ok(Vectors { values, tokens: None })
    }

    fn most_texts(&self) -> usize {
        2048
    }

    fn variable(&self, _provider: &str) -> Option<&'static str> {
        None
    }

    fn usual_address(&self, _provider: &str) -> Option<&'static str> {
        None
    }
}

/// Of length 1. A text without letters and digits is its own only feature.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut values = vec![0.0; dimensions];
    let mut any = false;
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        any = true;
        let word = word.to_lowercase();
        add(&mut values, "word", &word, 1.0);
        let letters: Vec<char> = std::iter::once('^').chain(word.chars()).chain(['$']).collect();
        for three in letters.windows(3) {
            add(&mut values, "letters", &three.iter().collect::<String>(), LETTERS);
        }
    }
    if !any {
        add(&mut values, "text", text, 1.0);
    }
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|value| *value /= length);
    } else if let Some(first) = values.first_mut() {
        // Features that took each other away.
        *first = 1.0;
    }
    values
}

/// Adds a feature at its place, with its sign.
fn add(values: &mut [f32], kind: &str, feature: &str, weight: f32) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes()).update(&[0]).update(feature.as_bytes());
    let [a, b, c, d, e, f, g, h, sign, ..] = *hasher.finalize().as_bytes();
    let place = u64::from_le_bytes([a, b, c, d, e, f, g, h]) % values.len().max(1) as u64;
    let Some(value) = usize::try_from(place).ok().and_then(|place| values.get_mut(place)) else { return };
    *value += if sign & 1 == 0 { weight } else { -weight };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn like_texts_lie_near_each_other_and_the_same_text_on_itself() {
        let cat = vector("the cat sleeps on the sofa", 384);
        assert_eq!(cat, vector("the cat sleeps on the sofa", 384));
        assert!((cosine(&cat, &cat) - 1.0).abs() < 1e-5);
        let near = cosine(&cat, &vector("a cat on a sofa", 384));
        let far = cosine(&cat, &vector("quarterly revenue grew", 384));
        assert!(near > far + 0.2, "{near} {far}");
    }

    #[test]
    fn every_text_has_a_vector_of_length_one() {
        for text in ["a", "?!", " ", "日本語", "x y z"] {
            for dimensions in [1, 2, 384] {
                let found = vector(text, dimensions);
                assert_eq!(found.len(), dimensions);
                assert!((cosine(&found, &found) - 1.0).abs() < 1e-4, "{text:?} {dimensions}");
            }
        }
    }
}
