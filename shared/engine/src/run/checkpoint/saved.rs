//! The written form of a run's state. Values are numbers into the values of all checkpoints so far.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::LoopStep;
use crate::run::Starved;

/// A value's number.
pub type Ref = u32;
/// Values by name.
pub type Refs = Vec<(Arc<str>, Ref)>;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedRun {
    /// The component the run starts at: a checkpoint of another run is noticed.
    pub entry: Arc<str>,
    /// Position in the chain.
    pub number: u32,
    /// Number of its first value.
    pub first: Ref,
    /// Values that later checkpoints may name.
    pub remembered: Vec<Ref>,
    pub serial: u64,
    pub scopes: Vec<SavedScope>,
    pub free: Vec<u32>,
    pub running: Vec<SavedRunning>,
    /// Round, scope, component.
    pub starved_loops: Vec<(u32, u32, Arc<str>)>,
    /// Appended to those before.
    pub leaves: Vec<SavedLeaf>,
    pub failed: Vec<SavedFailed>,
    pub starved: Vec<Starved>,
    pub circular: Option<(u32, Arc<str>)>,
    pub cancelled: Option<String>,
    /// Failures that this checkpoint or one before names by number: whether their handlers have run.
    pub handled: Vec<(u32, bool)>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedScope {
    /// Scope and component of the loop.
    #[serde(skip_serializing_if = "is_default")]
    pub parent: Option<(u32, Arc<str>)>,
    #[serde(skip_serializing_if = "is_default")]
    pub path: Vec<(Arc<str>, u32)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<SavedSlot>,
    #[serde(skip_serializing_if = "is_default")]
    pub active: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "is_default")]
    pub last_round: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub iteration: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leaves: Vec<SavedLeaf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<(SavedLeaf, u32)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub starved: Vec<Starved>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SavedSlot {
    pub component: Arc<str>,
    /// Deliveries are appended to those that the checkpoint before has.
    #[serde(skip_serializing_if = "is_default")]
    pub appends: bool,
    #[serde(skip_serializing_if = "Vec::is_empty", with = "columns")]
    pub deliveries: Vec<SavedDelivery>,
    /// Of deliveries that come out of loops: their serial, and the element.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<(u64, SavedPath)>,
    #[serde(skip_serializing_if = "is_default")]
    pub held: Refs,
    #[serde(skip_serializing_if = "is_default")]
    pub handling: Vec<u32>,
    #[serde(skip_serializing_if = "is_default")]
    pub waiting: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub seed: Option<Refs>,
    #[serde(skip_serializing_if = "is_default")]
    pub running: Option<u32>,
    #[serde(skip_serializing_if = "is_default")]
    pub executions: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub not_before: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub watchers: Vec<Arc<str>>,
    #[serde(skip_serializing_if = "is_default")]
    pub watching: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looping: Option<SavedLoop>,
}

/// A delivery as a row: round, connection, serial, input, value, and the failure's number plus one.
pub type SavedDelivery = [u64; 6];

/// Rows as columns of differences: neighbours are alike, so that next to nothing is left of them once
/// compressed.
mod columns {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{SavedDelivery, differences};

    pub fn serialize<S: Serializer>(rows: &[SavedDelivery], serializer: S) -> Result<S::Ok, S::Error> {
        let column = |at: usize| differences::of(rows.iter().map(|row| row[at]));
        let columns: [Vec<i64>; 6] = std::array::from_fn(column);
        columns.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SavedDelivery>, D::Error> {
        let columns = <[Vec<i64>; 6]>::deserialize(deserializer)?;
        let rows = columns[0].len();
        if columns.iter().any(|column| column.len() != rows) {
            return Err(serde::de::Error::custom("columns of different lengths"));
        }
        let columns = columns.map(differences::sums);
        Ok((0..rows).map(|row| std::array::from_fn(|at| columns[at][row])).collect())
    }
}

/// Numbers as differences to the one before.
mod differences {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Ref;

    pub fn of(numbers: impl Iterator<Item = u64>) -> Vec<i64> {
        let mut before = 0;
        numbers.map(|it| it.wrapping_sub(std::mem::replace(&mut before, it)) as i64).collect()
    }

    pub fn sums(differences: Vec<i64>) -> Vec<u64> {
        let mut sum = 0u64;
        let add = |it: i64| {
            sum = sum.wrapping_add_signed(it);
            sum
        };
        differences.into_iter().map(add).collect()
    }

    pub fn serialize<S: Serializer>(refs: &[Ref], serializer: S) -> Result<S::Ok, S::Error> {
        of(refs.iter().map(|it| u64::from(*it))).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Ref>, D::Error> {
        let sums = sums(Vec::deserialize(deserializer)?).into_iter();
        sums.map(|it| Ref::try_from(it).map_err(serde::de::Error::custom)).collect()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedLoop {
    /// Tells it from other loops at the same place.
    pub id: u64,
    pub elements: Ref,
    pub next: usize,
    /// Appended to those before.
    #[serde(with = "differences")]
    pub results: Vec<Ref>,
    /// The first scope of its bodies.
    pub scope: u32,
    pub round: u32,
    pub started: u32,
    /// Appended to those before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Ref>,
    /// The other scopes of its bodies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle: Vec<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub early: Vec<SavedEarly>,
    /// Absent where elements are taken one by one: all before the one at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<u32>,
    /// Absent where it is `round`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u32>,
}

/// An element that ended before one ahead of it did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedEarly {
    pub index: u32,
    pub results: Vec<Ref>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Ref>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed: bool,
    pub after: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub starved: Vec<Starved>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedLeaf {
    pub component: Arc<str>,
    pub round: u32,
    pub output: Ref,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedFailed {
    pub leaf: SavedLeaf,
    pub hard: bool,
    pub handled: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedRunning {
    pub scope: u32,
    pub component: Arc<str>,
    pub round: u32,
    pub serial: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub input: Refs,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<SavedPending>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedPending {
    pub holes: Vec<SavedHole>,
    pub then: SavedThen,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedThen {
    Inputs(Refs),
    Endpoint { headers: Refs, body: Refs, query: Refs, params: Refs },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedHole {
    pub side: SavedSide,
    pub name: Arc<str>,
    pub shape: SavedShape,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedSide {
    Input,
    Body,
    Query,
}

/// Addresses are values: they may hold what must not be written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavedShape {
    Ready(Ref),
    Fetch { url: Ref, name: Ref },
    Stat { url: Ref },
    DataUrl { file: Ref },
    Store { binary: Ref },
    List(Vec<SavedShape>),
}

/// The written form of a loop path.
pub type SavedPath = Vec<(Arc<str>, u32)>;

/// Writes a loop path.
pub fn path(steps: &[LoopStep]) -> SavedPath {
    steps.iter().map(|step| (step.component.clone(), step.index)).collect()
}
