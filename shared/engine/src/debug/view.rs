//! Reading a session.

use std::sync::Arc;

use super::DebugRun;
use super::context::{Context, Standing};
use crate::plan::compile::flow;
use crate::spec::Flow;
use crate::value::{Map, Value};

/// A component of a session.
#[derive(Clone, Debug)]
pub struct DebugComponent {
    /// Component id.
    pub component: Arc<str>,
    /// Component type.
    pub type_name: Arc<str>,
    /// Takes part in what happens.
    pub active: bool,
    /// Whether it runs in the next cycle, if it is active.
    pub standing: Standing,
    /// What it holds; where it holds nothing, what it ran with last.
    pub input: Map,
    /// What it gave last.
    pub output: Option<Value>,
    /// The cycle that touched it last; 0 for none.
    pub step: u64,
    /// The component that activated it last.
    pub source: Option<Arc<str>>,
}

impl DebugRun {
    /// All components but notes, in document order.
    pub fn components(&self) -> impl Iterator<Item = DebugComponent> + '_ {
        let all = self.plan.nodes.iter().zip(&self.contexts);
        let all = all.filter(|(node, _)| flow(node) != Flow::Inert);
        all.map(|(node, context)| DebugComponent {
            component: node.id.clone(),
            type_name: node.type_name.clone(),
            active: context.active,
            standing: context.standing,
            input: inputs(context),
            output: context.output.clone(),
            step: context.step,
            source: context.source.clone(),
        })
    }
}

pub(super) fn inputs(context: &Context) -> Map {
    if context.held.is_empty() { context.input.clone() } else { context.merged() }
}
