//! The whole document as a debug session sees it: any component can be reached, whatever the entry.

use crate::bits::Bits;
use crate::plan::Plan;
use crate::plan::compile::flow;
use crate::plan::region::Link;

/// Who is connected to whom, and what stands in the body of which loop.
#[derive(Debug)]
pub(super) struct Graph {
    /// Connections by target.
    pub incoming: Vec<Vec<Link>>,
    /// Bodies of loops by component; what their result reaches is no part.
    bodies: Vec<Option<Bits>>,
}

impl Graph {
    pub fn of(plan: &Plan) -> Self {
        let size = plan.nodes.len();
        let mut incoming = vec![Vec::new(); size];
        for link in plan.links.iter().flatten() {
            incoming[link.target as usize].push(link.clone());
        }
        let body = |node: u32| {
            let side = |with_result: bool| {
                let links = plan.links[node as usize].iter();
                let from = links.filter(|link| link.with_result == with_result).map(|link| link.target);
                reach(plan, from, Some(node))
            };
            let after = side(true);
            let mut body = side(false);
            body.remove(node);
            after.iter().for_each(|at| body.remove(at));
            body
        };
        let is_loop = |node: u32| flow(&plan.nodes[node as usize]).has_body();
        let bodies = (0..size as u32).map(|node| is_loop(node).then(|| body(node))).collect();
        let mut graph = Self { incoming, bodies };
        graph.nest();
        graph
    }

    /// What an outer loop's result reaches is behind its inner loops, too.
    fn nest(&mut self) {
        let count = |of: &u32| self.bodies[*of as usize].as_ref().map_or(0, |body| body.iter().count());
        let mut loops: Vec<u32> =
            (0..self.bodies.len() as u32).filter(|of| self.bodies[*of as usize].is_some()).collect();
        loops.sort_by_cached_key(|of| std::cmp::Reverse(count(of)));
        for outer in &loops {
            for inner in &loops {
                if !self.is_in_body(*outer, *inner) || self.is_in_body(*inner, *outer) {
                    continue;
                }
                let behind: Vec<u32> = (0..self.bodies.len() as u32)
                    .filter(|node| self.is_in_body(*inner, *node) && !self.is_in_body(*outer, *node))
                    .collect();
                if let Some(body) = &mut self.bodies[*inner as usize] {
                    behind.into_iter().for_each(|node| body.remove(node));
                }
            }
        }
    }

    /// True if a component stands in the body of a loop.
    pub fn is_in_body(&self, of: u32, node: u32) -> bool {
        self.bodies[of as usize].as_ref().is_some_and(|body| body.contains(node))
    }

    /// Components with a path to one of some, these included, that does not lead over `around`.
    pub fn sources(&self, of: impl IntoIterator<Item = u32>, around: u32) -> Bits {
        let mut seen = Bits::new(self.incoming.len());
        let mut queue: Vec<u32> = of.into_iter().filter(|node| seen.insert(*node)).collect();
        while let Some(node) = queue.pop() {
            let sources = self.incoming[node as usize].iter().map(|link| link.source);
            queue.extend(sources.filter(|source| *source != around && seen.insert(*source)));
        }
        seen
    }
}

/// Components reachable from some, these included, without going on from `around`.
pub(super) fn reach(plan: &Plan, from: impl IntoIterator<Item = u32>, around: Option<u32>) -> Bits {
    let mut seen = Bits::new(plan.nodes.len());
    let mut queue: Vec<u32> = from.into_iter().filter(|node| seen.insert(*node)).collect();
    while let Some(node) = queue.pop() {
        if Some(node) != around {
            let targets = plan.links[node as usize].iter().map(|link| link.target);
            queue.extend(targets.filter(|target| seen.insert(*target)));
        }
    }
    seen
}
