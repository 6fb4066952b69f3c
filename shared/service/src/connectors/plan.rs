//! Which instances the configuration asks for.

use serde_json::{Map, Value};

use super::Kind;
use crate::config::{Config, ConnectorEntry};

/// An instance to be opened.
pub(super) struct Planned<C: ?Sized + 'static> {
    pub(super) kind: &'static Kind<C>,
    pub(super) id: String,
    pub(super) settings: Map<String, Value>,
    pub(super) is_default: bool,
    pub(super) is_optional: bool,
}

/// The instances of a service in order; the built-in one where the configuration names none. An entry whose
/// connector nobody knows is an error of its own: the others can be planned.
pub(super) fn plan<C: ?Sized>(
    config: &Config,
    service: &str,
    kinds: &'static [Kind<C>],
    built_in: &str,
) -> Vec<(String, anyhow::Result<Planned<C>>)> {
    let entries = config.connectors.of(service);
    if entries.is_empty() {
        let planned = find(service, kinds, built_in, built_in, built_in).map(|kind| Planned {
            kind,
            id: built_in.to_owned(),
            settings: Map::new(),
            is_default: true,
            is_optional: false,
        });
        return vec![(built_in.to_owned(), planned)];
    }
    let default = config.connectors.default_of(service).map(ConnectorEntry::id);
    let planned = entries.iter().map(|entry| {
        let kind = find(service, kinds, built_in, &entry.connector, entry.canonical());
        let planned = kind.map(|kind| Planned {
            kind,
            id: entry.id().to_owned(),
            settings: entry.settings.clone(),
            is_default: default == Some(entry.id()),
            is_optional: entry.optional,
        });
        (entry.id().to_owned(), planned)
    });
    planned.collect()
}

/// The kind of a name: ours, or the reference's. Where a service has no kind for what the reference calls its
/// local or in-memory one, its built-in one is meant, which does at least as much.
fn find<C: ?Sized>(
    service: &str,
    kinds: &'static [Kind<C>],
    built_in: &str,
    written: &str,
    canonical: &str,
) -> anyhow::Result<&'static Kind<C>> {
    let named = |name: &str| kinds.iter().find(|kind| kind.name.eq_ignore_ascii_case(name));
    if let Some(kind) = named(written).or_else(|| named(canonical)) {
        return Ok(kind);
    }
    if matches!(canonical, "local" | "memory" | "file" | "embedded")
        && let Some(kind) = named(built_in)
    {
        return Ok(kind);
    }
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let near = |name: &str| strsim::jaro_winkler(name, &written.to_ascii_lowercase());
    let nearest = names.iter().max_by(|a, b| near(a).total_cmp(&near(b)));
    let hint = nearest.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
    anyhow::bail!("{service} knows no connector `{written}`{hint} There are: {}", names.join(", "))
}
