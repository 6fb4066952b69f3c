//! Where a component can run: the top of a run, or the body of a loop.
//!
//! A run is a tree of scopes. The top scope holds the components that the entry reaches; each loop has a
//! child scope with its body, one sub-run per element. A region is the compiled form of a scope: its
//! components, who reaches whom inside it, and for each connection the scope and place it delivers to.
//!
//! A component of a body may also stand in the outer scope, when something outside the loop is connected
//! to it: there it collects what every element needs (or even runs, if that is all it needs).

use std::collections::HashMap;

use crate::bits::Bits;

/// Most regions an entry may have; deeper nesting of loops with crossing connections is refused.
pub const MAX_REGIONS: usize = 1000;

/// A compiled scope.
#[derive(Debug)]
pub struct Region {
    /// The component numbers, ascending (document order).
    pub nodes: Vec<u32>,
    /// One per component, in the same order.
    pub places: Vec<Place>,
    /// Places that take over what an outer scope has collected for them.
    pub seeds: Vec<Seed>,
    local: HashMap<u32, u32>,
}

/// A component in a scope.
#[derive(Debug)]
pub struct Place {
    /// Component number.
    pub node: u32,
    /// Places with a path to this one, itself included.
    pub ancestors: Bits,
    /// What it delivers, in document order; of a loop, what its result delivers.
    pub firings: Vec<Firing>,
    /// Inputs without which it waits.
    pub required: Vec<u32>,
    /// No connection leaves it.
    pub leaf: bool,
    /// Belongs to a loop's body and stands here only because something outside is connected to it.
    pub collects: bool,
    /// Set for loops.
    pub body: Option<LoopBody>,
}

/// The body of a loop.
#[derive(Debug)]
pub struct LoopBody {
    /// The region of the body; `None` if nothing of the element's outputs leads into one.
    pub region: Option<u32>,
    /// What an element delivers, seen from the body's scope.
    pub firings: Vec<Firing>,
    /// Places that may still add to what every element needs.
    pub feeders: Bits,
}

/// A connection as it is fired from a scope.
#[derive(Clone, Debug)]
pub struct Firing {
    /// Position of the connection in the document.
    pub order: u32,
    /// Output of the source.
    pub output: u32,
    /// Input of the target.
    pub input: u32,
    /// How many scopes up the target stands.
    pub up: u32,
    /// The target's place there.
    pub target: u32,
}

/// A place that starts with what an outer scope has collected.
#[derive(Debug)]
pub struct Seed {
    /// Place in the body.
    pub place: u32,
    /// How many scopes up.
    pub up: u32,
    /// Place there.
    pub from: u32,
}

impl Region {
    /// The place of a component.
    pub fn place_of(&self, node: u32) -> Option<u32> {
        self.local.get(&node).copied()
    }
}

/// A live connection of an entry.
#[derive(Clone, Debug)]
pub struct Link {
    /// Position in the document.
    pub order: u32,
    /// Source component.
    pub source: u32,
    /// Its output.
    pub output: u32,
    /// Target component.
    pub target: u32,
    /// Its input.
    pub input: u32,
    /// Of a loop: fires with the result, not with each element.
    pub with_result: bool,
}

/// What the builder knows about an entry.
pub struct Graph<'a> {
    /// Number of components.
    pub size: usize,
    /// Live connections by source.
    pub links: &'a [Vec<Link>],
    /// Which components are loops.
    pub is_loop: &'a dyn Fn(u32) -> bool,
    /// Inputs without which a component waits.
    pub required: &'a [Vec<u32>],
    /// Which links carry failures.
    pub is_error: &'a dyn Fn(&Link) -> bool,
    /// Which components have no connection leaving them.
    pub leaf: &'a dyn Fn(u32) -> bool,
}

/// Builds the regions of an entry, the top one first. `None` if loops are nested beyond all reason.
pub fn build(graph: &Graph<'_>, entry: u32) -> Option<Vec<Region>> {
    let mut builder = Builder { graph, regions: Vec::new(), parents: Vec::new() };
    let universe = reach(graph, [entry], |_| true, |_| true);
    builder.region(universe, vec![entry], None)?;
    Some(builder.regions)
}

/// Components reachable from some, these included, over components that may be passed and links that count.
fn reach(
    graph: &Graph<'_>,
    from: impl IntoIterator<Item = u32>,
    pass: impl Fn(u32) -> bool,
    inside: impl Fn(u32) -> bool,
) -> Bits {
    let mut seen = Bits::new(graph.size);
    let mut queue: Vec<u32> = from.into_iter().filter(|node| inside(*node)).collect();
    queue.retain(|node| seen.insert(*node));
    while let Some(node) = queue.pop() {
        if !pass(node) {
            continue;
        }
        for link in &graph.links[node as usize] {
            if inside(link.target) && seen.insert(link.target) {
                queue.push(link.target);
            }
        }
    }
    seen
}

struct Builder<'a> {
    graph: &'a Graph<'a>,
    regions: Vec<Region>,
    parents: Vec<Option<u32>>,
}

impl Builder<'_> {
    fn region(&mut self, universe: Bits, from: Vec<u32>, parent: Option<u32>) -> Option<u32> {
        if self.regions.len() >= MAX_REGIONS {
            return None;
        }
        let bodies = self.bodies(&universe);
        let successors = self.successors(&universe, &bodies);
        let own = own_nodes(self.graph.size, &from, &successors);
        let nodes: Vec<u32> = own.iter().collect();
        let local: HashMap<u32, u32> = (0u32..).zip(&nodes).map(|(place, node)| (*node, place)).collect();
        let index = self.regions.len() as u32;
        let seeds = self.seeds(&nodes, parent);
        self.regions.push(Region { nodes: nodes.clone(), places: Vec::new(), seeds, local });
        self.parents.push(parent);

        let ancestors = ancestors(&nodes, &successors, &self.regions[index as usize]);
        for (place, node) in nodes.iter().enumerate() {
            let links = &self.graph.links[*node as usize];
            let body = match bodies.get(node) {
                Some(body) => Some(self.loop_body(*node, body, index, &ancestors)?),
                None => None,
            };
            let collects = nodes.iter().filter_map(|at| bodies.get(at)).any(|body| body.contains(*node));
            let fired = links.iter().filter(|link| body.is_none() || link.with_result);
            let firings = fired.filter_map(|link| self.firing(link, index)).collect();
            self.regions[index as usize].places.push(Place {
                node: *node,
                ancestors: ancestors[place].clone(),
                firings,
                required: self.graph.required[*node as usize].clone(),
                // A loop whose result leads nowhere is the end of its branch.
                leaf: (self.graph.leaf)(*node)
                    || (body.is_some()
                        && !links.iter().any(|link| link.with_result && !(self.graph.is_error)(link))),
                collects,
                body,
            });
        }
        Some(index)
    }

    /// The body of each loop: what its element outputs reach, without what its result reaches.
    fn bodies(&self, universe: &Bits) -> HashMap<u32, Bits> {
        let mut bodies = HashMap::new();
        for node in universe.iter().filter(|node| (self.graph.is_loop)(*node)) {
            let side = |with_result: bool| {
                let links = self.graph.links[node as usize].iter();
                let targets = links.filter(|link| link.with_result == with_result).map(|link| link.target);
                reach(self.graph, targets, |at| at != node, |at| universe.contains(at))
            };
            let after = side(true);
            let mut body = side(false);
            body.remove(node);
            after.iter().for_each(|at| body.remove(at));
            bodies.insert(node, body);
        }
        bodies
    }

    /// Who can hand something to whom inside the region; a loop hands on for its whole body.
    fn successors(&self, universe: &Bits, bodies: &HashMap<u32, Bits>) -> Vec<Vec<u32>> {
        let mut successors = vec![Vec::new(); self.graph.size];
        for node in universe.iter() {
            let targets = |of: u32| self.graph.links[of as usize].iter().map(|link| link.target);
            let out = &mut successors[node as usize];
            match bodies.get(&node) {
                None => out.extend(targets(node)),
                Some(body) => {
                    let all = std::iter::once(node).chain(body.iter()).flat_map(targets);
                    out.extend(all.filter(|target| !body.contains(*target)));
                }
            }
            out.retain(|target| universe.contains(*target));
            out.sort_unstable();
            out.dedup();
        }
        successors
    }

    fn loop_body(&mut self, node: u32, body: &Bits, own: u32, ancestors: &[Bits]) -> Option<LoopBody> {
        let links = self.graph.links[node as usize].iter().filter(|link| !link.with_result);
        let links: Vec<Link> = links.cloned().collect();
        if links.is_empty() {
            return Some(LoopBody { region: None, firings: Vec::new(), feeders: Bits::default() });
        }
        let from: Vec<u32> = links.iter().map(|link| link.target).filter(|at| body.contains(*at)).collect();
        let region = self.region(body.clone(), from, Some(own))?;
        let firings = links.iter().filter_map(|link| self.firing(link, region)).collect();
        let outer = &self.regions[own as usize];
        let mut feeders = Bits::new(outer.nodes.len());
        for place in body.iter().filter_map(|at| outer.place_of(at)) {
            feeders.union(&ancestors[place as usize]);
        }
        outer.place_of(node).into_iter().for_each(|place| feeders.remove(place));
        Some(LoopBody { region: Some(region), firings, feeders })
    }

    fn firing(&self, link: &Link, from: u32) -> Option<Firing> {
        let (up, target) = self.nearest(link.target, Some(from))?;
        Some(Firing { order: link.order, output: link.output, input: link.input, up, target })
    }

    fn seeds(&self, nodes: &[u32], parent: Option<u32>) -> Vec<Seed> {
        let seed = |(place, node): (u32, &u32)| {
            let (up, from) = self.nearest(*node, parent)?;
            Some(Seed { place, up: up + 1, from })
        };
        (0u32..).zip(nodes).filter_map(seed).collect()
    }

    /// The nearest scope, outwards from a region, in which a component stands.
    fn nearest(&self, node: u32, from: Option<u32>) -> Option<(u32, u32)> {
        let mut at = from;
        let mut up = 0;
        while let Some(region) = at {
            if let Some(place) = self.regions[region as usize].place_of(node) {
                return Some((up, place));
            }
            at = self.parents[region as usize];
            up += 1;
        }
        None
    }
}

fn own_nodes(size: usize, from: &[u32], successors: &[Vec<u32>]) -> Bits {
    let mut own = Bits::new(size);
    let mut queue: Vec<u32> = from.iter().copied().filter(|node| own.insert(*node)).collect();
    while let Some(node) = queue.pop() {
        queue.extend(successors[node as usize].iter().filter(|target| own.insert(**target)));
    }
    own
}

fn ancestors(nodes: &[u32], successors: &[Vec<u32>], region: &Region) -> Vec<Bits> {
    let mut ancestors: Vec<Bits> = Vec::with_capacity(nodes.len());
    for place in 0..nodes.len() as u32 {
        let mut bits = Bits::new(nodes.len());
        bits.insert(place);
        ancestors.push(bits);
    }
    let mut queue: std::collections::VecDeque<u32> = (0..nodes.len() as u32).collect();
    let mut queued = Bits::new(nodes.len());
    (0..nodes.len() as u32).for_each(|place| {
        queued.insert(place);
    });
    while let Some(place) = queue.pop_front() {
        queued.remove(place);
        let mine = ancestors[place as usize].clone();
        for target in &successors[nodes[place as usize] as usize] {
            let Some(target) = region.place_of(*target) else { continue };
            if target != place && ancestors[target as usize].union(&mine) && queued.insert(target) {
                queue.push_back(target);
            }
        }
    }
    ancestors
}
