use serde_json::json;

use super::*;
use crate::models::{CredentialMode, Interface, ReasoningStyle};

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
    let one = table(json!({"a": {"modelId": "a", "credentials": {"apiKey": "sk-canary"}}}));
    let two = table(json!({"a": {"modelId": "a", "credentials": {"apiKey": "2"}}}));
    let three = table(json!({"a": {"modelId": "b"}}));
    assert_eq!(one.digest(), two.digest());
    assert_ne!(one.digest(), three.digest());
    assert!(!format!("{:?}", one.resolve("a")).contains("canary"));
}

#[test]
fn d25_what_looks_like_a_number_stays_what_it_is() {
    let table =
        table(json!({"42": {"modelId": "007", "provider": "X", "params": {"stopSequences": ["1", "\n"]}}}));
    let model = table.resolve("42").unwrap();
    assert_eq!((model.entry.as_str(), model.model_id.as_str()), ("42", "007"));
    assert_eq!(model.params["stopSequences"], json!(["1", "\n"]));
}

#[test]
fn d30_an_unknown_model_is_unknown_and_the_table_stays_as_it_is() {
    let table = Table::new(BTreeMap::new(), Mode::Merge);
    let before = (table.digest().to_owned(), table.names().count());
    assert!(table.resolve("gpt-4o-mnii").is_none(), "nothing is put in its place");
    assert_eq!(before, (table.digest().to_owned(), table.names().count()));
}

#[test]
fn d41_components_may_write_echo() {
    let table = Table::new(BTreeMap::new(), Mode::Merge);
    assert_eq!(table.resolve("echo").unwrap().entry, "Echo");
}

#[test]
fn key_options_of_the_entry_are_everybodys_and_those_of_the_alias_are_for_own_keys() {
    let table = table(json!({
        "own": {"modelId": "m", "provider": "X", "tokens": 0, "completionTokens": 0,
                "keyOptions": {"tokens": 7, "completionTokens": 3}},
        "by": {"modelId": "n", "alias": "own", "tokens": 1, "completionTokens": 1},
    }));
    let own = table.resolve("own").unwrap();
    assert_eq!((own.tokens, own.completion_tokens, own.own_key_tokens), (7, 3, None));
    let by = table.resolve("by").unwrap();
    assert_eq!((by.tokens, by.completion_tokens, by.own_key_tokens), (0, 0, Some((7, 3))));
}

#[test]
fn entries_say_where_how_and_who_else() {
    let table = table(json!({"m": {
        "modelId": "m-1", "provider": "OpenAI", "interface": "responses", "reasoningStyle": "openai_effort",
        "supportsSystemPrompt": false, "fallbackLLM": "last",
        "fallbacks": ["b", {"model": "c", "on": ["context_length"]}],
        "routing": "least_in_flight",
        "deployments": [
            {"name": "east", "baseURL": "https://east.example/v1", "weight": 3, "concurrency": 2},
            {"provider": "Bedrock", "modelId": "m.v1", "region": "eu-1", "credentials": "bedrock_vault"},
        ],
    }}));
    let model = table.resolve("m").unwrap();
    assert_eq!(model.interface, Some(Interface::Responses));
    assert_eq!(model.reasoning_style, ReasoningStyle::OpenAiEffort);
    assert_eq!(model.supports("supportsSystemPrompt"), Some(false));
    let after: Vec<_> = model.fallbacks.iter().map(|next| (next.model.as_str(), next.on.len())).collect();
    assert_eq!(after, [("b", 0), ("c", 1), ("last", 1)]);
    let places: Vec<_> = model.deployments.iter().map(|place| place.deployment.as_str()).collect();
    assert_eq!(places, ["east", "2"]);
    let (east, second) = (&model.deployments[0], &model.deployments[1]);
    assert_eq!((east.model_id.as_str(), east.weight, east.limits.concurrency), ("m-1", 3, Some(2)));
    assert_eq!((second.provider.as_str(), second.model_id.as_str()), ("Bedrock", "m.v1"));
    assert_eq!(second.setting("region"), Some("eu-1"));
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn a_model_object_counts_before_what_its_entry_says() {
    let table = table(json!({
        "e": {"modelId": "e-1", "provider": "OpenAI", "tokens": 9, "completionTokens": 4, "baseURL": "http://e",
              "credentials": {"apiKey": "operator"}, "fallbackLLM": "x", "features": ["text"]},
    }));
    let inline = |value: Value| table.resolve_inline(&object(value));
    let same = inline(json!({"modelId": "e", "tokens": 5})).unwrap();
    assert_eq!((same.model_id.as_str(), same.provider.as_str(), same.tokens), ("e", "OpenAI", 5));
    assert_eq!(same.base_url.as_deref(), Some("http://e"));
    assert_eq!(same.origin, Origin::Operator, "nothing of it goes elsewhere");
    let own = inline(
        json!({"modelId": "mine", "provider": "Ollama", "baseURL": "https://mine", "fallbackLLM": ""}),
    );
    let own = own.unwrap();
    assert_eq!((own.entry.as_str(), own.provider.as_str()), ("mine", "Ollama"));
    assert!(own.fallbacks.is_empty());
    assert!(inline(json!({"provider": "X"})).is_err(), "without a model id it is no model");
}

#[test]
fn d29_an_entrys_key_does_not_go_where_a_caller_or_a_team_says() {
    let table =
        table(json!({"e": {"modelId": "e-1", "provider": "OpenAI", "credentials": {"apiKey": "operator"}}}));
    for said in [
        json!({"modelId": "e", "baseURL": "https://evil.example"}),
        json!({"modelId": "e-1", "modelEntryName": "e", "provider": "Ollama"}),
        json!({"modelId": "e", "settings": {"region": "evil"}}),
    ] {
        let model = table.resolve_inline(&object(said)).unwrap();
        assert_eq!(model.origin, Origin::Inline);
        assert!(model.credentials.is_none());
    }
    let team = entries_of(json!({"t": {"modelId": "x", "alias": "e", "baseURL": "https://evil.example"},
                                 "e": {"modelId": "mine", "provider": "OpenAI", "credentials": "internal"}}));
    let over = table.with_team("red", team.0.into_iter().collect());
    let model = over.resolve("t").unwrap();
    assert!(model.credentials.is_none() && model.origin == Origin::Team("red".into()));
    let collides = over.resolve("e").unwrap();
    assert_eq!((collides.model_id.as_str(), &collides.origin), ("mine", &Origin::Team("red".into())));
    let modes = collides.credentials.as_ref().unwrap().modes();
    assert!(matches!(modes, [CredentialMode::Named(name)] if name == "internal"));
    assert!(table.resolve("t").is_none(), "the table of everybody is not changed");
}

#[test]
fn versions_change_with_what_an_entry_says_and_with_its_alias() {
    let version = |tokens: u64, key: &str| {
        let table = table(json!({
            "a": {"modelId": "a", "alias": "b"},
            "b": {"modelId": "b", "tokens": tokens, "credentials": {"apiKey": key}},
        }));
        table.resolve("a").unwrap().version.clone()
    };
    assert_eq!(version(1, "x"), version(1, "y"));
    assert_ne!(version(1, "x"), version(2, "x"));
}

/// What the documents say is what the code does.
#[test]
fn d46_the_default_mode_merges_and_credentials_are_spelt_one_way() {
    assert_eq!(Mode::default(), Mode::Merge);
    assert_eq!(sre_service::config::Models::default().mode, sre_service::config::ModelsMode::Merge);
    let known = ["none", "internal", "vault", "bedrock_vault", "vertexai_vault"];
    let table = Table::new(BTreeMap::new(), Mode::Merge);
    for name in table.names() {
        let model = table.resolve(name).unwrap();
        for mode in model.credentials.as_ref().map(|all| all.modes()).unwrap_or_default() {
            assert!(matches!(mode, CredentialMode::Named(mode) if known.contains(&mode.as_str())), "{name}");
        }
    }
    let words = include_str!("../../../../docs/models.md");
    assert!(known.into_iter().all(|mode| words.contains(&format!("| `{mode}` |"))));
}
