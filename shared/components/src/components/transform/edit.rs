//! Changes of objects, by paths of member names: `a.b.c`.

use std::sync::Arc;

use sre_engine::value::{Map, Value};

/// The most paths of a setting, and the most names in a path.
const MAX_PATHS: usize = 1_000;
const MAX_NAMES: usize = 64;

/// Refuses more paths than a setting may have.
pub(super) fn limit(count: usize, label: &str) -> Result<(), String> {
    if count > MAX_PATHS {
        return Err(format!("\"{label}\" must be at most {MAX_PATHS} paths"));
    }
    Ok(())
}

/// Changes an object, or each object of a list.
///
/// # Errors
/// If the value is neither, or a change fails.
pub(super) fn each(value: &Value, change: impl Fn(&Map) -> Result<Map, String>) -> Result<Value, String> {
    let changed = |value: &Value| match value {
        Value::Object(map) => change(map).map(Value::object),
        other => Err(format!(
            "a value of type {} has no members to change: give an object or a list of objects",
            other.kind()
        )),
    };
    match value {
        Value::Array(items) => items.iter().map(changed).collect::<Result<_, _>>().map(Value::array),
        other => changed(other),
    }
}

/// What of an object lies at these paths, with the objects around it.
pub(super) fn picked(map: &Map, paths: &[String]) -> Map {
    let mut out = Map::new();
    for path in paths {
        if let Some(value) = find(map, path) {
            // The way there is in the original, so it can be made.
            let _ = set(&mut out, path, value.clone());
        }
    }
    out
}

fn find<'a>(map: &'a Map, path: &str) -> Option<&'a Value> {
    // A member whose name has dots is found by its whole name.
    if let Some(value) = map.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    find(map.get(first)?.as_object()?, rest)
}

/// Removes what lies at a path.
pub(super) fn remove(map: &mut Map, path: &str) {
    take(map, path);
}

fn take(map: &mut Map, path: &str) -> Option<Value> {
    if map.contains_key(path) {
        return map.shift_remove(path);
    }
    let (first, rest) = path.split_once('.')?;
    match map.get_mut(first)? {
        Value::Object(inner) => take(Arc::make_mut(inner), rest),
        _ => None,
    }
}

/// Moves members. All old ones are taken before any new one is set, so that two may change places. A member that
/// keeps its object keeps its place in it.
pub(super) fn rename(map: &mut Map, names: &Map) {
    let mut moved = Vec::new();
    for (old, new) in names {
        let Some(new) = new.as_str() else { continue };
        let place = map.get_index_of(old.as_ref()).filter(|_| !new.contains('.'));
        if let Some(value) = take(map, old) {
            moved.push((new, value, place));
        }
    }
    for (new, value, place) in moved {
        match place {
            Some(place) if !map.contains_key(new) => {
                map.shift_insert(place.min(map.len()), new.into(), value);
            }
            _ => {
                // The way may lead through a value that is no object: it is replaced.
                put(map, new, value, true).unwrap_or_default();
            }
        }
    }
}

/// Sets what lies at a path; objects on the way are made.
///
/// # Errors
/// If something on the way is no object, or the path is too long.
pub(super) fn set(map: &mut Map, path: &str, value: Value) -> Result<(), String> {
    put(map, path, value, false)
}

fn put(map: &mut Map, path: &str, value: Value, force: bool) -> Result<(), String> {
    if path.split('.').count() > MAX_NAMES {
        return Err(format!("a path has at most {MAX_NAMES} names"));
    }
    let (way, name) = path.rsplit_once('.').map_or((None, path), |(way, name)| (Some(way), name));
    let mut at = map;
    for step in way.into_iter().flat_map(|way| way.split('.')) {
        let inner = at.entry(step.into()).or_insert_with(|| Value::object(Map::new()));
        if force && inner.as_object().is_none() {
            *inner = Value::object(Map::new());
        }
        match inner {
            Value::Object(inner) => at = Arc::make_mut(inner),
            other => return Err(format!("'{step}' in '{path}' is of type {}, not an object", other.kind())),
        }
    }
    at.insert(name.into(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};
    use sre_engine::value::map_from_json;

    use super::*;

    fn map(json: Json) -> Map {
        let Json::Object(map) = json else { panic!("an object") };
        map_from_json(map)
    }

    fn sample() -> Map {
        map(json!({"a": {"b": 1, "c": {"d": 2}}, "x.y": 3, "z": 4}))
    }

    #[test]
    fn members_are_picked_and_left_out() {
        let paths = ["a.c.d", "x.y", "none.at.all"].map(str::to_owned);
        let picked = Value::object(picked(&sample(), &paths[..2]));
        assert_eq!(json!(picked), json!({"a": {"c": {"d": 2}}, "x": {"y": 3}}));
        let mut left = sample();
        ["a.b", "z", "x.y", "none.at.all", "z.q"].into_iter().for_each(|path| remove(&mut left, path));
        assert_eq!(json!(Value::object(left)), json!({"a": {"c": {"d": 2}}}));
    }

    #[test]
    fn members_are_renamed_in_their_place() {
        let mut renamed = sample();
        rename(&mut renamed, &map(json!({"a": "A", "z": "deep.z", "no": "n"})));
        let text = Value::object(renamed).to_json_text();
        assert_eq!(text, r#"{"A":{"b":1,"c":{"d":2}},"x.y":3,"deep":{"z":4}}"#);
        let mut swapped = map(json!({"p": 1, "q": 2}));
        rename(&mut swapped, &map(json!({"p": "q", "q": "p"})));
        assert_eq!(json!(Value::object(swapped)), json!({"p": 2, "q": 1}));
    }

    #[test]
    fn values_are_set_and_originals_stay() {
        let original = sample();
        let mut changed = original.clone();
        set(&mut changed, "a.c.e", Value::from(9)).unwrap();
        set(&mut changed, "new.one", Value::from("n")).unwrap();
        assert_eq!(original, sample());
        assert_eq!(changed["a"].path("c.e"), Some(Value::from(9)));
        assert_eq!(json!(changed["new"]), json!({"one": "n"}));
        assert_eq!(
            set(&mut changed, "z.k", Value::Null).unwrap_err(),
            "'z' in 'z.k' is of type number, not an object"
        );
        assert!(set(&mut changed, &"k.".repeat(100), Value::Null).unwrap_err().contains("64 names"));
    }

    #[test]
    fn lists_are_changed_one_by_one_and_scalars_are_refused() {
        let list = Value::from(json!([{"a": 1}, {"b": 2}]));
        let all = each(&list, |_| Ok(map(json!({"k": 1})))).unwrap();
        assert_eq!(json!(all), json!([{"k": 1}, {"k": 1}]));
        assert!(each(&Value::from(5), |map| Ok(map.clone())).unwrap_err().contains("type number"));
    }
}
