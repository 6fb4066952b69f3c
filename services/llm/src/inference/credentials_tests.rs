use serde_json::json;

use super::*;
use crate::inference::providers::dialect;
use crate::models::{Credentials, Mode, Table};

struct Vault(&'static [(&'static str, &'static str)]);

#[async_trait]
impl Secrets for Vault {
    async fn access(&self, key: &str) -> Result<Option<SecretString>, Status> {
        Ok(self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| (*value).into()))
    }

    async fn keys(&self) -> Result<BTreeSet<String>, Status> {
        Ok(self.0.iter().map(|(key, _)| (*key).to_owned()).collect())
    }
}

fn model(credentials: serde_json::Value) -> Resolved {
    let table = Table::new(Default::default(), Mode::Merge);
    let credentials: Option<Credentials> = serde_json::from_value(credentials).unwrap();
    Resolved { credentials, ..Resolved::clone(&table.resolve("gpt-4o").unwrap()) }
}

fn search<'a>(model: &'a Resolved, environment: &'a Environment, pinned: bool) -> Search<'a> {
    Search { model, variable: dialect("OpenAI").unwrap().environment, environment, pinned }
}

async fn found(
    model: &Resolved,
    environment: &[(&str, &str)],
    vault: Vault,
    pinned: bool,
) -> Result<Option<Key>, String> {
    let environment = Environment::of(environment);
    search(model, &environment, pinned).find(&vault).await.map_err(|error| match error {
        InferenceError::KeyMissing { key, .. } => key,
        other => panic!("{other}"),
    })
}

fn text(key: &Key, field: &str) -> String {
    key.field(field).map(|value| value.expose_secret().to_owned()).unwrap_or_default()
}

async fn key(model: &Resolved, environment: &[(&str, &str)], vault: Vault) -> Result<Option<String>, String> {
    Ok(found(model, environment, vault, true).await?.map(|key| text(&key, "apiKey")))
}

#[tokio::test]
async fn the_first_way_that_yields_a_key_counts() {
    let full = Vault(&[("openai", "v"), ("mine", "m")]);
    let env = &[("OPENAI_API_KEY", "e"), ("OTHER", "o")];
    let some = |text: &str| Ok(Some(text.to_owned()));
    for (credentials, expected) in [
        (json!(null), some("e")),
        (json!("internal"), some("e")),
        (json!("vault"), some("v")),
        (json!(["vault", "internal"]), some("v")),
        (json!("none"), Ok(None)),
        (json!({}), Ok(None)),
        (json!({"apiKey": "inline"}), some("inline")),
        (json!({"apiKey": "{{KEY(mine)}}"}), some("m")),
        (json!({"apiKey": "a {{KEY(mine)}} b {{KEY(openai)}}"}), some("a m b v")),
        (json!({"apiKey": "$env(OTHER)"}), some("o")),
        (json!([{"apiKey": "{{KEY(absent)}}"}, "internal"]), some("e")),
        (json!({"apiKey": "{{KEY(absent)}}"}), Err("absent".to_owned())),
        (json!({"apiKey": "$env(ABSENT)"}), Err("ABSENT".to_owned())),
    ] {
        let model = model(credentials.clone());
        assert_eq!(key(&model, env, Vault(full.0)).await, expected, "{credentials}");
    }
    assert_eq!(key(&model(json!(["vault", "internal"])), &[], Vault(&[])).await, Err("openai".to_owned()));
}

#[tokio::test]
async fn an_object_gives_every_field_and_says_whose_it_is() {
    let object = json!({"user": "u", "inner": {"secret": "{{KEY(mine)}}", "port": 7}, "empty": ""});
    let key = found(&model(object), &[], Vault(&[("mine", "m")]), true).await.unwrap().unwrap();
    assert_eq!([text(&key, "user"), text(&key, "inner.secret"), text(&key, "inner.port")], ["u", "m", "7"]);
    assert!(key.is_own() && key.field("empty").is_none());
    assert!(!format!("{key:?}").contains('m'), "only names are shown");
    let said = json!({"apiKey": "x", "isUserKey": true});
    assert!(found(&model(said), &[], Vault(&[]), true).await.unwrap().unwrap().is_own());
    let theirs = found(&model(json!({"apiKey": "x"})), &[], Vault(&[]), true).await.unwrap().unwrap();
    assert!(!theirs.is_own());
}

fn cloud(provider: &str, credentials: serde_json::Value, settings: serde_json::Value) -> Resolved {
    let settings = settings.as_object().unwrap().clone();
    Resolved { provider: provider.into(), settings, ..model(credentials) }
}

#[tokio::test]
async fn clouds_take_several_fields() {
    let names = json!({"keyIDName": "id", "secretKeyName": "secret", "sessionKeyName": "session"});
    let bedrock = cloud("Bedrock", json!("bedrock_vault"), names);
    let whole = Vault(&[("id", "AK"), ("secret", "S"), ("session", "T")]);
    let key = found(&bedrock, &[], whole, true).await.unwrap().unwrap();
    assert_eq!(
        [text(&key, "accessKeyId"), text(&key, "secretAccessKey"), text(&key, "sessionToken")],
        ["AK", "S", "T"]
    );
    let partly = Vault(&[("id", "AK"), ("secret", "S")]);
    assert!(found(&bedrock, &[], partly, true).await.unwrap().unwrap().field("sessionToken").is_none());
    assert_eq!(found(&bedrock, &[], Vault(&[("id", "AK")]), true).await.unwrap_err(), "secret");
    let theirs = cloud("Bedrock", json!("internal"), json!({}));
    let env = &[("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "B")];
    let environment = Environment::of(env);
    let without_variable = Search { variable: None, ..search(&theirs, &environment, true) };
    let key = without_variable.find(&Vault(&[])).await.unwrap().unwrap();
    assert_eq!((text(&key, "accessKeyId"), key.is_own()), ("A".to_owned(), false));
}

#[tokio::test]
async fn d31_a_service_account_that_is_missing_or_no_json_is_passed_over() {
    let names = json!({"jsonCredentialsName": "sa"});
    let vertex = cloud("VertexAI", json!(["vertexai_vault", {"apiKey": "next"}]), names.clone());
    for vault in [Vault(&[]), Vault(&[("sa", "no json")]), Vault(&[("sa", "{}")])] {
        let key = found(&vertex, &[], vault, true).await.unwrap().unwrap();
        assert_eq!(text(&key, "apiKey"), "next");
    }
    let account = Vault(&[("sa", r#"{"client_email": "a@b", "private_key": "pem", "n": 1}"#)]);
    let key = found(&vertex, &[], account, true).await.unwrap().unwrap();
    assert_eq!((text(&key, "client_email"), text(&key, "private_key")), ("a@b".into(), "pem".into()));
    let alone = cloud("VertexAI", json!("vertexai_vault"), names);
    assert_eq!(found(&alone, &[], Vault(&[]), true).await.unwrap_err(), "sa");
}

#[tokio::test]
async fn d29_a_key_of_the_deployment_goes_to_no_other_host() {
    let env = &[("OPENAI_API_KEY", "e")];
    let elsewhere = Resolved { base_url: Some("https://other.example/v1".to_owned()), ..model(json!(null)) };
    assert_eq!(key(&elsewhere, env, Vault(&[("openai", "v")])).await, Ok(None));
    // Asked for by the operator's file, it does.
    let asked = Resolved { base_url: elsewhere.base_url.clone(), ..model(json!("internal")) };
    assert_eq!(key(&asked, env, Vault(&[])).await, Ok(Some("e".to_owned())));
    // Asked for by somebody else, under any spelling, it does not.
    for credentials in [
        json!("internal"),
        json!({"apiKey": "$env(OPENAI_API_KEY)"}),
        json!({"a": {"b": "$env(OPENAI_API_KEY)"}}),
    ] {
        let asked = Resolved { base_url: elsewhere.base_url.clone(), ..model(credentials) };
        assert!(found(&asked, env, Vault(&[]), false).await.is_err());
    }
}

#[test]
fn what_is_needed_is_told_without_values() {
    let none = Environment::default();
    let set = Environment::of(&[("OPENAI_API_KEY", "e")]);
    let one = |key: &str| Need::AnyOf(vec![key.to_owned()]);
    let need = |credentials, environment| search(&model(credentials), environment, true).need();
    assert_eq!(need(json!(["vault", "internal"]), &none), one("openai"));
    assert_eq!(need(json!(["vault", "internal"]), &set), Need::Nothing);
    assert_eq!(need(json!({"apiKey": "{{KEY(mine)}}"}), &set), one("mine"));
    assert_eq!(need(json!({"apiKey": "x"}), &none), Need::Nothing);
    assert_eq!(need(json!("none"), &none), Need::Nothing);
}
