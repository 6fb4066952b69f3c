//! What messages weigh, in tokens: counted by the llm service where it can, once per message and model; else estimated
//! here. Both are corrected by what providers reported for the same windows.

use std::collections::HashMap;
use std::sync::Arc;

use moka::sync::Cache;
use parking_lot::Mutex;
use sre_proto::llm::v1::CountTokensRequest;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_service::Link;

use super::history::{FileOf, Item, Kept};
use super::window::Weighed;

/// Counts that are kept.
const COUNTS: u64 = 100_000;
/// Models whose factor is kept.
const MODELS: usize = 1_000;
/// Texts of one call.
const TEXTS: usize = 512;
/// Bytes of one call: a message holds 4 MiB.
const TEXT_BYTES: usize = 2 << 20;
/// What a message takes beside its text.
const FRAME: i64 = 4;
/// What an image or a document is taken for, which no tokenizer counts.
const FILE: i64 = 1_500;
/// How much the newest report counts.
const NEW: f64 = 0.3;

/// The weights. Clones share them.
#[derive(Clone)]
pub struct Weights {
    counts: Cache<String, i64>,
    factors: Arc<Mutex<HashMap<String, f64>>>,
}

impl Default for Weights {
    fn default() -> Self {
        Self { counts: Cache::new(COUNTS), factors: Arc::default() }
    }
}

impl Weights {
    /// By how much counts of a model are multiplied.
    pub fn factor(&self, model: &str) -> f64 {
        self.factors.lock().get(model).copied().unwrap_or(1.0)
    }

    /// A provider counted so many tokens where so many were counted here.
    pub fn learn(&self, model: &str, counted: i64, reported: i64) {
        if counted < 50 || reported < 1 {
            return;
        }
        // Counts are small numbers.
        #[expect(clippy::cast_precision_loss, reason = "tokens of a window fit a double")]
        let seen = (reported as f64 / counted as f64).clamp(0.5, 4.0);
        let mut factors = self.factors.lock();
        if factors.len() >= MODELS && !factors.contains_key(model) {
            return;
        }
        let factor = factors.entry(model.to_owned()).or_insert(seen);
        *factor = *factor * (1.0 - NEW) + seen * NEW;
    }

    /// Weighs messages for a model.
    pub async fn weigh(&self, link: &Link, model: &str, kept: &[Kept]) -> Vec<Weighed> {
        let key = |kept: &Kept| format!("{model}\u{0}{}\u{0}{}", kept.id, kept.sequence);
        let texts: Vec<String> = kept.iter().map(|kept| text_of(&kept.item)).collect();
        let mut counts: Vec<Option<i64>> = kept.iter().map(|kept| self.counts.get(&key(kept))).collect();
        let missing: Vec<usize> = (0..kept.len()).filter(|place| counts[*place].is_none()).collect();
        let wanted: Vec<&str> = missing.iter().map(|place| texts[*place].as_str()).collect();
        let (found, exact) = count(link, model, &wanted).await;
        for (place, found) in missing.into_iter().zip(found) {
            counts[place] = Some(found);
            if exact {
                self.counts.insert(key(&kept[place]), found);
            }
        }
        let weighed = |(kept, tokens): (&Kept, Option<i64>)| Weighed {
            kept: kept.clone(),
            tokens: tokens.unwrap_or_default() + beside(&kept.item),
        };
        kept.iter().zip(counts).map(weighed).collect()
    }

    /// Counts some texts for a model, which are not kept.
    pub async fn count(&self, link: &Link, model: &str, texts: &[&str]) -> i64 {
        count(link, model, texts).await.0.into_iter().sum()
    }
}

/// The counts, and whether the service counted.
async fn count(link: &Link, model: &str, texts: &[&str]) -> (Vec<i64>, bool) {
    let mut counts = Vec::with_capacity(texts.len());
    let mut rest = texts;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |text: &&&str| {
            bytes += text.len();
            bytes <= TEXT_BYTES
        };
        let some = rest.iter().take(TEXTS).take_while(fits).count().max(1);
        let (now, later) = rest.split_at(some);
        let request = CountTokensRequest {
            model: model.to_owned(),
            texts: now.iter().map(|text| (*text).to_owned()).collect(),
        };
        match InferenceClient::new(link.clone()).count_tokens(request).await {
            Ok(answer) if answer.get_ref().tokens.len() == now.len() => {
                counts.extend(answer.into_inner().tokens)
            }
            _ => return (texts.iter().map(|text| estimate(text)).collect(), false),
        }
        rest = later;
    }
    (counts, true)
}

/// An estimate: four characters a token where they are plain letters, one where they are not, and never so few that
/// a text of other kinds slips through.
pub fn estimate(text: &str) -> i64 {
    let (mut plain, mut other) = (0, 0);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b' ' => plain += 1,
            // The first byte of a character of more.
            0xc0..=0xff => other += 3,
            0x80..=0xbf => {}
            _ => other += 2,
        }
    }
    (plain + other + 3) / 4
}

/// What is counted of a message: all that is sent of it.
fn text_of(item: &Item) -> String {
    match item {
        Item::User(asked) => asked.text.clone(),
        Item::Assistant(said) => said.text.clone(),
        Item::Summary { text, .. } => text.clone(),
        Item::Tools(turn) => {
            let calls = turn.calls.iter().map(|called| {
                format!("{} {} {} {}\n", called.id, called.name, called.arguments, called.result)
            });
            turn.said.text.clone() + &calls.collect::<String>()
        }
    }
}

fn beside(item: &Item) -> i64 {
    let files = |files: &[FileOf]| i64::try_from(files.len()).unwrap_or(i64::MAX).saturating_mul(FILE);
    match item {
        Item::User(asked) => FRAME + files(&asked.files),
        Item::Tools(turn) => FRAME * (1 + i64::try_from(turn.calls.len()).unwrap_or_default()),
        Item::Assistant(_) | Item::Summary { .. } => FRAME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1b_no_text_weighs_nothing() {
        assert!(estimate("<|endoftext|>") >= 3, "special tokens count like other text");
        assert!(estimate("日本語テスト") >= 4);
        let prose = "the quick brown fox jumps over the lazy dog ".repeat(100);
        let tokens = estimate(&prose);
        assert!((900..1300).contains(&tokens), "{tokens}");
        assert_eq!(estimate(""), 0);
    }

    #[test]
    fn reports_correct_the_counts() {
        let weights = Weights::default();
        assert!((weights.factor("m") - 1.0).abs() < 1e-9);
        for _ in 0..20 {
            weights.learn("m", 100, 150);
        }
        assert!((weights.factor("m") - 1.5).abs() < 0.01, "{}", weights.factor("m"));
        weights.learn("m", 10, 1000);
        assert!((weights.factor("m") - 1.5).abs() < 0.01, "small windows say little");
        weights.learn("other", 100, 100_000);
        assert!(weights.factor("other") <= 4.0);
    }
}
