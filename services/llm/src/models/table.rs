//! The catalogue at one moment: entries by name, and what a name stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::entry::{Entry, entries_of};
use super::resolve::{Entries, inline, resolve};
use super::resolved::{Origin, Resolved};

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
    entries: Entries,
    /// What each entry stands for: a call shares it.
    resolved: BTreeMap<String, Arc<Resolved>>,
    /// Names by their lower case, for those that differ in nothing else.
    folded: BTreeMap<String, String>,
    digest: String,
}

impl Table {
    /// The built-in models, and own ones over or instead of them.
    pub fn new(own: BTreeMap<String, Value>, mode: Mode) -> Self {
        let mut raw = match mode {
            Mode::Merge => builtin(),
            Mode::Replace => BTreeMap::new(),
        };
        raw.extend(own);
        Self::of(raw, None)
    }

    /// The table with a team's models over its own. Entries of the operator's keep their rights, whatever a team
    /// calls its own.
    pub fn with_team(&self, team: &str, own: BTreeMap<String, Value>) -> Self {
        Self::of(own, Some((team, self)))
    }

    fn of(raw: BTreeMap<String, Value>, over: Option<(&str, &Self)>) -> Self {
        let mut digest = blake3::Hasher::new();
        if let Some((_, base)) = over {
            digest.update(base.digest.as_bytes());
        }
        let mut versions = BTreeMap::new();
        let mut entries = over.map(|(_, base)| base.entries.clone()).unwrap_or_default();
        let mut own = Vec::new();
        for (name, value) in raw {
            let version = fingerprint(&name, &value);
            digest.update(version.as_bytes());
            versions.insert(name.clone(), version);
            if let Ok(entry) = Entry::deserialize(value) {
                entries.insert(name.clone(), entry);
                own.push(name);
            }
        }
        let origin = over.map_or(Origin::Operator, |(team, _)| Origin::Team(team.to_owned()));
        let mut resolved = over.map(|(_, base)| base.resolved.clone()).unwrap_or_default();
        for name in own {
            let Some(entry) = entries.get(&name) else { continue };
            let mut model = resolve(&entries, &name, entry, &origin);
            // What its alias says is part of what it is.
            let parts = [Some(name.as_str()), entry.alias.as_deref(), Some(model.model_id.as_str())];
            let mut version = blake3::Hasher::new();
            for part in parts.into_iter().flatten() {
                version.update(versions.get(part).map_or(&[][..], |version| version.as_bytes()));
            }
            model.version = version.finalize().to_hex()[..16].to_owned();
            resolved.insert(name, Arc::new(model));
        }
        let mut folded: BTreeMap<String, String> = BTreeMap::new();
        for name in resolved.keys() {
            folded.entry(name.to_lowercase()).or_insert_with(|| name.clone());
        }
        Self { entries, resolved, folded, digest: format!("b3:{}", digest.finalize().to_hex()) }
    }

    /// Digest of the catalogue, without credentials.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// All names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.resolved.keys().map(String::as_str)
    }

    /// What a name stands for. A name that differs only in case resolves, with a warning (D41).
    pub fn resolve(&self, name: &str) -> Option<Arc<Resolved>> {
        if let Some(model) = self.resolved.get(name) {
            return Some(Arc::clone(model));
        }
        let found = self.folded.get(&name.to_lowercase())?;
        tracing::warn!(asked = name, found, "model names are case-sensitive: write it as it is listed");
        self.resolved.get(found).cloned()
    }

    /// What a model object in a request stands for; why it is none otherwise.
    pub fn resolve_inline(&self, object: &Map<String, Value>) -> Result<Arc<Resolved>, String> {
        let named = ["modelEntryName", "modelId"].into_iter().filter_map(|field| object.get(field)?.as_str());
        let base = named.filter_map(|name| self.resolved.get(name)).next();
        inline(base.map(AsRef::as_ref), object).map(Arc::new)
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
}

fn builtin() -> BTreeMap<String, Value> {
    let document = serde_json::from_str(BUILTIN).unwrap_or_default();
    entries_of(document).0.into_iter().collect()
}

/// Names what an entry says. A digest of a short secret would be a way to guess it, so credentials are left out.
fn fingerprint(name: &str, entry: &Value) -> String {
    let mut public = entry.clone();
    without_credentials(&mut public);
    let mut hasher = blake3::Hasher::new();
    hasher.update(name.as_bytes()).update(&[0]).update(public.to_string().as_bytes()).update(&[0]);
    hasher.finalize().to_hex().to_string()
}

fn without_credentials(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.shift_remove("credentials");
            fields.values_mut().for_each(without_credentials);
        }
        Value::Array(items) => items.iter_mut().for_each(without_credentials),
        _ => {}
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
