//! What a look at a document finds, beside what makes it unreadable.
//!
//! Nothing here stops a compilation: what a document cannot run with is refused where it is read
//! ([`super::compile`]); these findings say what will not work as meant. Each names the component, the field
//! and what to do.

mod environment;
mod graph;
mod settings;

use serde_json::Value as Json;

pub use environment::{Environment, Needs, Unknown, needs};

use super::compile::Draft;
use crate::issue::Issue;
use crate::spec::Types;

/// All findings of a document, errors first.
pub fn check(document: &Json, types: &dyn Types) -> Vec<Issue> {
    check_in(document, types, &Unknown)
}

/// [`check`], and whether the vault keys and models that the document names are there.
pub fn check_in(document: &Json, types: &dyn Types, environment: &dyn Environment) -> Vec<Issue> {
    let (draft, mut issues) = Draft::read(document, types);
    if let Some(draft) = &draft {
        environment::findings(draft, environment, &mut issues);
    }
    issues.sort_by_key(|issue| std::cmp::Reverse(issue.severity));
    issues
}

pub(super) fn findings(draft: &Draft, types: &dyn Types, issues: &mut Vec<Issue>) {
    settings::findings(draft, types, issues);
    graph::findings(draft, issues);
}
