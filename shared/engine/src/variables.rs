//! Agent variables: text an author wrote, which may name other variables, inputs and vault keys.
//!
//! Variables are expanded among themselves when the plan is made. What a run adds (vault keys, inputs) is
//! inserted as data: it is never looked at again. A variable whose vault key cannot be had is missing, and
//! the component that uses it fails with the key's name (rulings 27).

use std::sync::Arc;

use crate::template::{self, Data, Escape, Part, Secrets};
use crate::value::{Map, Value};

/// Passes of mutual expansion; a chain that needs more stays partly unresolved.
const PASSES: usize = 5;
/// Longest text that expansion may produce.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// The variables of a plan, expanded among themselves.
#[derive(Clone, Debug, Default)]
pub struct VariableTable {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Arc<str>,
    text: Arc<str>,
    keys: Vec<Arc<str>>,
    /// Names something that only an input can give.
    dynamic: bool,
}

impl VariableTable {
    /// Expands variables among themselves.
    pub fn new(variables: &[(Arc<str>, Arc<str>)]) -> Self {
        let entries = variables
            .iter()
            .map(|(name, text)| {
                let text = expand(text, variables);
                let keys = template::keys(&text).map(Arc::from).collect();
                let dynamic = template::tokens(&text).next().is_some();
                Entry { name: name.clone(), text: text.into(), keys, dynamic }
            })
            .collect();
        Self { entries }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names, in document order.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.iter().map(|entry| &entry.name)
    }

    /// The position of a variable.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.name.as_ref() == name)
    }

    /// The vault keys they name, each once.
    pub fn secret_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = self.entries.iter().flat_map(|entry| entry.keys.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Resolves the vault keys.
    pub fn resolve(&self, secrets: &Secrets) -> Variables {
        let resolve = |entry: &Entry| match entry.keys.iter().find(|key| secrets.get(key).is_none()) {
            Some(key) => Resolved::Missing(key.clone()),
            None if entry.dynamic => Resolved::Dynamic(entry.text.clone()),
            None => Resolved::Fixed(Value::from(fill(&entry.text, None, secrets))),
        };
        let entries: Vec<_> = self.entries.iter().map(|entry| (entry.name.clone(), resolve(entry))).collect();
        Variables {
            any_missing: entries.iter().any(|(_, value)| matches!(value, Resolved::Missing(_))),
            entries,
            secrets: secrets.clone(),
        }
    }
}

fn expand(text: &str, variables: &[(Arc<str>, Arc<str>)]) -> String {
    let mut text = text.to_owned();
    for _ in 0..PASSES {
        let mut changed = false;
        let mut next = String::with_capacity(text.len());
        for part in template::parts(&text) {
            match part {
                Part::Text(plain) => next.push_str(plain),
                Part::Key(name) => next.push_str(&format!("{{{{KEY({name})}}}}")),
                Part::Token(token) => match variables.iter().find(|(name, _)| name.as_ref() == token) {
                    Some((_, value)) => {
                        next.push_str(value);
                        changed = true;
                    }
                    None => next.push_str(&format!("{{{{{token}}}}}")),
                },
            }
        }
        if !changed || next.len() > MAX_TEXT_BYTES {
            break;
        }
        text = next;
    }
    text
}

struct Filler<'a> {
    inputs: Option<&'a Map>,
    secrets: &'a Secrets,
}

impl Data for Filler<'_> {
    fn lookup(&self, token: &str) -> Option<Value> {
        self.inputs?.lookup(token)
    }

    fn secret(&self, name: &str) -> Option<Arc<str>> {
        self.secrets.get(name).cloned()
    }
}

fn fill(text: &str, inputs: Option<&Map>, secrets: &Secrets) -> String {
    // Keys without a secret stay text here; the caller has looked before.
    template::render(text, &Filler { inputs, secrets }, Escape::Prose).unwrap_or_else(|_| text.to_owned())
}

/// The variables of a run. `Debug` shows names only: values may hold secrets.
#[derive(Clone, Default)]
pub struct Variables {
    entries: Vec<(Arc<str>, Resolved)>,
    any_missing: bool,
    secrets: Secrets,
}

#[derive(Clone)]
enum Resolved {
    Fixed(Value),
    Dynamic(Arc<str>),
    Missing(Arc<str>),
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.iter().map(|(name, _)| name)).finish()
    }
}

impl Variables {
    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Variables with the inputs over them, each variable that names inputs filled with these.
    pub fn under(&self, inputs: Map) -> Map {
        if self.entries.is_empty() {
            return inputs;
        }
        let mut merged = Map::with_capacity(self.entries.len() + inputs.len());
        for (name, resolved) in &self.entries {
            let value = match resolved {
                Resolved::Fixed(value) => value.clone(),
                Resolved::Dynamic(text) => Value::from(fill(text, Some(&inputs), &self.secrets)),
                Resolved::Missing(_) => continue,
            };
            merged.insert(name.clone(), value);
        }
        merged.extend(inputs);
        merged
    }

    /// The values alone, as far as they can be had.
    pub fn values(&self) -> Map {
        self.under(Map::new())
    }

    /// The vault key that the variable at `position` lacks.
    pub fn missing_key(&self, position: usize) -> Option<&Arc<str>> {
        if !self.any_missing {
            return None;
        }
        match self.entries.get(position) {
            Some((_, Resolved::Missing(key))) => Some(key),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(variables: &[(&str, &str)]) -> VariableTable {
        let owned: Vec<_> = variables.iter().map(|(n, t)| (Arc::from(*n), Arc::from(*t))).collect();
        VariableTable::new(&owned)
    }

    fn text(variables: &Map, name: &str) -> String {
        variables[name].to_text()
    }

    #[test]
    fn variables_name_each_other() {
        let table = table(&[
            ("greet", "Hello"),
            ("msg", "{{greet}} {{name}}!"),
            ("name", "World"),
            ("a", "x{{a}}"),
            ("pre", "pre {{KEY(K)}}"),
        ]);
        let mut secrets = Secrets::new();
        secrets.insert("K", "s{{greet}}");
        let values = table.resolve(&secrets).values();
        assert_eq!(text(&values, "msg"), "Hello World!");
        assert_eq!(text(&values, "a"), "xxxxxx{{a}}");
        assert_eq!(text(&values, "pre"), "pre s{{greet}}");
    }

    #[test]
    fn a_missing_key_makes_the_variable_missing() {
        let table = table(&[("bad", "{{KEY(nope)}}"), ("via", "{{bad}}"), ("good", "g")]);
        let variables = table.resolve(&Secrets::new());
        assert_eq!(variables.missing_key(0).map(AsRef::as_ref), Some("nope"));
        assert_eq!(variables.missing_key(1).map(AsRef::as_ref), Some("nope"));
        assert_eq!(variables.missing_key(2), None);
        assert_eq!(variables.values().len(), 1);
    }

    #[test]
    fn inputs_win_and_fill_variables_as_data() {
        let table = table(&[("prompt", "ask {{q}}"), ("q2", "x")]);
        let variables = table.resolve(&Secrets::new());
        let inputs: Map = [("q".into(), Value::from("{{q2}}")), ("q2".into(), Value::from("own"))].into();
        let merged = variables.under(inputs);
        assert_eq!(text(&merged, "prompt"), "ask {{q2}}");
        assert_eq!(text(&merged, "q2"), "own");
    }

    #[test]
    fn expansion_is_bounded() {
        let bomb = "{{b}}".repeat(1000);
        let variables = table(&[("b", &bomb)]).resolve(&Secrets::new());
        assert!(variables.values()["b"].to_text().len() <= MAX_TEXT_BYTES);
    }
}
