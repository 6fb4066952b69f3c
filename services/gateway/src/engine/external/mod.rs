//! Components out of process (`sre.component.v1`), as the engine reaches them.
//!
//! [`catalogue`]: which an agent may use, and where they are. [`endpoint`]: one place where one is served: its channel,
//! how it is, how many work there. [`call`]: one stream. [`attempts`]: an activation, which may take several.

mod attempts;
mod call;
mod catalogue;
mod endpoint;
mod telling;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use sre_engine::Types;
use sre_engine::spec::TypeEntry;

pub use attempts::{Executed, execute, look_up};
pub use catalogue::{Catalogue, Resolved};

/// The suite's own types, and those out of process that a plan is compiled with.
pub struct WithExternal<'a> {
    own: &'a dyn Types,
    external: HashMap<&'a str, TypeEntry>,
}

impl<'a> WithExternal<'a> {
    /// These types beside the suite's own, which stand before them.
    pub fn new(own: &'a dyn Types, resolved: &'a [std::sync::Arc<Resolved>]) -> Self {
        let external = resolved.iter().map(|it| (it.asked.as_str(), it.declared.entry)).collect();
        Self { own, external }
    }
}

impl Types for WithExternal<'_> {
    fn lookup(&self, type_name: &str) -> Option<&TypeEntry> {
        self.own.lookup(type_name).or_else(|| self.external.get(type_name))
    }

    fn names(&self) -> Vec<&str> {
        let mut names = self.own.names();
        names.extend(self.external.keys());
        names
    }
}
