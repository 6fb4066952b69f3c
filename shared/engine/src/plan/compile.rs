//! From a document to a plan.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value as Json;

use super::region::{self, Graph, Link};
use super::{Entry, EntryId, EntryKind, Identity, NodeFacts, Plan, check};
use crate::bits::Bits;
use crate::document::{self, ConnectionRecord, Document, PortRef};
use crate::issue::Issue;
use crate::node::{Node, OutputPort};
use crate::spec::{Effect, Flow, TypeEntry, Types};
use crate::template;
use crate::validate;
use crate::value::Value;
use crate::variables::VariableTable;

/// Compiles a document.
///
/// # Errors
/// All findings of [`check`] if one of them refuses the document.
pub fn compile(document: &Json, types: &dyn Types) -> Result<Plan, Vec<Issue>> {
    let (draft, issues) = Draft::read(document, types);
    let Some(draft) = draft.filter(|_| !issues.iter().any(Issue::is_error)) else { return Err(issues) };
    draft.finish(document, issues)
}

/// A document with its connections resolved, on the way to a plan.
pub(super) struct Draft {
    pub document: Document,
    pub nodes: Vec<Arc<Node>>,
    pub by_id: HashMap<Arc<str>, u32>,
    /// Connections in document order, notes left out.
    pub links: Vec<Link>,
    /// What components run that host another type.
    pub hosted: HashMap<u32, TypeEntry>,
}

impl Draft {
    pub fn read(json: &Json, types: &dyn Types) -> (Option<Self>, Vec<Issue>) {
        let mut issues = Vec::new();
        let Some(mut document) = document::parse(json, &mut issues) else { return (None, issues) };
        let mut nodes: Vec<Arc<Node>> =
            document.components.iter().map(|record| node(record, types)).collect();
        let mut by_id = HashMap::new();
        for (index, node) in (0u32..).zip(&nodes) {
            if by_id.insert(node.id.clone(), index).is_some() {
                let issue = Issue::warning("appears more than once").at(node.id.as_ref()).field("id");
                issues.push(issue.hint("the last one runs"));
            }
        }
        let hosted = (0u32..).zip(&nodes).filter_map(|(index, node)| Some((index, hosted(node, types)?)));
        let hosted = hosted.collect();
        feed_endpoints(&mut document.connections, &mut nodes, &by_id);
        let mut draft = Self { nodes, by_id, links: Vec::new(), hosted, document };
        draft.resolve_links(&mut issues);
        check::findings(&draft, types, &mut issues);
        (Some(draft), issues)
    }

    fn resolve_links(&mut self, issues: &mut Vec<Issue>) {
        for (index, record) in self.document.connections.iter().enumerate() {
            match self.resolve(index, record) {
                Ok(Some(link)) => self.links.push(link),
                Ok(None) => {}
                Err(issue) => issues.push(issue),
            }
        }
    }

    fn resolve(&self, index: usize, record: &ConnectionRecord) -> Result<Option<Link>, Issue> {
        let place = |field: &str| format!("connections[{index}].{field}");
        let find = |id: &str, field: &str| {
            let known = self.by_id.get(id).copied();
            known.ok_or_else(|| {
                let near = crate::issue::nearest(id, self.by_id.keys().map(AsRef::as_ref));
                let hint = near.first().map_or_else(
                    || "connect it to a component that is there, or remove the connection".to_owned(),
                    |near| format!("did you mean '{near}'?"),
                );
                Issue::error(format!("there is no component '{id}'")).at(id).field(place(field)).hint(hint)
            })
        };
        let source = find(&record.source, "sourceId")?;
        let target = find(&record.target, "targetId")?;
        let (from, to) = (&self.nodes[source as usize], &self.nodes[target as usize]);
        let outputs: Vec<&str> = from.outputs.iter().map(|port| port.name.as_ref()).collect();
        let inputs: Vec<&str> = to.inputs.iter().map(|port| port.name.as_ref()).collect();
        let port = |reference: &PortRef, names: &[&str], id: &str, field: &str, what: &str| {
            let found = match reference {
                PortRef::Index(at) => usize::try_from(*at).ok().filter(|at| *at < names.len()),
                PortRef::Name(name) => names.iter().position(|known| known == name),
            };
            found.map(|at| at as u32).ok_or_else(|| {
                let shown = match reference {
                    PortRef::Index(at) => at.to_string(),
                    PortRef::Name(name) => format!("'{name}'"),
                };
                Issue::error(format!("there is no {what} {shown}"))
                    .at(id)
                    .field(place(field))
                    .hint(format!("known: {}", names.join(", ")))
            })
        };
        let output = port(&record.output, &outputs, &from.id, "sourceIndex", "output")?;
        // -1 addresses an endpoint as a whole; only triggers do that.
        if is_whole(record) && flow(to) == Flow::Endpoint {
            return Ok(None);
        }
        let input = port(&record.input, &inputs, &to.id, "targetIndex", "input")?;
        // Notes are no part of the workflow, whatever is drawn to them.
        if flow(from) == Flow::Inert || flow(to) == Flow::Inert {
            return Ok(None);
        }
        let with_result = fires_with_result(flow(from), &from.outputs[output as usize]);
        Ok(Some(Link { order: index as u32, source, output, target, input, with_result }))
    }

    /// Links that count for a run from `entry`, by source.
    pub fn live_links(&self, entry: u32, kind: EntryKind) -> Vec<Vec<Link>> {
        let branch = if kind == EntryKind::Job { self.branch(entry) } else { HashSet::new() };
        let mut live = vec![Vec::new(); self.nodes.len()];
        for link in &self.links {
            let from = &self.nodes[link.source as usize];
            // A component connected to itself activates itself and then resets itself: nothing happens.
            let counts = link.source != link.target
                && match (flow(from), is_job_id(from, link)) {
                    (Flow::Async, job_id) if kind == EntryKind::Job && link.source == entry => {
                        !job_id || branch.contains(&link.target)
                    }
                    (Flow::Async, job_id) => job_id,
                    _ => true,
                };
            if counts {
                live[link.source as usize].push(link.clone());
            }
        }
        live
    }

    /// What an Async component reaches through anything but its job id.
    fn branch(&self, root: u32) -> HashSet<u32> {
        let mut by_source: HashMap<u32, Vec<&Link>> = HashMap::new();
        self.links.iter().for_each(|link| by_source.entry(link.source).or_default().push(link));
        let node = &self.nodes[root as usize];
        let first = self.links.iter().filter(|l| l.source == root && !is_job_id(node, l)).map(|l| l.target);
        let mut queue: Vec<u32> = first.collect();
        let mut seen: HashSet<u32> = queue.iter().copied().collect();
        while let Some(at) = queue.pop() {
            for link in by_source.get(&at).into_iter().flatten() {
                if seen.insert(link.target) {
                    queue.push(link.target);
                }
            }
        }
        seen
    }

    pub fn entries(&self) -> impl Iterator<Item = (u32, EntryKind)> + '_ {
        // Of records with the same id the last one counts.
        let current = |index: u32, node: &Node| self.by_id.get(&node.id) == Some(&index);
        (0u32..).zip(&self.nodes).filter_map(move |(index, node)| match flow(node) {
            Flow::Endpoint if current(index, node) => Some((index, EntryKind::Endpoint)),
            Flow::Async if current(index, node) => Some((index, EntryKind::Job)),
            Flow::Trigger if current(index, node) => Some((index, EntryKind::Trigger)),
            _ => None,
        })
    }

    fn entry(&self, node: u32, kind: EntryKind, variable_keys: &[Arc<str>]) -> Result<Entry, Issue> {
        let links = self.live_links(node, kind);
        let reachable = reachable(&links, node, self.nodes.len());
        let required = self.required(&links, &reachable, node);
        let has_links: HashSet<u32> = self.links.iter().map(|link| link.source).collect();
        let graph = Graph {
            size: self.nodes.len(),
            links: &links,
            is_loop: &|at| flow(&self.nodes[at as usize]).has_body(),
            required: &required,
            is_error: &|link| {
                let outputs = &self.nodes[link.source as usize].outputs;
                outputs.get(link.output as usize).is_some_and(|port| port.name.as_ref() == "_error")
            },
            leaf: &|at| !has_links.contains(&at),
        };
        let regions = region::build(&graph, node).ok_or_else(|| {
            Issue::error("its loops are nested too deeply")
                .at(self.nodes[node as usize].id.as_ref())
                .hint(format!("at most {} scopes", region::MAX_REGIONS))
        })?;
        Ok(self.sum_up(
            Entry { kind, node, regions, effects: false, scopes: vec![], secrets: vec![] },
            variable_keys,
        ))
    }

    /// Effects, scopes and secrets of all that an entry can set going, jobs included.
    fn sum_up(&self, mut entry: Entry, variable_keys: &[Arc<str>]) -> Entry {
        let mut all = vec![Vec::new(); self.nodes.len()];
        self.links.iter().for_each(|link| all[link.source as usize].push(link.clone()));
        entry.secrets = variable_keys.to_vec();
        for at in reachable(&all, entry.node, self.nodes.len()).iter() {
            let node = &self.nodes[at as usize];
            if let Some(known) = node.entry {
                entry.effects |= known.spec.effect == Effect::Effect;
                entry.scopes.extend_from_slice(known.spec.scopes);
            }
            if let Some(hosted) = self.hosted.get(&at) {
                entry.scopes.extend_from_slice(hosted.spec.scopes);
            }
            for value in node.settings.values() {
                template::keys_of_value(value, &mut |key| entry.secrets.push(key.into()));
            }
        }
        entry.scopes.sort_unstable();
        entry.scopes.dedup();
        entry.secrets.sort();
        entry.secrets.dedup();
        entry
    }

    /// By component: inputs that something reachable is connected to and that are not optional. The entry
    /// itself never waits.
    pub fn required(&self, links: &[Vec<Link>], reachable: &Bits, entry: u32) -> Vec<Vec<u32>> {
        let mut required = vec![Vec::new(); self.nodes.len()];
        for link in links.iter().flatten().filter(|link| reachable.contains(link.source)) {
            let port = &self.nodes[link.target as usize].inputs[link.input as usize];
            if !port.optional && link.target != entry {
                required[link.target as usize].push(link.input);
            }
        }
        for inputs in &mut required {
            inputs.sort_unstable();
            inputs.dedup();
        }
        required
    }

    fn finish(self, json: &Json, warnings: Vec<Issue>) -> Result<Plan, Vec<Issue>> {
        let variables = VariableTable::new(&self.document.variables);
        let keys = variables.secret_names();
        let entries: Result<Vec<Entry>, Issue> =
            self.entries().map(|(node, kind)| self.entry(node, kind, &keys)).collect();
        let entries = entries.map_err(|issue| vec![issue])?;
        let facts = self.nodes.iter().map(|node| facts(node, &variables)).collect();
        let routes = super::routes::table(&self.nodes, &entries);
        let mut outgoing = Bits::new(self.nodes.len());
        self.links.iter().for_each(|link| {
            outgoing.insert(link.source);
        });
        let links = self.live_links(u32::MAX, EntryKind::Endpoint);
        let document = self.document;
        Ok(Plan {
            links,
            outgoing,
            digest: digest(json),
            identity: Identity {
                id: document.id,
                name: document.name,
                behavior: document.behavior,
                version: document.version,
            },
            nodes: self.nodes,
            by_id: self.by_id,
            facts,
            entries,
            routes,
            variables,
            warnings,
        })
    }
}

pub(crate) fn flow(node: &Node) -> Flow {
    node.entry.map_or(Flow::Plain, |entry| entry.spec.flow)
}

/// True for a connection to an endpoint as a whole.
fn is_whole(record: &ConnectionRecord) -> bool {
    record.input == PortRef::Index(-1)
}

/// A trigger that feeds an endpoint as a whole gives each of its inputs the member of the payload of that name: a
/// connection of its own for each.
fn feed_endpoints(
    connections: &mut Vec<ConnectionRecord>,
    nodes: &mut [Arc<Node>],
    by_id: &HashMap<Arc<str>, u32>,
) {
    let mut added = Vec::new();
    for record in connections.iter().filter(|record| is_whole(record)) {
        let at = |id: &str| by_id.get(id).map(|index| *index as usize);
        let (Some(from), Some(to)) = (at(&record.source), at(&record.target)) else { continue };
        if flow(&nodes[from]) != Flow::Trigger || flow(&nodes[to]) != Flow::Endpoint {
            continue;
        }
        let inputs: Vec<Arc<str>> = nodes[to].inputs.iter().map(|port| port.name.clone()).collect();
        for input in inputs {
            let output: Arc<str> = format!("Payload.{input}").into();
            let outputs = &mut Arc::make_mut(&mut nodes[from]).outputs;
            if !outputs.iter().any(|port| port.name == output) {
                outputs.push(OutputPort {
                    name: output.clone(),
                    default: false,
                    expression: Some(output.clone()),
                    description: "".into(),
                });
            }
            added.push(ConnectionRecord {
                source: record.source.clone(),
                output: PortRef::Name(output.to_string()),
                target: record.target.clone(),
                input: PortRef::Name(input.to_string()),
            });
        }
    }
    connections.extend(added);
}

fn is_job_id(node: &Node, link: &Link) -> bool {
    node.outputs.get(link.output as usize).is_some_and(|port| port.name.as_ref() == "JobID")
}

/// Of a component with a body: its results and what is taken from them, and errors, come at the end; all else goes to
/// the body.
fn fires_with_result(flow: Flow, port: &OutputPort) -> bool {
    let path = port.expression.as_deref().unwrap_or(&port.name);
    let first = path.split(['.', '[']).next().unwrap_or_default();
    let results = flow.results();
    results.contains(&port.name.as_ref()) || results.contains(&first)
}

fn reachable(links: &[Vec<Link>], from: u32, size: usize) -> Bits {
    let mut seen = Bits::new(size);
    seen.insert(from);
    let mut queue = vec![from];
    while let Some(at) = queue.pop() {
        queue.extend(links[at as usize].iter().map(|link| link.target).filter(|target| seen.insert(*target)));
    }
    seen
}

/// The type that a component runs in its own place.
fn hosted(node: &Node, types: &dyn Types) -> Option<TypeEntry> {
    let setting = node.entry?.spec.hosts?;
    types.lookup(node.text_setting(setting)?).copied()
}

fn node(record: &document::ComponentRecord, types: &dyn Types) -> Arc<Node> {
    Arc::new(Node {
        id: record.id.clone(),
        type_name: record.type_name.clone(),
        display_name: record.display_name.clone(),
        title: record.title.clone(),
        description: record.description.clone(),
        settings: record.settings.clone(),
        inputs: record.inputs.clone(),
        outputs: record.outputs.clone(),
        template: record.template.clone(),
        entry: types.lookup(&record.type_name).copied(),
    })
}

fn facts(node: &Node, variables: &VariableTable) -> NodeFacts {
    let mut used = Vec::new();
    let mut note = |name: &str| used.extend(variables.position(name).map(|at| at as u32));
    for value in node.settings.values() {
        template::texts(value, &mut |text| template::tokens(text).for_each(&mut note));
    }
    for port in &node.inputs {
        note(&port.name);
        if let Some(text) = port.default.as_ref().and_then(Value::as_str) {
            template::tokens(text).for_each(&mut note);
        }
    }
    used.sort_unstable();
    used.dedup();
    NodeFacts { invalid: validate::validate(node).err().map(Arc::from), variables: used }
}

/// Digest of the document with its keys sorted, so that formatting and key order do not matter.
fn digest(json: &Json) -> String {
    let mut hasher = blake3::Hasher::new();
    hash(json, &mut hasher);
    hasher.finalize().to_hex().to_string()
}

fn hash(json: &Json, hasher: &mut blake3::Hasher) {
    match json {
        Json::Array(items) => {
            hasher.update(b"[");
            items.iter().for_each(|item| hash(item, hasher));
            hasher.update(b"]");
        }
        Json::Object(map) => {
            hasher.update(b"{");
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            for key in keys {
                hasher.update(Json::from(key.as_str()).to_string().as_bytes());
                hasher.update(b":");
                hash(&map[key], hasher);
            }
            hasher.update(b"}");
        }
        scalar => {
            hasher.update(scalar.to_string().as_bytes());
            hasher.update(b",");
        }
    }
}

/// The entry ids in the order of `entries`.
pub(super) fn entry_ids(entries: &[Entry]) -> impl Iterator<Item = (EntryId, &Entry)> {
    entries.iter().enumerate().map(|(index, entry)| (EntryId(index as u32), entry))
}
