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
    Resolved { credentials, ..table.resolve("gpt-4o").unwrap() }
}

async fn key(model: &Resolved, environment: &[(&str, &str)], vault: Vault) -> Result<Option<String>, String> {
    let environment = Environment::of(environment);
    let found = find(model, dialect("OpenAI").unwrap().environment, &environment, &vault).await;
    found.map(|key| key.map(|key| key.expose_secret().to_owned())).map_err(|error| match error {
        InferenceError::KeyMissing { key, .. } => key,
        other => panic!("{other}"),
    })
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
async fn a_key_goes_to_no_other_host_unasked() {
    let env = &[("OPENAI_API_KEY", "e")];
    let elsewhere = Resolved { base_url: Some("https://other.example/v1".to_owned()), ..model(json!(null)) };
    assert_eq!(key(&elsewhere, env, Vault(&[("openai", "v")])).await, Ok(None));
    // Asked for by the operator's file, it does.
    let asked = Resolved { base_url: elsewhere.base_url.clone(), ..model(json!("internal")) };
    assert_eq!(key(&asked, env, Vault(&[])).await, Ok(Some("e".to_owned())));
}

#[test]
fn what_is_needed_is_told_without_values() {
    let openai = dialect("OpenAI").unwrap().environment;
    let none = Environment::default();
    let set = Environment::of(&[("OPENAI_API_KEY", "e")]);
    let one = |key: &str| Need::AnyOf(vec![key.to_owned()]);
    assert_eq!(need(&model(json!(["vault", "internal"])), openai, &none), one("openai"));
    assert_eq!(need(&model(json!(["vault", "internal"])), openai, &set), Need::Nothing);
    assert_eq!(need(&model(json!({"apiKey": "{{KEY(mine)}}"})), openai, &set), one("mine"));
    assert_eq!(need(&model(json!({"apiKey": "x"})), openai, &none), Need::Nothing);
    assert_eq!(need(&model(json!("none")), openai, &none), Need::Nothing);
}
