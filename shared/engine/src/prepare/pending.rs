//! Inputs that need the driver before they are values: fetched, looked up, read, stored.

use std::sync::Arc;

use super::{Prepared, endpoint, error_output, prepared};
use crate::data::binary::{NeedsIo, Recognised};
use crate::node::Node;
use crate::spec::Flow;
use crate::value::{Map, Value};

/// An activation that waits for the driver to resolve some of its values.
#[derive(Debug)]
pub(crate) struct Pending {
    pub holes: Vec<Hole>,
    pub then: Then,
}

/// What follows once the values are there.
#[derive(Debug)]
pub(crate) enum Then {
    /// The component's inputs are complete.
    Inputs(Map),
    /// An endpoint's body and query are complete.
    Endpoint(Box<Sides>),
}

/// Body and query of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    pub headers: Map,
    pub body: Map,
    pub query: Map,
    pub params: Map,
}

/// A value that is missing yet.
#[derive(Debug)]
pub(crate) struct Hole {
    pub side: Side,
    pub name: Arc<str>,
    pub shape: Recognised,
}

/// Where the value belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Input,
    Body,
    Query,
}

impl Hole {
    pub fn input(name: &Arc<str>, shape: Recognised) -> Self {
        Self { side: Side::Input, name: name.clone(), shape }
    }
}

impl Pending {
    /// What the driver has to do, in order.
    pub fn needs(&self) -> Vec<NeedsIo> {
        let mut needs = Vec::new();
        self.holes.iter().for_each(|hole| collect(&hole.shape, &mut needs));
        needs
    }
}

fn collect(shape: &Recognised, out: &mut Vec<NeedsIo>) {
    match shape {
        Recognised::Ready(_) => {}
        Recognised::Needs(need) => out.push(need.clone()),
        Recognised::List(list) => list.iter().for_each(|item| collect(item, out)),
    }
}

/// Puts resolved values into a shape; a list of one is that one.
fn fill(shape: &Recognised, values: &mut impl Iterator<Item = Value>) -> Option<Value> {
    match shape {
        Recognised::Ready(value) => Some(value.clone()),
        Recognised::Needs(_) => values.next(),
        Recognised::List(list) => {
            let mut items = list.iter().map(|item| fill(item, values)).collect::<Option<Vec<_>>>()?;
            if items.len() == 1 { items.pop() } else { Some(Value::array(items)) }
        }
    }
}

impl Pending {
    /// Goes on with what the driver has resolved.
    pub fn resolved(self, node: &Node, values: Vec<Result<Value, String>>) -> Prepared {
        let values: Result<Vec<Value>, String> = values.into_iter().collect();
        match values.and_then(|values| self.complete(values)) {
            Err(message) => Prepared::Settled(error_output(message)),
            Ok(Then::Inputs(input)) => {
                let flow = node.entry.map_or(Flow::Plain, |entry| entry.spec.flow);
                prepared(node, flow, input)
            }
            Ok(Then::Endpoint(sides)) => endpoint::store_or_settle(node, *sides),
        }
    }

    fn complete(self, values: Vec<Value>) -> Result<Then, String> {
        let mut values = values.into_iter();
        let mut then = self.then;
        for hole in &self.holes {
            let value = fill(&hole.shape, &mut values).ok_or("fewer values were resolved than needed")?;
            let target = match (&mut then, hole.side) {
                (Then::Inputs(input), _) => input,
                (Then::Endpoint(sides), Side::Query) => &mut sides.query,
                (Then::Endpoint(sides), _) => &mut sides.body,
            };
            target.insert(hole.name.clone(), value);
        }
        Ok(then)
    }
}
