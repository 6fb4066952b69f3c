//! What a document needs of the place where it will run: vault keys and models.
//!
//! The engine asks nobody itself. A caller that has to ask over the network gathers the names first
//! ([`needs`]), asks in one go, and answers from what it got.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::super::compile::Draft;
use crate::issue::Issue;
use crate::node::Node;
use crate::spec::Types;
use crate::template;
use crate::value::Value;

/// What the place where an agent will run has. `None` means that nobody can tell; it raises no finding.
pub trait Environment {
    /// Whether the team's vault has a key.
    fn secret_exists(&self, key: &str) -> Option<bool> {
        let _ = key;
        None
    }

    /// Whether the model catalogue has a model of this name.
    fn model_exists(&self, name: &str) -> Option<bool> {
        let _ = name;
        None
    }
}

/// Nothing is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unknown;

impl Environment for Unknown {}

/// The names that a document uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Vault keys.
    pub secrets: BTreeSet<String>,
    /// Models.
    pub models: BTreeSet<String>,
}

/// The vault keys and models that a document names, unreachable components included.
pub fn needs(document: &Json, types: &dyn Types) -> Needs {
    let mut needs = Needs::default();
    if let Some(draft) = Draft::read(document, types).0 {
        uses(&draft, &mut |used| match used.what {
            What::Secret => drop(needs.secrets.insert(used.name.to_owned())),
            What::Model => drop(needs.models.insert(used.name.to_owned())),
        });
    }
    needs
}

pub(super) fn findings(draft: &Draft, environment: &dyn Environment, issues: &mut Vec<Issue>) {
    let mut seen = BTreeSet::new();
    uses(draft, &mut |used| {
        let (exists, message, hint) = match used.what {
            What::Secret => (
                environment.secret_exists(used.name),
                format!("the vault has no key '{}'", used.name),
                "store it in the team's vault, or correct the name; until then the component fails",
            ),
            What::Model => (
                environment.model_exists(used.name),
                format!("there is no model '{}'", used.name),
                "use a name of the model catalogue, or add the model to it",
            ),
        };
        if exists == Some(false)
            && seen.insert((used.component.map(str::to_owned), used.field.clone(), message.clone()))
        {
            let issue = Issue::warning(message).field(used.field).hint(hint);
            issues.push(match used.component {
                Some(component) => issue.at(component),
                None => issue,
            });
        }
    });
}

enum What {
    Secret,
    Model,
}

struct Used<'a> {
    what: What,
    name: &'a str,
    component: Option<&'a str>,
    field: String,
}

fn uses(draft: &Draft, visit: &mut dyn FnMut(Used<'_>)) {
    for (variable, text) in &draft.document.variables {
        for name in template::keys(text) {
            visit(Used { what: What::Secret, name, component: None, field: format!("variables.{variable}") });
        }
    }
    let current = |(index, node): &(u32, &std::sync::Arc<Node>)| draft.by_id.get(&node.id) == Some(index);
    for (_, node) in (0u32..).zip(&draft.nodes).filter(current) {
        for (setting, value) in &node.settings {
            template::keys_of_value(value, &mut |name| {
                let field = format!("data.{setting}");
                visit(Used { what: What::Secret, name, component: Some(&node.id), field });
            });
        }
        if let Some(name) = model(node) {
            let field = "data.model".to_owned();
            visit(Used { what: What::Model, name, component: Some(&node.id), field });
        }
    }
    let default = draft.document.bare.get("defaultModel").and_then(Json::as_str);
    if let Some(name) = default.filter(|name| !name.is_empty() && !template::is_template(name)) {
        visit(Used { what: What::Model, name, component: None, field: "defaultModel".to_owned() });
    }
}

/// The model of a component whose type has such a setting. A template names it only at run time, and an
/// object is a model by itself.
fn model(node: &Node) -> Option<&str> {
    node.entry?.spec.settings.iter().find(|setting| setting.name == "model")?;
    let name = node.setting("model").and_then(Value::as_str)?;
    (!name.is_empty() && !template::is_template(name)).then_some(name)
}
