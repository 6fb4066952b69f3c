//! A collection in memory.
//!
//! Rows have slots in the order of their numbers. A row that was deleted leaves its slot empty. Slots below
//! `in_graph` are in the graph, or empty; those from there on are scanned.

use std::collections::HashMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::graph::Graph;
use super::top::Top;
use super::{EmbeddedSettings, Indexed};
use crate::backend::BackendError;
use crate::features::{NumberKey, Tag};
use crate::filter::Condition;
use crate::metric::{self, Metric};
use crate::model::{Collection, Generation, Query, Visibility};

/// Rows whose scores are computed before they are compared: their vectors stay in the nearest cache.
const BLOCK: usize = 64;
/// Of so many rows, one that meets a condition: with fewer, scanning those is faster than the graph.
const FEW: u64 = 10;

/// A slot.
#[derive(Debug, Clone, Copy)]
struct Slot {
    seq: i64,
    generation: Generation,
    live: bool,
}

/// A collection's rows.
pub struct Index {
    collection: Collection,
    /// Vectors after each other; of length 1 where the metric is cosine.
    matrix: Vec<f32>,
    slots: Vec<Slot>,
    slot_of: HashMap<i64, u32>,
    live: RoaringBitmap,
    tags: HashMap<Tag, RoaringBitmap>,
    numbers: HashMap<NumberKey, Vec<(f64, u32)>>,
    graph: Option<Arc<Graph>>,
    in_graph: u32,
}

impl Index {
    /// An empty one.
    pub fn new(collection: Collection) -> Self {
        Self {
            collection,
            matrix: Vec::new(),
            slots: Vec::new(),
            slot_of: HashMap::new(),
            live: RoaringBitmap::new(),
            tags: HashMap::new(),
            numbers: HashMap::new(),
            graph: None,
            in_graph: 0,
        }
    }

    /// Adds a row, unless it is there.
    pub fn add(&mut self, row: Indexed) {
        let newest = self.slots.last().map_or(i64::MIN, |slot| slot.seq);
        let Ok(slot) = u32::try_from(self.slots.len()) else { return };
        if row.seq <= newest || row.vector.len() != self.collection.dimension {
            return;
        }
        match self.collection.metric {
            Metric::Cosine => self.matrix.extend(metric::normalized(&row.vector)),
            Metric::Dot | Metric::Euclidean => self.matrix.extend(&row.vector),
        }
        self.slots.push(Slot { seq: row.seq, generation: row.generation, live: true });
        self.slot_of.insert(row.seq, slot);
        self.live.insert(slot);
        for tag in &row.features.tags {
            self.tags.entry(*tag).or_default().insert(slot);
        }
        for (key, number) in &row.features.numbers {
            self.numbers.entry(*key).or_default().push((*number, slot));
        }
    }

    /// Adds an empty slot in the place of a row that a graph knows and that is gone.
    pub fn add_gone(&mut self, seq: i64) {
        self.matrix.resize(self.matrix.len() + self.collection.dimension, 0.0);
        self.slots.push(Slot { seq, generation: 0, live: false });
    }

    /// Empties the slot of a row.
    pub fn remove(&mut self, seq: i64) {
        let Some(slot) = self.slot_of.remove(&seq) else { return };
        self.live.remove(slot);
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.live = false;
        }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.slot_of.len()
    }

    /// Slots without a row.
    pub fn gone(&self) -> usize {
        self.slots.len() - self.slot_of.len()
    }

    /// About how much memory it takes, without the graph.
    pub fn size_bytes(&self) -> usize {
        let numbers: usize = self.numbers.values().map(Vec::len).sum();
        let tags: usize = self.tags.values().map(RoaringBitmap::serialized_size).sum();
        self.matrix.len() * size_of::<f32>() + self.slots.len() * 48 + numbers * 16 + tags
    }

    /// The graph, and how many slots it covers.
    pub fn graph(&self) -> Option<(Arc<Graph>, u32)> {
        self.graph.clone().map(|graph| (graph, self.in_graph))
    }

    /// Sets a graph that covers the first slots.
    pub fn set_graph(&mut self, graph: Arc<Graph>, in_graph: u32) {
        self.graph = Some(graph);
        self.in_graph = in_graph;
    }

    /// The numbers of the first slots.
    pub fn seqs(&self, first: u32) -> Vec<i64> {
        self.slots.iter().take(first as usize).map(|slot| slot.seq).collect()
    }

    /// Slots that no graph covers.
    pub fn outside_graph(&self) -> usize {
        self.slots.len() - self.in_graph as usize
    }

    /// Rows of slots from `from` on, some of them, with the slot to go on from.
    pub fn part(&self, from: u32, most: u32) -> (Vec<(u32, Vec<f32>)>, u32) {
        let end = (from as usize).saturating_add(most as usize).min(self.slots.len());
        let dimension = self.collection.dimension;
        let rows = (from as usize..end)
            .filter(|place| self.slots[*place].live)
            .map(|place| (place as u32, self.matrix[place * dimension..][..dimension].to_vec()))
            .collect();
        (rows, u32::try_from(end).unwrap_or(u32::MAX))
    }

    /// Numbers and scores of the best rows.
    pub fn search(
        &self,
        query: &Query,
        settings: &EmbeddedSettings,
    ) -> Result<Vec<(i64, f32)>, BackendError> {
        let vector = match self.collection.metric {
            Metric::Cosine => metric::normalized(&query.vector),
            Metric::Dot | Metric::Euclidean => query.vector.clone(),
        };
        if vector.len() != self.collection.dimension {
            return Err(BackendError::Failed("the vector has another dimension".to_owned()));
        }
        let meeting = query.condition.as_ref().map(|condition| self.meeting(condition));
        let best = match &self.graph {
            Some(graph) if self.use_graph(meeting.as_ref(), settings) => {
                self.by_graph(graph, &vector, query, meeting.as_ref())?
            }
            _ => self.by_scan(&vector, query, meeting.as_ref(), 0),
        };
        Ok(best
            .into_vec()
            .into_iter()
            .map(|(score, slot)| (self.slots[slot as usize].seq, self.told(score)))
            .collect())
    }

    /// Whether there is too much to compare with everything, by the settings of now: a graph of earlier ones may be
    /// there as well.
    fn use_graph(&self, meeting: Option<&RoaringBitmap>, settings: &EmbeddedSettings) -> bool {
        let (exact_below, rows) = (settings.exact_below as u64, self.live.len());
        match meeting {
            None => rows > exact_below,
            Some(meeting) => meeting.len() > exact_below.max(rows / FEW),
        }
    }

    /// The graph for what it covers, a scan for the rest. Where the graph finds too few, everything is scanned.
    fn by_graph(
        &self,
        graph: &Graph,
        vector: &[f32],
        query: &Query,
        meeting: Option<&RoaringBitmap>,
    ) -> Result<Top, BackendError> {
        let mut top = self.by_scan(vector, query, meeting, self.in_graph);
        let wanted = |slot: u32| {
            slot < self.in_graph
                && self.slots.get(slot as usize).is_some_and(|found| visible(found, &query.visibility))
                && meeting.is_none_or(|meeting| meeting.contains(slot))
        };
        let mut found = 0;
        for slot in graph.search(vector, query.top_k, wanted)? {
            top.push(self.score(vector, slot), slot);
            found += 1;
        }
        if found < query.top_k && top.len() < query.top_k {
            return Ok(self.by_scan(vector, query, meeting, 0));
        }
        Ok(top)
    }

    /// Compares with every row, from a slot on.
    fn by_scan(&self, vector: &[f32], query: &Query, meeting: Option<&RoaringBitmap>, from: u32) -> Top {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || self.scan(vector, query, meeting, from),
        )
    }

    #[inline(always)]
    fn scan(&self, vector: &[f32], query: &Query, meeting: Option<&RoaringBitmap>, from: u32) -> Top {
        let mut top = Top::new(query.top_k);
        let dimension = self.collection.dimension;
        if let Some(meeting) = meeting {
            for slot in meeting.range(from..) {
                if visible(&self.slots[slot as usize], &query.visibility) {
                    top.push(self.score(vector, slot), slot);
                }
            }
            return top;
        }
        let mut scores = [0.0f32; BLOCK];
        for first in (from as usize..self.slots.len()).step_by(BLOCK) {
            let slots = &self.slots[first..(first + BLOCK).min(self.slots.len())];
            let rows = self.matrix[first * dimension..].chunks_exact(dimension);
            match self.collection.metric {
                Metric::Euclidean => {
                    for (score, row) in scores.iter_mut().zip(rows.take(slots.len())) {
                        *score = -metric::squared_distance(vector, row);
                    }
                }
                Metric::Cosine | Metric::Dot => {
                    for (score, row) in scores.iter_mut().zip(rows.take(slots.len())) {
                        *score = metric::dot(vector, row);
                    }
                }
            }
            for (place, (slot, score)) in slots.iter().zip(scores).enumerate() {
                if top.takes(score) && visible(slot, &query.visibility) {
                    top.push(score, (first + place) as u32);
                }
            }
        }
        top
    }

    /// How rows are ordered: the inner product, or the square of the distance below zero.
    #[inline(always)]
    fn score(&self, vector: &[f32], slot: u32) -> f32 {
        let dimension = self.collection.dimension;
        let row = &self.matrix[slot as usize * dimension..][..dimension];
        match self.collection.metric {
            Metric::Cosine | Metric::Dot => metric::dot(vector, row),
            Metric::Euclidean => -metric::squared_distance(vector, row),
        }
    }

    /// What callers are told for [`Self::score`].
    fn told(&self, score: f32) -> f32 {
        match self.collection.metric {
            Metric::Cosine => score.clamp(-1.0, 1.0),
            Metric::Dot => score,
            Metric::Euclidean => metric::of_distance((-score).max(0.0).sqrt()),
        }
    }

    /// The rows for which a condition holds.
    fn meeting(&self, condition: &Condition) -> RoaringBitmap {
        match condition {
            Condition::All(inner) => {
                let mut all = self.live.clone();
                inner.iter().for_each(|condition| all &= self.meeting(condition));
                all
            }
            Condition::Any(inner) => {
                let mut any = RoaringBitmap::new();
                inner.iter().for_each(|condition| any |= self.meeting(condition));
                any
            }
            Condition::Tagged(tags) => {
                let mut any = RoaringBitmap::new();
                tags.iter().filter_map(|tag| self.tags.get(tag)).for_each(|slots| any |= slots);
                any & &self.live
            }
            Condition::Number(key, bounds) => {
                let numbers = self.numbers.get(key).map(Vec::as_slice).unwrap_or_default();
                let within = numbers.iter().filter(|(number, _)| bounds.hold(*number));
                within.map(|(_, slot)| *slot).collect::<RoaringBitmap>() & &self.live
            }
        }
    }
}

#[inline(always)]
fn visible(slot: &Slot, visibility: &Visibility) -> bool {
    slot.live && visibility.sees(slot.generation)
}
