//! The rules by which a name becomes a model (llm.md 1.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::entry::{DeploymentEntry, Entry, FallbackEntry};
use super::resolved::{DeploymentLimits, Fallback, Origin, Resolved};

/// Entries by name.
pub type Entries = BTreeMap<String, Entry>;

/// What an entry stands for, with what its alias and the entry of its model id say.
pub fn resolve(entries: &Entries, entry: &str, own: &Entry, origin: &Origin) -> Resolved {
    let alias = own.alias.as_deref().filter(|alias| !alias.is_empty());
    let aliased = alias.and_then(|alias| entries.get(alias));
    // Clouds have a model of the team's own, made of one of theirs.
    let setting = |name: &str| own.settings.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let cloud = setting("customModel").or_else(|| setting("foundationModel"));
    let model_id = match alias {
        _ if cloud.is_some() => cloud.unwrap_or_default(),
        Some(alias) => aliased.and_then(|entry| entry.model_id.as_deref()).unwrap_or(alias),
        None => own.model_id.as_deref().unwrap_or(entry),
    };
    let by_id = entries.get(model_id);
    let provider = [
        by_id.and_then(|entry| entry.provider.as_deref()),
        own.provider.as_deref(),
        by_id.and_then(|entry| entry.llm.as_deref()),
        own.llm.as_deref(),
    ];
    let provider = provider.into_iter().flatten().find(|name| !name.is_empty()).unwrap_or_default();
    // A field of the alias wins over the entry's; then the entry's own key options over both.
    let options = own.key_options.as_ref();
    let of_alias = aliased.and_then(|entry| entry.key_options.as_ref());
    let later = |field: fn(&Entry) -> Option<u64>, alias: Option<u64>, option: Option<u64>| {
        option.or(alias).or_else(|| aliased.and_then(field)).or_else(|| field(own)).unwrap_or(0)
    };
    let limits = |with_own_key: bool| {
        let alias = of_alias.filter(|_| with_own_key);
        (
            later(
                |entry| entry.tokens,
                alias.and_then(|options| options.tokens),
                options.and_then(|options| options.tokens),
            ),
            later(
                |entry| entry.completion_tokens,
                alias.and_then(|options| options.completion_tokens),
                options.and_then(|options| options.completion_tokens),
            ),
        )
    };
    let (tokens, completion_tokens) = limits(false);
    let own_key = limits(true);
    let list = |field: fn(&Entry) -> Option<&Vec<String>>| {
        aliased.and_then(field).or_else(|| field(own)).cloned().unwrap_or_default()
    };
    let map = |field: fn(&Entry) -> &Map<String, Value>| {
        let of_alias = aliased.map(field).filter(|map| !map.is_empty());
        of_alias.unwrap_or_else(|| field(own)).clone()
    };
    let any_prices = [Some(own), aliased, by_id].into_iter().flatten().find_map(|entry| entry.prices.clone());
    let enabled = own.enabled.unwrap_or(true) || options.and_then(|options| options.enabled) == Some(true);
    let mut resolved = Resolved {
        entry: entry.to_owned(),
        model_id: model_id.to_owned(),
        provider: provider.to_owned(),
        label: own.label.clone().unwrap_or_else(|| entry.to_owned()),
        features: list(|entry| entry.features.as_ref()),
        tags: list(|entry| entry.tags.as_ref()),
        tokens,
        completion_tokens,
        own_key_tokens: (own_key != (tokens, completion_tokens)).then_some(own_key),
        base_url: by_id.and_then(|entry| entry.base_url.clone()).or_else(|| own.base_url.clone()),
        // A team's entry may stand for one of the operator's, but not send its key to an address of the team's (D29).
        credentials: aliased
            .filter(|_| origin.is_operator())
            .and_then(|entry| entry.credentials.clone())
            .or_else(|| own.credentials.clone()),
        params: map(|entry| &entry.params),
        hidden: own.hidden,
        disabled: !enabled,
        embedding: aliased.and_then(|entry| entry.embedding).or(own.embedding),
        // Of the entry that was named, else of what it stands for.
        prices: any_prices.map(Arc::new),
        interface: aliased.and_then(|entry| entry.interface).or(own.interface),
        reasoning_style: aliased
            .and_then(|entry| entry.reasoning_style)
            .or(own.reasoning_style)
            .or_else(|| by_id.and_then(|entry| entry.reasoning_style))
            .unwrap_or_default(),
        max_reasoning_tokens: own.max_reasoning_tokens,
        fallbacks: fallbacks(own, by_id),
        deployments: Vec::new(),
        routing: own.routing.unwrap_or_default(),
        deployment: String::new(),
        weight: 1,
        limits: DeploymentLimits::default(),
        settings: map(|entry| &entry.settings),
        supports: supports(own, aliased),
        origin: origin.clone(),
        version: String::new(),
    };
    let places: Vec<_> =
        own.deployments.iter().enumerate().map(|(at, place)| deployment(&resolved, at, place)).collect();
    resolved.deployments = places.into_iter().map(Arc::new).collect();
    resolved
}

/// What a model object in a request stands for: what it says, over what the entry that it names says.
pub fn inline(base: Option<&Resolved>, object: &Map<String, Value>) -> Result<Resolved, String> {
    let own = Entry::deserialize(Value::Object(object.clone())).map_err(|error| error.to_string())?;
    if let Some(problem) = own.prices.as_ref().and_then(super::prices::PriceTable::problem) {
        return Err(problem);
    }
    let Some(model_id) = own.model_id.clone().filter(|id| !id.is_empty()) else {
        return Err("needs a string `modelId`".to_owned());
    };
    let said = resolve(&Entries::new(), &model_id, &own, &Origin::Inline);
    let has = |field: &str| object.contains_key(field);
    let mut model = base.cloned().unwrap_or_else(|| said.clone());
    let elsewhere = ["baseURL", "credentials", "provider", "llm", "settings", "deployments"];
    if base.is_none() || elsewhere.into_iter().any(has) {
        // It goes elsewhere, so the entry's own key and places are not for it (D29).
        model.origin = Origin::Inline;
        model.credentials = None;
        model.deployments = Vec::new();
    }
    model.model_id = said.model_id;
    // An object that names its provider means that one; else the entry's counts.
    if !said.provider.is_empty() {
        model.provider = said.provider;
    }
    macro_rules! take {
        ($($field:ident if $($name:literal)|+;)*) => {
            $(if $(has($name))||+ { model.$field = said.$field; })*
        };
    }
    take! {
        base_url if "baseURL";
        fallbacks if "fallbackLLM" | "fallbacks";
        credentials if "credentials";
        features if "features";
        params if "params";
        settings if "settings";
        interface if "interface";
        reasoning_style if "reasoningStyle";
        embedding if "embedding";
    }
    if said.tokens > 0 {
        model.tokens = said.tokens;
    }
    if said.completion_tokens > 0 {
        model.completion_tokens = said.completion_tokens;
    }
    if base.is_none() {
        model.entry = object.get("modelEntryName").and_then(Value::as_str).unwrap_or(&model_id).to_owned();
        // What a caller says of prices is no reason to believe it.
        model.prices = None;
    }
    // It is no version of the entry, so no answer is kept under the entry's name.
    model.version = String::new();
    Ok(model)
}

fn fallbacks(own: &Entry, by_id: Option<&Entry>) -> Vec<Fallback> {
    let mut all: Vec<Fallback> = own
        .fallbacks
        .iter()
        .map(|entry| match entry {
            FallbackEntry::Name(model) => Fallback { model: model.clone(), on: Vec::new(), plain: false },
            FallbackEntry::When { model, on } => {
                Fallback { model: model.clone(), on: on.clone(), plain: false }
            }
        })
        .collect();
    let reference = by_id.and_then(|entry| entry.fallback_llm.as_ref()).or(own.fallback_llm.as_ref());
    if let Some(model) = reference.filter(|model| !model.is_empty()) {
        let any = vec!["any".to_owned()];
        all.push(Fallback { model: model.clone(), on: any, plain: own.is_user_custom });
    }
    all
}

fn supports(own: &Entry, aliased: Option<&Entry>) -> Map<String, Value> {
    let of = |entry: &Entry| {
        let named = |(name, _): &(&String, &Value)| name.starts_with("supports");
        entry.more.iter().filter(named).map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
    };
    of(own).into_iter().chain(aliased.map(of).unwrap_or_default()).collect()
}

fn deployment(model: &Resolved, at: usize, place: &DeploymentEntry) -> Resolved {
    let mut settings = model.settings.clone();
    settings.extend(place.settings.clone());
    if let Some(region) = &place.region {
        settings.insert("region".to_owned(), Value::String(region.clone()));
    }
    Resolved {
        deployment: place.name.clone().unwrap_or_else(|| (at + 1).to_string()),
        provider: place.provider.clone().unwrap_or_else(|| model.provider.clone()),
        model_id: place.model_id.clone().unwrap_or_else(|| model.model_id.clone()),
        base_url: place.base_url.clone().or_else(|| model.base_url.clone()),
        credentials: place.credentials.clone().or_else(|| model.credentials.clone()),
        weight: place.weight.unwrap_or(1),
        limits: DeploymentLimits {
            concurrency: place.concurrency,
            requests_per_minute: place.requests_per_minute,
            tokens_per_minute: place.tokens_per_minute,
        },
        settings,
        ..model.clone()
    }
}
