//! Calls of tools, put together from pieces.

use std::collections::HashMap;

use sre_proto::llm::v1 as pb;

use super::Piece;

/// More calls than these in one answer are a fault of the provider.
const MOST: usize = 1024;

/// The calls of one answer, in the order in which they began.
#[derive(Debug, Default)]
pub struct Calls {
    calls: Vec<Built>,
    /// Places by the provider's own numbers or ids.
    places: HashMap<String, usize>,
}

#[derive(Debug, Default)]
struct Built {
    id: String,
    name: String,
    arguments: String,
}

impl Calls {
    /// More of the call that its provider knows by `key`. An id that differs from the one before begins another call:
    /// some services give every call the number 0.
    pub fn more(&mut self, key: &str, id: &str, name: &str, fragment: &str) -> Option<Piece> {
        let known = self.places.get(key).copied();
        let is_other = |place: usize| {
            let known = self.calls.get(place).map_or("", |call| &call.id);
            !known.is_empty() && !id.is_empty() && known != id
        };
        let place = match known.filter(|place| !is_other(*place)) {
            Some(place) => place,
            None if self.calls.len() >= MOST => return None,
            None => {
                self.calls.push(Built::default());
                self.places.insert(key.to_owned(), self.calls.len() - 1);
                self.calls.len() - 1
            }
        };
        let call = self.calls.get_mut(place)?;
        let mut delta = pb::ToolCallDelta {
            index: i32::try_from(place).unwrap_or(i32::MAX),
            arguments_fragment: fragment.to_owned(),
            ..pb::ToolCallDelta::default()
        };
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
            id.clone_into(&mut delta.id);
        }
        if call.name.is_empty() {
            name.clone_into(&mut call.name);
            name.clone_into(&mut delta.name);
        }
        call.arguments.push_str(fragment);
        let says_something = !(delta.id.is_empty() && delta.name.is_empty() && fragment.is_empty());
        says_something.then_some(Piece::ToolCall(delta))
    }

    /// The arguments of a call so far.
    pub fn arguments(&self, key: &str) -> &str {
        let call = self.places.get(key).and_then(|place| self.calls.get(*place));
        call.map_or("", |call| &call.arguments)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Bytes held.
    pub fn size_bytes(&self) -> usize {
        self.calls.iter().map(|call| call.arguments.len() + call.name.len() + call.id.len()).sum()
    }

    /// The calls. A model that wrote no arguments means none.
    pub fn finish(self) -> Vec<pb::ToolCall> {
        let whole = self.calls.into_iter().map(|call| {
            let is_blank = call.arguments.trim().is_empty();
            pb::ToolCall {
                id: call.id,
                name: call.name,
                arguments_json: if is_blank { "{}".into() } else { call.arguments.into() },
                ..pb::ToolCall::default()
            }
        });
        whole.collect()
    }
}
