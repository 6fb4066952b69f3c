//! Whether a declaration can be used. All that is wrong with it is said at once: its author reads it.

use std::collections::HashSet;

use prost::Message as _;
use serde_json::Value as Json;
use sre_engine::spec::OnUncertain;
use sre_proto::component::v1 as proto;

use super::schema::Schema;
use crate::registry::{REFERENCE_TYPES, registry};

/// The largest declaration.
pub const MAX_DESCRIPTION_BYTES: usize = 256 << 10;
/// How many settings, inputs, outputs, scopes or examples.
const MANY: usize = 64;
const LONGEST_NAME: usize = 64;
const LONGEST_VERSION: usize = 32;
const LONGEST_TEXT: usize = 4096;
/// Packages whose services a component may call as the agent. Secrets come with settings alone; runs, tokens and
/// people's decisions are none of its business.
const CALLABLE: [&str; 5] = ["agent", "memory", "llm", "io", "compute"];

/// Everything that is wrong with a declaration; nothing where it can be used.
pub fn problems(described: &proto::Description) -> Vec<String> {
    let mut found = Problems::default();
    if described.encoded_len() > MAX_DESCRIPTION_BYTES {
        found.say(format!("the description is larger than {MAX_DESCRIPTION_BYTES} bytes"));
        return found.0;
    }
    let name = described.r#type.as_str();
    if !is_type_name(name) {
        found.say(format!(
            "type {name:?}: write 1 to {LONGEST_NAME} letters, digits, dots, hyphens and underscores, a letter first"
        ));
    }
    if registry().built(name) || REFERENCE_TYPES.contains(&name) {
        found.say(format!("type {name:?} is a type of the suite: give it a name with a dot, `Acme.{name}`"));
    }
    if !is_version(&described.version) {
        found.say(format!(
            "version {:?}: write 1 to {LONGEST_VERSION} letters, digits, dots, plus signs and hyphens",
            described.version
        ));
    }
    found.text("the description", &described.description);
    found.settings(&described.settings);
    found.ports("input", &described.inputs);
    found.ports("output", &described.outputs);
    found.scopes(described);
    found.limits(described.limits.as_ref());
    if described.on_uncertain() == proto::OnUncertain::LookUp && !described.can_look_up {
        found.say("on_uncertain is ON_UNCERTAIN_LOOK_UP, but can_look_up is not set");
    }
    if proto::Effect::try_from(described.effect).is_err() {
        found.say(format!("effect {} is unknown", described.effect));
    }
    found.examples(&described.examples);
    found.0
}

/// Whether a text can be the name of a type.
pub fn is_type_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(inner)
}

fn is_version(version: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    (1..=LONGEST_VERSION).contains(&version.len()) && version.chars().all(inner)
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn say(&mut self, problem: impl Into<String>) {
        self.0.push(problem.into());
    }

    fn text(&mut self, what: &str, text: &str) {
        if text.trim().is_empty() {
            self.say(format!("{what} is empty: say what it is for"));
        } else if text.len() > LONGEST_TEXT {
            self.say(format!("{what} is longer than {LONGEST_TEXT} bytes"));
        }
    }

    fn names<'a>(&mut self, what: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = HashSet::new();
        let mut count = 0;
        for name in names {
            count += 1;
            if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
                self.say(format!("{what} {name:?}: a name has 1 to {LONGEST_NAME} bytes"));
            }
            if name.starts_with('_') || name == "error" {
                self.say(format!(
                    "{what} {name:?}: names that start with _, and `error`, are the engine's own"
                ));
            }
            if !seen.insert(name) {
                self.say(format!("{what} {name:?} is declared twice"));
            }
        }
        if count > MANY {
            self.say(format!("there are {count} {what}s: {MANY} at most"));
        }
    }

    fn schema(&mut self, what: &str, text: &[u8]) {
        if let Err(problem) = Schema::compile(text) {
            self.say(format!("{what}: {problem}"));
        }
    }

    fn settings(&mut self, settings: &[proto::Setting]) {
        self.names("setting", settings.iter().map(|setting| setting.name.as_str()));
        for setting in settings.iter().take(MANY) {
            let what = format!("setting {:?}", setting.name);
            self.text(&format!("{what}: its description"), &setting.description);
            self.schema(&what, &setting.schema_json);
            if setting.name == OnUncertain::SETTING {
                self.say(format!("{what}: every type with an effect has it already"));
            }
            if !setting.default_json.is_empty()
                && serde_json::from_slice::<serde::de::IgnoredAny>(&setting.default_json).is_err()
            {
                self.say(format!("{what}: its default is not JSON"));
            }
        }
    }

    fn ports(&mut self, what: &str, ports: &[proto::Port]) {
        self.names(what, ports.iter().map(|port| port.name.as_str()));
        for port in ports.iter().take(MANY) {
            let what = format!("{what} {:?}", port.name);
            self.text(&format!("{what}: its description"), &port.description);
            self.schema(&what, &port.schema_json);
            if port.r#type.len() > LONGEST_NAME {
                self.say(format!("{what}: its type is no name"));
            }
        }
    }

    fn scopes(&mut self, described: &proto::Description) {
        if described.scopes.len() > MANY {
            self.say(format!("there are {} scopes: {MANY} at most", described.scopes.len()));
        }
        if described.effect() == proto::Effect::Pure && !described.scopes.is_empty() {
            self.say("a pure type calls nothing: leave scopes out, or say EFFECT_READ or EFFECT_EFFECT");
        }
        for scope in described.scopes.iter().take(MANY) {
            let parts = scope
                .rsplit_once(':')
                .map(|(service, level)| (service.split('.').collect::<Vec<_>>(), level));
            match parts {
                Some((service, "read" | "write" | "owner"))
                    if matches!(service.as_slice(), ["sre", package, "v1", _] if CALLABLE.contains(package)) => {}
                _ => self.say(format!(
                    "scope {scope:?}: write sre.<package>.v1.<Service>:<read, write or owner>, of the packages {}; \
                     secrets come with settings",
                    CALLABLE.join(", ")
                )),
            }
        }
    }

    fn limits(&mut self, limits: Option<&proto::Limits>) {
        let Some(limits) = limits else { return };
        let numbers = [limits.max_input_bytes, limits.max_output_bytes, limits.timeout_ms];
        if numbers.into_iter().chain([i64::from(limits.max_concurrency)]).any(|number| number < 0) {
            self.say("limits: a negative number limits nothing: leave it 0");
        }
    }

    fn examples(&mut self, examples: &[proto::Example]) {
        if examples.len() > MANY {
            self.say(format!("there are {} examples: {MANY} at most", examples.len()));
        }
        for example in examples.iter().take(MANY) {
            let what = format!("example {:?}", example.name);
            self.text(&format!("{what}: its name"), &example.name);
            for (part, text, needed) in [
                ("inputs_json", &example.inputs_json, true),
                ("settings_json", &example.settings_json, false),
                ("outputs_json", &example.outputs_json, false),
            ] {
                let is_object = matches!(serde_json::from_slice(text), Ok(Json::Object(_)));
                if !is_object && (needed || !text.is_empty()) {
                    self.say(format!("{what}: {part} is no JSON object"));
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
pub(super) mod tests;
