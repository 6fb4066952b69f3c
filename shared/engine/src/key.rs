//! The name of an activation: stable across processes, so that a journal can speak of it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One execution of a component in a run.
///
/// Written `<component>@<round>` with the loop path before it: `LOOP:2/INNER:0/A@17`. Components are named
/// by id; characters that the form uses itself are percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActivationKey {
    /// Component id.
    pub component: Arc<str>,
    /// The loops around it, outermost first, each with the element's position.
    pub path: Arc<[LoopStep]>,
    /// Virtual round: one more than that of the activation which completed its inputs.
    pub round: u32,
}

/// A loop and the position of the element it is at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoopStep {
    /// Component id of the loop.
    pub component: Arc<str>,
    /// Position of the element.
    pub index: u32,
}

impl ActivationKey {
    /// The key under which an effect of this activation is done at most once.
    pub fn idempotency_key(&self, run_id: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(run_id.len() as u64).to_le_bytes());
        hasher.update(run_id.as_bytes());
        hasher.update(self.to_string().as_bytes());
        hasher.finalize().to_hex().to_string()
    }
}

impl fmt::Display for ActivationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.path.iter() {
            write_id(&step.component, f)?;
            write!(f, ":{}/", step.index)?;
        }
        write_id(&self.component, f)?;
        write!(f, "@{}", self.round)
    }
}

fn write_id(id: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in id.chars() {
        if matches!(c, '%' | ':' | '/' | '@') {
            write!(f, "%{:02X}", u32::from(c))?;
        } else {
            fmt::Write::write_char(f, c)?;
        }
    }
    Ok(())
}

/// A text that is no activation key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no activation key, expected <component>@<round> with <loop>:<index>/ before it")]
pub struct InvalidKey(String);

impl FromStr for ActivationKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let read = || {
            let (path, last) = text.rsplit_once('/').map_or((None, text), |(path, last)| (Some(path), last));
            let (component, round) = last.rsplit_once('@')?;
            let steps = path.into_iter().flat_map(|path| path.split('/'));
            let step = |step: &str| {
                let (component, index) = step.rsplit_once(':')?;
                Some(LoopStep { component: read_id(component)?, index: index.parse().ok()? })
            };
            let path: Option<Vec<LoopStep>> = steps.map(step).collect();
            Some(Self { component: read_id(component)?, path: path?.into(), round: round.parse().ok()? })
        };
        read().ok_or_else(|| InvalidKey(text.to_owned()))
    }
}

fn read_id(text: &str) -> Option<Arc<str>> {
    if text.is_empty() {
        return None;
    }
    let mut parts = text.split('%');
    let mut id = parts.next()?.to_owned();
    for part in parts {
        let code = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        id.push(char::from(code));
        id.push_str(&part[2..]);
    }
    Some(id.into())
}

impl Serialize for ActivationKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ActivationKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(path: &[(&str, u32)], component: &str, round: u32) -> ActivationKey {
        let step = |(id, index): &(&str, u32)| LoopStep { component: (*id).into(), index: *index };
        ActivationKey { component: component.into(), path: path.iter().map(step).collect(), round }
    }

    #[test]
    fn the_written_form_reads_back() {
        for (key, text) in [
            (key(&[], "A", 3), "A@3"),
            (key(&[("L", 2), ("I", 0)], "A", 17), "L:2/I:0/A@17"),
            (key(&[("x/y:z", 1)], "a@b%", 0), "x%2Fy%3Az:1/a%40b%25@0"),
        ] {
            assert_eq!(key.to_string(), text);
            assert_eq!(text.parse::<ActivationKey>().unwrap(), key);
            let json = serde_json::to_string(&key).unwrap();
            assert_eq!(serde_json::from_str::<ActivationKey>(&json).unwrap(), key);
        }
        for bad in ["", "A", "A@", "@1", "L/A@1", "L:x/A@1", "%zz@1"] {
            assert!(bad.parse::<ActivationKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn idempotency_keys_differ_by_run_and_place() {
        let one = key(&[], "A", 1);
        assert_eq!(one.idempotency_key("r").len(), 64);
        assert_eq!(one.idempotency_key("r"), one.clone().idempotency_key("r"));
        assert_ne!(one.idempotency_key("r"), one.idempotency_key("s"));
        assert_ne!(one.idempotency_key("r"), key(&[], "A", 2).idempotency_key("r"));
        assert_ne!(one.idempotency_key("r"), key(&[("L", 0)], "A", 1).idempotency_key("r"));
    }
}
