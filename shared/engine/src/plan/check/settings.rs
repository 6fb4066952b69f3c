//! Findings in single components: types, settings, ports, templates, endpoints.

use std::collections::{HashMap, HashSet};

use super::super::compile::{Draft, flow};
use super::super::routes;
use crate::issue::{Issue, nearest};
use crate::node::{Node, OutputPort};
use crate::spec::{Flow, Types};
use crate::template;
use crate::validate;

pub(super) fn findings(draft: &Draft, types: &dyn Types, issues: &mut Vec<Issue>) {
    for node in &draft.nodes {
        unknown_type(node, types, issues);
        if let Err(violation) = validate::violation(node) {
            let field = violation.setting.map_or("data".to_owned(), |name| format!("data.{name}"));
            let hint = violation
                .hint
                .unwrap_or_else(|| "until it is mended, the component answers with this error".into());
            issues.push(Issue::warning(violation.detail).at(node.id.as_ref()).field(field).hint(hint));
        }
        ports(node, issues);
        tokens(draft, node, issues);
    }
    endpoints(draft, issues);
}

fn unknown_type(node: &Node, types: &dyn Types, issues: &mut Vec<Issue>) {
    if node.entry.is_some() {
        return;
    }
    let near = nearest(&node.type_name, types.names());
    let hint = match near.as_slice() {
        [] => "a run that reaches it gets an error there; use a type of the component library".to_owned(),
        near => format!("near: {}", near.join(", ")),
    };
    let issue = Issue::warning(format!("component type '{}' is not known", node.type_name));
    issues.push(issue.at(node.id.as_ref()).field("name").hint(hint));
}

/// Ports that hide each other, and native outputs that the type never gives.
fn ports(node: &Node, issues: &mut Vec<Issue>) {
    let inputs = node.inputs.iter().map(|port| port.name.as_ref());
    let outputs = node.outputs.iter().map(|port| port.name.as_ref());
    for (key, twice) in [("inputs", repeated(inputs)), ("outputs", repeated(outputs))] {
        for (index, name) in twice {
            let issue = Issue::warning(format!("'{name}' is there more than once"));
            let issue = issue.at(node.id.as_ref()).field(format!("{key}[{index}]"));
            issues.push(issue.hint("rename it: a connection by name finds the first"));
        }
    }
    let Some(known) = node.entry.filter(|known| !known.spec.outputs.is_empty()) else { return };
    for (index, port) in node.outputs.iter().enumerate().filter(|(_, port)| port.default) {
        let root = path_root(port);
        // What Async passes on is named like its inputs; a failure's message can be taken from any component.
        let native =
            known.spec.outputs.iter().any(|native| native.name == port.name.as_ref() || native.name == root);
        if native || node.input(root).is_some() || port.name.starts_with('_') {
            continue;
        }
        let names: Vec<&str> = known.spec.outputs.iter().map(|native| native.name).collect();
        let issue = Issue::warning(format!("{} gives no output '{}'", node.type_name, port.name));
        let issue = issue.at(node.id.as_ref()).field(format!("outputs[{index}]"));
        issues.push(issue.hint(format!("it gives: {}", names.join(", "))));
    }
}

fn path_root(port: &OutputPort) -> &str {
    let path = port.expression.as_deref().unwrap_or(&port.name);
    path.split(['.', '[']).next().unwrap_or_default()
}

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
    let mut seen = HashSet::new();
    names.enumerate().filter(|(_, name)| !seen.insert(*name)).collect()
}

/// Placeholders that stand for nothing reach the model as they are; mostly a slip of the pen.
fn tokens(draft: &Draft, node: &Node, issues: &mut Vec<Issue>) {
    // An endpoint's inputs come with the request; a type nobody knows is reported already.
    if matches!(flow(node), Flow::Endpoint | Flow::Inert) || node.entry.is_none() {
        return;
    }
    let text = node.text_setting("prompt").filter(|text| template::is_template(text));
    for token in text.into_iter().flat_map(template::tokens) {
        let root = token.split(['.', '[']).next().unwrap_or_default();
        let variables = || draft.document.variables.iter().map(|(name, _)| name.as_ref());
        let known = node.input(root).is_some()
            || node.input(token).is_some()
            || variables().any(|name| name == token)
            || token.contains(':');
        if known {
            continue;
        }
        let near = nearest(root, node.inputs.iter().map(|port| port.name.as_ref()).chain(variables()));
        let hint = match near.first() {
            Some(near) => format!("did you mean {{{{{near}}}}}?"),
            None => {
                "add an input or a variable of that name; as it stands the text goes out as it is".to_owned()
            }
        };
        let issue = Issue::warning(format!("{{{{{token}}}}} stands for no input and no variable"));
        issues.push(issue.at(node.id.as_ref()).field("data.prompt").hint(hint));
    }
}

fn endpoints(draft: &Draft, issues: &mut Vec<Issue>) {
    let mut seen = HashMap::new();
    let mut any = false;
    for node in draft.nodes.iter().filter(|node| flow(node) == Flow::Endpoint) {
        any = true;
        let Some(name) = node.text_setting("endpoint").filter(|name| !name.is_empty()) else { continue };
        let method = routes::method(node);
        if let Some(earlier) = seen.insert((name.to_owned(), method.clone()), node.id.clone()) {
            issues.push(
                Issue::warning(format!("{method} {name} is also the endpoint of {earlier}"))
                    .at(node.id.as_ref())
                    .field("data.endpoint")
                    .hint("the last one answers"),
            );
        }
    }
    if !any {
        issues.push(
            Issue::warning("the agent has no skill").field("components").hint("add an APIEndpoint component"),
        );
    }
}
