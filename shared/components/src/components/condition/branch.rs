//! Branches as a record writes them.

use sre_engine::data::permissive_json;
use sre_engine::value::{Map, Value};

/// Limits of one component.
const MAX_BRANCHES: usize = 100;
const MAX_TESTS: usize = 50;

/// An output, and when it is taken.
#[derive(Debug)]
pub(super) struct Branch {
    /// The output's name.
    pub output: String,
    /// One condition is enough.
    pub any: bool,
    /// The conditions.
    pub tests: Vec<Test>,
}

/// A condition.
#[derive(Debug)]
pub(super) struct Test {
    /// What is looked at, as it is written.
    pub value: Value,
    /// How.
    pub operator: Operator,
    /// With what, as it is written.
    pub compare: Value,
    /// As what both are taken.
    pub kind: Kind,
    /// Upper and lower case are one.
    pub ignore_case: bool,
}

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name { $($variant),+ }

        impl $name {
            const NAMES: &'static [&'static str] = &[$($text),+];

            fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

names! {
    /// How a condition looks at its value.
    Operator {
        Equals = "equals", NotEquals = "not_equals",
        Greater = "greater", GreaterOrEqual = "greater_or_equal", Less = "less", LessOrEqual = "less_or_equal",
        Contains = "contains", NotContains = "not_contains",
        StartsWith = "starts_with", EndsWith = "ends_with", Matches = "matches",
        In = "in", NotIn = "not_in",
        IsEmpty = "is_empty", IsNotEmpty = "is_not_empty", Exists = "exists", NotExists = "not_exists",
        IsTrue = "is_true", IsFalse = "is_false", HasType = "has_type",
    }
}

names! {
    /// As what values are compared.
    Kind { Auto = "auto", Text = "text", Number = "number", Boolean = "boolean", Date = "date" }
}

/// Reads the setting: a list, or JSON text of one.
///
/// # Errors
/// What is wrong with which branch.
pub(super) fn read(setting: &Value) -> Result<Vec<Branch>, String> {
    let parsed = match setting {
        Value::String(text) => permissive_json::parse(text).unwrap_or_default(),
        other => other.clone(),
    };
    let list = parsed.as_array().ok_or("\"Branches\" must be a list of {output, conditions}")?;
    if list.is_empty() || list.len() > MAX_BRANCHES {
        return Err(format!("\"Branches\" must be 1 to {MAX_BRANCHES} branches"));
    }
    (1..)
        .zip(list)
        .map(|(at, item)| branch(item).map_err(|error| format!("\"Branches\" {at}: {error}")))
        .collect()
}

fn branch(item: &Value) -> Result<Branch, String> {
    let map = item.as_object().ok_or("must be an object")?;
    let output =
        text(map, "output")?.filter(|name| !name.trim().is_empty()).ok_or("`output` is missing: name it")?;
    if output.starts_with('_') || output == "error" || output.contains(['.', '[', ']']) {
        return Err(format!("an output may not be called '{output}'"));
    }
    let any = match text(map, "match")? {
        None | Some("" | "all") => false,
        Some("any") => true,
        Some(other) => return Err(format!("`match` must be all or any, not '{other}'")),
    };
    let tests = match map.get("conditions") {
        None => vec![test(item)?],
        Some(Value::Array(list)) if (1..=MAX_TESTS).contains(&list.len()) => {
            list.iter().map(test).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(format!("`conditions` must be a list of 1 to {MAX_TESTS}")),
    };
    Ok(Branch { output: output.to_owned(), any, tests })
}

fn test(item: &Value) -> Result<Test, String> {
    let map = item.as_object().ok_or("a condition must be an object")?;
    let operator = text(map, "operator")?.ok_or("a condition has no `operator`")?;
    let operator = Operator::parse(operator).ok_or_else(|| {
        format!("`operator` must be one of [{}], not '{operator}'", Operator::NAMES.join(", "))
    })?;
    let kind = text(map, "type")?.filter(|kind| !kind.is_empty()).unwrap_or("auto");
    let kind = Kind::parse(kind)
        .ok_or_else(|| format!("`type` must be one of [{}], not '{kind}'", Kind::NAMES.join(", ")))?;
    Ok(Test {
        value: map.get("value").cloned().unwrap_or_else(|| Value::from("{{Input}}")),
        operator,
        compare: map.get("compare").cloned().unwrap_or_default(),
        kind,
        ignore_case: map.get("ignoreCase").and_then(Value::to_bool_lenient).unwrap_or(false),
    })
}

fn text<'a>(map: &'a Map, name: &str) -> Result<Option<&'a str>, String> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{name}` must be a text")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(setting: serde_json::Value) -> String {
        read(&Value::from(setting)).unwrap_err()
    }

    #[test]
    fn branches_are_read_from_lists_and_text() {
        let setting = json!([{"output": "A", "value": "{{x}}", "operator": "equals", "compare": 1},
            {"output": "B", "match": "any", "conditions": [{"operator": "exists"}, {"operator": "is_true"}]}]);
        let text = json!(setting.to_string());
        for setting in [setting, text] {
            let branches = read(&Value::from(setting)).unwrap();
            assert_eq!(branches.len(), 2);
            assert_eq!((branches[0].any, branches[0].tests[0].operator), (false, Operator::Equals));
            assert_eq!((branches[1].any, branches[1].tests.len()), (true, 2));
            assert_eq!(branches[1].tests[0].value, Value::from("{{Input}}"));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert!(wrong(json!("prose")).contains("must be a list"));
        assert!(wrong(json!([])).contains("1 to 100"));
        assert!(wrong(json!(vec![json!({"output": "A", "operator": "exists"}); 101])).contains("1 to 100"));
        assert!(wrong(json!([5])).contains("\"Branches\" 1: must be an object"));
        assert!(wrong(json!([{"operator": "exists"}])).contains("`output` is missing"));
        assert!(wrong(json!([{"output": "_error", "operator": "exists"}])).contains("may not be called"));
        assert!(wrong(json!([{"output": "a.b", "operator": "exists"}])).contains("may not be called"));
        assert!(wrong(json!([{"output": "A"}])).contains("no `operator`"));
        assert!(wrong(json!([{"output": "A", "operator": "like"}])).contains("must be one of [equals"));
        assert!(wrong(json!([{"output": "A", "operator": "exists", "type": "x"}])).contains("[auto, text"));
        assert!(
            wrong(json!([{"output": "A", "match": "none", "operator": "exists"}])).contains("all or any")
        );
        assert!(wrong(json!([{"output": "A", "conditions": []}])).contains("1 to 50"));
    }
}
