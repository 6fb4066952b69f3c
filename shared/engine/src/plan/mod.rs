//! A compiled agent: immutable, shared by every run of a version.

mod check;
pub(crate) mod compile;
pub(crate) mod region;
mod routes;

use std::collections::HashMap;
use std::sync::Arc;

pub use check::{Environment, Needs, Unknown as UnknownEnvironment, check, check_in, needs};
pub use compile::compile;
pub use routes::{RouteError, Skill};

use crate::bits::Bits;
use crate::issue::Issue;
use crate::node::Node;
use crate::variables::{VariableTable, Variables};
use region::{Link, Region};

/// A compiled agent.
#[derive(Debug)]
pub struct Plan {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) facts: Vec<NodeFacts>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) variables: VariableTable,
    /// Connections that count in a main flow, by source, whatever the entry.
    pub(crate) links: Vec<Vec<Link>>,
    /// Components that any connection leaves.
    pub(crate) outgoing: Bits,
    by_id: HashMap<Arc<str>, u32>,
    routes: HashMap<String, Vec<(String, EntryId)>>,
    digest: String,
    warnings: Vec<Issue>,
    identity: Identity,
}

/// What a document says about the agent as a whole.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Agent id, if the document has one.
    pub id: Option<String>,
    /// Display name.
    pub name: String,
    /// System prompt in conversations.
    pub behavior: String,
    /// Schema version.
    pub version: Option<String>,
}

/// What is known about a component beside its record.
#[derive(Debug, Default)]
pub(crate) struct NodeFacts {
    /// The message of the settings' first violation.
    pub invalid: Option<Arc<str>>,
    /// Positions of the variables its settings, defaults and inputs name.
    pub variables: Vec<u32>,
}

/// Where a run starts: an endpoint, or the branch of an Async component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub(crate) u32);

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Called with a request.
    Endpoint,
    /// Started by value, as a job.
    Job,
    /// Started with what a trigger collected.
    Trigger,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub kind: EntryKind,
    pub node: u32,
    /// The top region first.
    pub regions: Vec<Region>,
    effects: bool,
    scopes: Vec<&'static str>,
    secrets: Vec<Arc<str>>,
}

impl Plan {
    /// Digest of the document; the same document has the same digest whatever its formatting.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What the document says about the agent as a whole.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What [`check`] found that did not stop the compilation.
    pub fn warnings(&self) -> &[Issue] {
        &self.warnings
    }

    /// The components in document order.
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// A component by id.
    pub fn node(&self, id: &str) -> Option<&Arc<Node>> {
        self.by_id.get(id).map(|index| &self.nodes[*index as usize])
    }

    /// A component's number.
    pub(crate) fn index(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// The entry for the branch of an Async component: the job's run.
    pub fn fork(&self, async_component: &str) -> Option<EntryId> {
        self.entry_at(async_component, EntryKind::Job)
    }

    /// The entry of an endpoint or a trigger, by component id.
    pub fn entry(&self, component: &str) -> Option<EntryId> {
        self.entry_at(component, EntryKind::Endpoint).or_else(|| self.entry_at(component, EntryKind::Trigger))
    }

    /// What an entry is.
    pub fn kind(&self, entry: EntryId) -> EntryKind {
        self.entries[entry.0 as usize].kind
    }

    fn entry_at(&self, id: &str, kind: EntryKind) -> Option<EntryId> {
        let node = *self.by_id.get(id)?;
        let found = self.entries.iter().position(|entry| entry.node == node && entry.kind == kind)?;
        Some(EntryId(found as u32))
    }

    /// The component an entry starts at.
    pub fn entry_node(&self, entry: EntryId) -> &Arc<Node> {
        &self.nodes[self.entries[entry.0 as usize].node as usize]
    }

    /// The most elements that any of its Maps has under way at a time; 0 without one.
    pub fn widest_map(&self) -> usize {
        let maps = self.nodes.iter().filter(|node| compile::flow(node) == crate::spec::Flow::Map);
        maps.map(|node| crate::looping::Each::map(node).at_a_time).max().unwrap_or(0)
    }

    /// The components that a run from this entry may come to, its jobs left out.
    pub fn reached(&self, entry: EntryId) -> impl Iterator<Item = &Arc<Node>> {
        let regions = self.entries[entry.0 as usize].regions.iter();
        let numbers: std::collections::BTreeSet<u32> =
            regions.flat_map(|region| region.nodes.iter().copied()).collect();
        numbers.into_iter().map(|number| &self.nodes[number as usize])
    }

    /// True if a run from this entry, its jobs included, can change anything or cost anything.
    pub fn has_effects(&self, entry: EntryId) -> bool {
        self.entries[entry.0 as usize].effects
    }

    /// The services a run from this entry may call, its jobs included; sorted, each once.
    pub fn scopes(&self, entry: EntryId) -> &[&'static str] {
        &self.entries[entry.0 as usize].scopes
    }

    /// The vault keys that variables and the settings of reachable components name; sorted, each once.
    pub fn secret_names(&self, entry: EntryId) -> &[Arc<str>] {
        &self.entries[entry.0 as usize].secrets
    }

    /// The vault keys that variables name: those to resolve before the first component.
    pub fn variable_secret_names(&self) -> Vec<Arc<str>> {
        self.variables.secret_names()
    }

    /// The variables with their vault keys resolved.
    pub fn resolve_variables(&self, secrets: &crate::template::Secrets) -> Variables {
        self.variables.resolve(secrets)
    }
}
