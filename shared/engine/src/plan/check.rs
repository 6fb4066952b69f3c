//! What a look at a document finds, beside what makes it unreadable.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use super::compile::{Draft, flow};
use crate::bits::Bits;
use crate::issue::{Issue, nearest};
use crate::spec::{Flow, Types};
use crate::template;
use crate::validate;

/// All findings of a document, errors first.
pub fn check(document: &Json, types: &dyn Types) -> Vec<Issue> {
    let mut issues = Draft::read(document, types).1;
    issues.sort_by_key(|issue| std::cmp::Reverse(issue.severity));
    issues
}

pub(super) fn findings(draft: &Draft, types: &dyn Types, issues: &mut Vec<Issue>) {
    for node in &draft.nodes {
        if node.entry.is_none() {
            let near = nearest(&node.type_name, types.names());
            let issue = Issue::warning(format!("component type '{}' is not known", node.type_name))
                .at(node.id.as_ref())
                .field("name");
            issues.push(if near.is_empty() {
                issue
            } else {
                issue.hint(format!("near: {}", near.join(", ")))
            });
        }
        if let Err(detail) = validate::detail(node) {
            issues.push(Issue::warning(detail).at(node.id.as_ref()).field("data"));
        }
    }
    endpoints(draft, issues);
    unreachable(draft, issues);
    unfed_inputs(draft, issues);
}

fn endpoints(draft: &Draft, issues: &mut Vec<Issue>) {
    let mut seen = HashMap::new();
    let mut any = false;
    for node in draft.nodes.iter().filter(|node| flow(node) == Flow::Endpoint) {
        any = true;
        let Some(name) = node.text_setting("endpoint").filter(|name| !name.is_empty()) else { continue };
        let method = super::routes::method(node);
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
        issues.push(Issue::warning("the agent has no skill").hint("add an APIEndpoint component"));
    }
}

fn unreachable(draft: &Draft, issues: &mut Vec<Issue>) {
    let mut seen = Bits::new(draft.nodes.len());
    let is_start = |node: &crate::node::Node| {
        flow(node) == Flow::Endpoint || node.text_setting("triggerEndpoint").is_some()
    };
    let starts = (0u32..).zip(&draft.nodes).filter(|(_, node)| is_start(node));
    let mut queue: Vec<u32> = starts.map(|(index, _)| index).filter(|index| seen.insert(*index)).collect();
    let mut targets = vec![Vec::new(); draft.nodes.len()];
    draft.links.iter().for_each(|link| targets[link.source as usize].push(link.target));
    while let Some(at) = queue.pop() {
        queue.extend(targets[at as usize].iter().filter(|target| seen.insert(**target)));
    }
    for (index, node) in (0u32..).zip(&draft.nodes) {
        let current = draft.by_id.get(&node.id) == Some(&index);
        if current && !seen.contains(index) && flow(node) != Flow::Inert {
            issues.push(
                Issue::warning("no skill leads to it").at(node.id.as_ref()).hint("connect it or remove it"),
            );
        }
    }
}

fn unfed_inputs(draft: &Draft, issues: &mut Vec<Issue>) {
    let fed: HashSet<(u32, u32)> = draft.links.iter().map(|link| (link.target, link.input)).collect();
    let variable = |name: &str| draft.document.variables.iter().any(|(known, _)| known.as_ref() == name);
    for (index, node) in (0u32..).zip(&draft.nodes) {
        // An endpoint's inputs come with the request; a type nobody knows is reported already.
        if matches!(flow(node), Flow::Endpoint | Flow::Inert) || node.entry.is_none() {
            continue;
        }
        for (input, port) in (0u32..).zip(&node.inputs) {
            if !fed.contains(&(index, input))
                && !port.optional
                && port.default.is_none()
                && !variable(&port.name)
            {
                issues.push(
                    Issue::warning(format!("nothing is connected to the input '{}'", port.name))
                        .at(node.id.as_ref())
                        .field(format!("inputs[{input}]"))
                        .hint("connect it, give it a default, or mark it optional"),
                );
            }
        }
        if let Some(text) = node.text_setting("prompt").filter(|text| template::is_template(text)) {
            unknown_tokens(draft, node, text, issues);
        }
    }
}

/// Placeholders that stand for nothing reach the model as they are; mostly a slip of the pen.
fn unknown_tokens(draft: &Draft, node: &crate::node::Node, text: &str, issues: &mut Vec<Issue>) {
    for token in template::tokens(text) {
        let root = token.split(['.', '[']).next().unwrap_or_default();
        let known = node.input(root).is_some()
            || node.input(token).is_some()
            || draft.document.variables.iter().any(|(name, _)| name.as_ref() == token)
            || token.contains(':');
        if !known {
            issues.push(
                Issue::warning(format!("{{{{{token}}}}} stands for no input and no variable"))
                    .at(node.id.as_ref())
                    .field("data.prompt"),
            );
        }
    }
}
