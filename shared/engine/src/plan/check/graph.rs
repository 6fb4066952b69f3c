//! Findings in how components are connected: what nothing leads to, what waits in vain, what goes in circles.

use std::collections::HashSet;

use super::super::compile::{Draft, flow};
use crate::bits::Bits;
use crate::issue::Issue;
use crate::node::Node;
use crate::plan::EntryKind;
use crate::plan::region::Link;
use crate::spec::Flow;

pub(super) fn findings(draft: &Draft, issues: &mut Vec<Issue>) {
    let reached = reached(draft);
    unreachable(draft, &reached, issues);
    unfed_inputs(draft, issues);
    waits_in_vain(draft, &reached, issues);
    cycles(draft, issues);
}

/// Components that a skill or a trigger leads to.
fn reached(draft: &Draft) -> Bits {
    let mut seen = Bits::new(draft.nodes.len());
    let is_start =
        |node: &Node| flow(node) == Flow::Endpoint || node.text_setting("triggerEndpoint").is_some();
    let starts = (0u32..).zip(&draft.nodes).filter(|(_, node)| is_start(node));
    let mut queue: Vec<u32> = starts.map(|(index, _)| index).filter(|index| seen.insert(*index)).collect();
    let targets = targets(draft);
    while let Some(at) = queue.pop() {
        queue.extend(targets[at as usize].iter().filter(|target| seen.insert(**target)));
    }
    seen
}

fn targets(draft: &Draft) -> Vec<Vec<u32>> {
    let mut targets = vec![Vec::new(); draft.nodes.len()];
    draft.links.iter().for_each(|link| targets[link.source as usize].push(link.target));
    targets
}

fn unreachable(draft: &Draft, reached: &Bits, issues: &mut Vec<Issue>) {
    for (index, node) in (0u32..).zip(&draft.nodes) {
        let current = draft.by_id.get(&node.id) == Some(&index);
        if current && !reached.contains(index) && flow(node) != Flow::Inert {
            let issue = Issue::warning("no skill leads to it").at(node.id.as_ref()).field("inputs");
            issues.push(issue.hint("connect it or remove it"));
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
            let has_value = fed.contains(&(index, input)) || port.default.is_some() || variable(&port.name);
            if port.optional || has_value {
                continue;
            }
            issues.push(
                Issue::warning(format!("nothing is connected to the input '{}'", port.name))
                    .at(node.id.as_ref())
                    .field(format!("inputs[{input}]"))
                    .hint("connect it, give it a default, or mark it optional"),
            );
        }
    }
}

/// Inputs that no run can fill: all that is connected to them comes after the component itself, or after
/// another that waits so.
fn waits_in_vain(draft: &Draft, reached: &Bits, issues: &mut Vec<Issue>) {
    let size = draft.nodes.len();
    let (mut runs, mut seen) = (Bits::new(size), Bits::new(size));
    let mut missing: Vec<Option<u32>> = vec![None; size];
    for (entry, kind) in draft.entries() {
        // A job that no skill starts is reported as such.
        if reached.contains(entry) {
            let found = run_from(draft, entry, kind, &mut missing);
            runs.union(&found.runs);
            seen.union(&found.seen);
        }
    }
    for at in seen.iter().filter(|at| !runs.contains(*at)) {
        let node = &draft.nodes[at as usize];
        let Some(input) = missing[at as usize] else { continue };
        let port = &node.inputs[input as usize];
        let feeders: HashSet<&str> = draft
            .links
            .iter()
            .filter(|link| link.target == at && link.input == input)
            .map(|link| draft.nodes[link.source as usize].id.as_ref())
            .collect();
        let mut feeders: Vec<&str> = feeders.into_iter().collect();
        feeders.sort_unstable();
        issues.push(
            Issue::warning(format!(
                "the input '{}' can never be satisfied: it waits for {}, which cannot run before it",
                port.name,
                feeders.join(", ")
            ))
            .at(node.id.as_ref())
            .field(format!("inputs[{input}]"))
            .hint("mark it optional, give it a default, or connect it to something that comes earlier"),
        );
    }
}

struct Found {
    /// Components that can run, given that everything delivers on all its outputs.
    runs: Bits,
    /// Components that some connection leads to.
    seen: Bits,
}

fn run_from(draft: &Draft, entry: u32, kind: EntryKind, missing: &mut [Option<u32>]) -> Found {
    let size = draft.nodes.len();
    let links = draft.live_links(entry, kind);
    let mut seen = Bits::new(size);
    seen.insert(entry);
    let mut queue = vec![entry];
    while let Some(at) = queue.pop() {
        queue.extend(links[at as usize].iter().map(|link| link.target).filter(|target| seen.insert(*target)));
    }
    let required = draft.required(&links, &seen, entry);
    let mut fed: HashSet<(u32, u32)> = HashSet::new();
    let mut runs = Bits::new(size);
    runs.insert(entry);
    let mut queue = vec![entry];
    while let Some(at) = queue.pop() {
        for Link { target, input, .. } in &links[at as usize] {
            fed.insert((*target, *input));
            let lacks = |input: &&u32| {
                let port = &draft.nodes[*target as usize].inputs[**input as usize];
                port.default.is_none() && !fed.contains(&(*target, **input))
            };
            if !runs.contains(*target) && required[*target as usize].iter().find(lacks).is_none() {
                runs.insert(*target);
                queue.push(*target);
            }
        }
    }
    for at in seen.iter().filter(|at| !runs.contains(*at)) {
        let lacks = |input: &&u32| !fed.contains(&(at, **input));
        missing[at as usize] = required[at as usize].iter().find(lacks).copied();
    }
    Found { runs, seen }
}

/// Cycles that nothing leads out of: once in, a run ends with an error.
fn cycles(draft: &Draft, issues: &mut Vec<Issue>) {
    for link in draft.links.iter().filter(|link| link.source == link.target) {
        let node = &draft.nodes[link.source as usize];
        let port = &node.inputs[link.input as usize];
        issues.push(
            Issue::warning(format!("is connected to its own input '{}', which never runs it", port.name))
                .at(node.id.as_ref())
                .field(format!("connections[{}]", link.order))
                .hint("remove the connection, or loop with ForEach"),
        );
    }
    let targets = targets(draft);
    for members in strong_components(&targets) {
        let inside: HashSet<u32> = members.iter().copied().collect();
        let leaves = |at: &u32| targets[*at as usize].iter().any(|target| !inside.contains(target));
        if members.len() < 2 || members.iter().any(leaves) {
            continue;
        }
        let first = &draft.nodes[members[0] as usize];
        let names: Vec<&str> = members.iter().map(|at| draft.nodes[*at as usize].id.as_ref()).collect();
        issues.push(
            Issue::warning(format!("the cycle of {} has no exit", names.join(", ")))
                .at(first.id.as_ref())
                .field("outputs")
                .hint(
                    "let a condition in it lead out: a run that goes round ends with an error at the circular \
                     limit",
                ),
        );
    }
}

/// The strongly connected components, each in document order, by first member (Tarjan, without recursion).
fn strong_components(targets: &[Vec<u32>]) -> Vec<Vec<u32>> {
    const NEW: u32 = u32::MAX;
    let size = targets.len();
    let (mut number, mut low) = (vec![NEW; size], vec![0u32; size]);
    let mut on_stack = Bits::new(size);
    let (mut stack, mut next, mut found) = (Vec::new(), 0u32, Vec::new());
    for root in 0..size as u32 {
        if number[root as usize] != NEW {
            continue;
        }
        // A place, and which of its targets comes next.
        let mut calls = vec![(root, 0usize)];
        while let Some((at, child)) = calls.last_mut() {
            let at = *at;
            if *child == 0 && number[at as usize] == NEW {
                (number[at as usize], low[at as usize]) = (next, next);
                next += 1;
                stack.push(at);
                on_stack.insert(at);
            }
            if let Some(target) = targets[at as usize].get(*child).copied() {
                *child += 1;
                if number[target as usize] == NEW {
                    calls.push((target, 0));
                } else if on_stack.contains(target) {
                    low[at as usize] = low[at as usize].min(number[target as usize]);
                }
                continue;
            }
            calls.pop();
            if let Some((parent, _)) = calls.last() {
                low[*parent as usize] = low[*parent as usize].min(low[at as usize]);
            }
            if low[at as usize] == number[at as usize] {
                let from = stack.iter().rposition(|member| *member == at).unwrap_or_default();
                let mut members = stack.split_off(from);
                members.iter().for_each(|member| on_stack.remove(*member));
                members.sort_unstable();
                found.push(members);
            }
        }
    }
    found.sort();
    found
}
