//! The catalogue at one moment: entries by name, and what a name stands for.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::entry::{Credentials, Embedding, Entry, Interface, Prices, entries_of};

static BUILTIN: &str = include_str!("builtin.json");

/// How own models and the built-in ones meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Own models are added and win.
    #[default]
    Merge,
    /// Only own models.
    Replace,
}

/// Entries by name. Immutable: a reload makes another.
#[derive(Debug, Default)]
pub struct Table {
    entries: BTreeMap<String, Entry>,
    digest: String,
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The entry's name.
    pub entry: String,
    /// The id at the provider.
    pub model_id: String,
    /// The provider; empty where no entry names one.
    pub provider: String,
    /// What a person sees.
    pub label: String,
    /// What it can.
    pub features: Vec<String>,
    /// Badges.
    pub tags: Vec<String>,
    /// Context window; 0 where unknown.
    pub tokens: u64,
    /// Longest answer; 0 where unknown.
    pub completion_tokens: u64,
    /// The provider's address, where an entry states one.
    pub base_url: Option<String>,
    /// How the key is found; none where the entry does not say.
    pub credentials: Option<Credentials>,
    /// Request parameters where the caller leaves them open.
    pub params: Map<String, Value>,
    /// Not shown in lists.
    pub hidden: bool,
    /// The vectors that it makes of texts; none where it makes none.
    pub embedding: Option<Embedding>,
    /// What it costs; none where nobody said.
    pub prices: Option<Prices>,
    /// Which of the provider's interfaces it is called by; the provider's usual one where none.
    pub interface: Option<Interface>,
}

impl Table {
    /// The built-in models, and own ones over or instead of them.
    pub fn new(own: BTreeMap<String, Value>, mode: Mode) -> Self {
        let mut raw = match mode {
            Mode::Merge => builtin(),
            Mode::Replace => BTreeMap::new(),
        };
        raw.extend(own);
        let digest = digest(&raw);
        let entries = raw
            .into_iter()
            .filter_map(|(name, value)| Entry::deserialize(value).ok().map(|entry| (name, entry)))
            .collect();
        Self { entries, digest }
    }

    /// Digest of the catalogue, without credentials.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// All names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// What a name stands for. A name that differs only in case resolves, with a warning.
    pub fn resolve(&self, name: &str) -> Option<Resolved> {
        let (entry, own) = self.find(name)?;
        let alias = own.alias.as_deref().filter(|alias| !alias.is_empty());
        let aliased = alias.and_then(|alias| self.entries.get(alias));
        let model_id = match alias {
            Some(alias) => aliased.and_then(|entry| entry.model_id.as_deref()).unwrap_or(alias),
            None => own.model_id.as_deref().unwrap_or(entry),
        };
        let by_id = self.entries.get(model_id);
        let provider = [
            by_id.and_then(|entry| entry.provider.as_deref()),
            own.provider.as_deref(),
            by_id.and_then(|entry| entry.llm.as_deref()),
            own.llm.as_deref(),
        ];
        let provider = provider.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or_default();
        // A field of the alias wins over the entry's; then the entry's own key options over both.
        let later = |field: fn(&Entry) -> Option<u64>, option: Option<u64>| {
            option.or_else(|| aliased.and_then(field)).or_else(|| field(own)).unwrap_or(0)
        };
        let options = own.key_options.as_ref();
        let list = |field: fn(&Entry) -> Option<&Vec<String>>| {
            aliased.and_then(field).or_else(|| field(own)).cloned().unwrap_or_default()
        };
        let mut params = own.params.clone();
        if let Some(aliased) = aliased.filter(|entry| !entry.params.is_empty()) {
            params.clone_from(&aliased.params);
        }
        Some(Resolved {
            entry: entry.to_owned(),
            model_id: model_id.to_owned(),
            provider: provider.to_owned(),
            label: own.label.clone().unwrap_or_else(|| entry.to_owned()),
            features: list(|entry| entry.features.as_ref()),
            tags: list(|entry| entry.tags.as_ref()),
            tokens: later(|entry| entry.tokens, options.and_then(|options| options.tokens)),
            completion_tokens: later(
                |entry| entry.completion_tokens,
                options.and_then(|options| options.completion_tokens),
            ),
            base_url: by_id.and_then(|entry| entry.base_url.clone()).or_else(|| own.base_url.clone()),
            credentials: aliased
                .and_then(|entry| entry.credentials.clone())
                .or_else(|| own.credentials.clone()),
            params,
            hidden: own.hidden,
            interface: own.interface.or_else(|| aliased.and_then(|entry| entry.interface)),
            embedding: aliased.and_then(|entry| entry.embedding).or(own.embedding),
            // Of the entry that was named, else of what it stands for.
            prices: own
                .prices
                .or_else(|| aliased.and_then(|entry| entry.prices))
                .or_else(|| by_id.and_then(|entry| entry.prices)),
        })
    }

    /// Names that resemble one that is not there, best first.
    pub fn nearest(&self, name: &str) -> Vec<&str> {
        let name = name.to_lowercase();
        let mut scored: Vec<_> = self
            .names()
            .map(|known| (strsim::jaro_winkler(&name, &known.to_lowercase()), known))
            .filter(|(score, _)| *score > 0.8)
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.into_iter().take(3).map(|(_, known)| known).collect()
    }

    fn find(&self, name: &str) -> Option<(&str, &Entry)> {
        if let Some((entry, own)) = self.entries.get_key_value(name) {
            return Some((entry, own));
        }
        let lower = name.to_lowercase();
        let (entry, own) = self.entries.iter().find(|(entry, _)| entry.to_lowercase() == lower)?;
        tracing::warn!(
            asked = name,
            found = entry,
            "model names are case-sensitive: write it as it is listed"
        );
        Some((entry, own))
    }
}

fn builtin() -> BTreeMap<String, Value> {
    let document = serde_json::from_str(BUILTIN).unwrap_or_default();
    entries_of(document).0.into_iter().collect()
}

fn digest(raw: &BTreeMap<String, Value>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, entry) in raw {
        let mut public = entry.clone();
        if let Value::Object(fields) = &mut public {
            // A digest of a short secret would be a way to guess it.
            fields.shift_remove("credentials");
        }
        hasher.update(name.as_bytes()).update(&[0]).update(public.to_string().as_bytes()).update(&[0]);
    }
    format!("b3:{}", hasher.finalize().to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table(own: Value) -> Table {
        let (entries, problems) = entries_of(own);
        assert_eq!(problems, Vec::<String>::new());
        Table::new(entries.into_iter().collect(), Mode::Replace)
    }

    #[test]
    fn the_built_in_table_is_whole() {
        let document: Value = serde_json::from_str(BUILTIN).unwrap();
        let (entries, problems) = entries_of(document.clone());
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(entries.len(), document.as_object().unwrap().len());
        let table = Table::new(BTreeMap::new(), Mode::Merge);
        for name in table.names() {
            let model = table.resolve(name).unwrap();
            let answers = model.completion_tokens > 0 || model.embedding.is_some();
            assert!(!model.provider.is_empty() && model.tokens > 0 && answers, "{name}");
            let says_so = model.features.iter().any(|feature| feature == "embeddings");
            assert_eq!(model.embedding.is_some(), says_so, "{name}");
        }
    }

    #[test]
    fn names_resolve_as_the_rules_say() {
        let table = table(json!({
            "plain": {"modelId": "p-1", "llm": "OpenAI", "tokens": 10, "completionTokens": 5},
            "old": {"modelId": "o", "alias": "new", "provider": "X", "tokens": 1, "baseURL": "http://old",
                    "features": ["text"], "keyOptions": {"completionTokens": 9}},
            "new": {"modelId": "n-1", "provider": "Y", "tokens": 2, "completionTokens": 3,
                    "features": ["text", "tools"], "keyOptions": {"tokens": 99}},
            "n-1": {"modelId": "n-1", "provider": "Z", "baseURL": "http://by-id"},
            "raw": {"modelId": "r", "alias": "some-raw-id", "provider": "X"},
        }));
        let plain = table.resolve("plain").unwrap();
        assert_eq!((plain.model_id.as_str(), plain.provider.as_str()), ("p-1", "OpenAI"));
        let old = table.resolve("old").unwrap();
        assert_eq!((old.model_id.as_str(), old.provider.as_str()), ("n-1", "Z"));
        assert_eq!(old.base_url.as_deref(), Some("http://by-id"));
        assert_eq!((old.tokens, old.completion_tokens), (2, 9));
        assert_eq!(old.features, ["text", "tools"]);
        let raw = table.resolve("raw").unwrap();
        assert_eq!((raw.model_id.as_str(), raw.provider.as_str()), ("some-raw-id", "X"));
        assert!(table.resolve("absent").is_none());
    }

    #[test]
    fn case_alone_is_forgiven() {
        let table = Table::new(BTreeMap::new(), Mode::Merge);
        assert_eq!(table.resolve("echo").unwrap().entry, "Echo");
        assert!(table.resolve("ech").is_none());
        assert_eq!(table.nearest("gpt-4o-mnii")[0], "gpt-4o-mini");
    }

    #[test]
    fn the_digest_knows_models_and_no_keys() {
        let one = table(json!({"a": {"modelId": "a", "credentials": {"apiKey": "1"}}}));
        let two = table(json!({"a": {"modelId": "a", "credentials": {"apiKey": "2"}}}));
        let three = table(json!({"a": {"modelId": "b"}}));
        assert_eq!(one.digest(), two.digest());
        assert_ne!(one.digest(), three.digest());
        assert!(!format!("{:?}", one.resolve("a")).contains('1'));
    }
}
