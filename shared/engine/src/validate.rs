//! Settings checked against a [`ComponentSpec`]; messages keep the shapes users know.

use regex::Regex;

use crate::node::Node;
use crate::spec::{Effect, OnUncertain, SettingKind, SettingSpec};
use crate::template;
use crate::value::{Value, number_from_f64, number_text};

/// Checks a component's settings; the first violation is reported as a whole message:
/// `Schema Validation error: <detail> on component <displayName>:<title>`.
pub fn validate(node: &Node) -> Result<(), String> {
    detail(node).map_err(|detail| {
        format!("Schema Validation error: {detail} on component {}:{}", node.display_name, node.title)
    })
}

/// [`validate`] without the prefix and suffix.
pub fn detail(node: &Node) -> Result<(), String> {
    violation(node).map_err(|violation| violation.detail)
}

/// A setting that is not as its type declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Key of the setting in the record's `data`; `None` where the record as a whole is meant.
    pub setting: Option<&'static str>,
    /// What is wrong.
    pub detail: String,
    /// What the setting is for.
    pub hint: Option<String>,
}

/// The first violation in a component's settings.
///
/// # Errors
/// [`Violation`] if there is one.
pub fn violation(node: &Node) -> Result<(), Violation> {
    let Some(entry) = node.entry else { return Ok(()) };
    if entry.spec.validate_settings {
        settings(entry.spec.settings, node)?;
    }
    if entry.spec.effect == Effect::Effect {
        settings(&[OnUncertain::SPEC], node)?;
    }
    let whole = |detail| Violation { setting: None, detail, hint: None };
    entry.validate.map_or(Ok(()), |extra| extra(node).map_err(whole))
}

fn settings(specs: &[SettingSpec], node: &Node) -> Result<(), Violation> {
    specs.iter().try_for_each(|setting| {
        check(setting, node.setting(setting.name)).map_err(|detail| Violation {
            setting: Some(setting.name),
            detail,
            hint: hint(setting),
        })
    })
}

fn hint(setting: &SettingSpec) -> Option<String> {
    let default = setting.default.map(|default| format!("the default is {default}"));
    let words = [Some(setting.description.to_owned()).filter(|text| !text.is_empty()), default];
    let words: Vec<String> = words.into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn check(setting: &SettingSpec, value: Option<&Value>) -> Result<(), String> {
    let label = if setting.label.is_empty() { setting.name } else { setting.label };
    let value = match value {
        None if setting.required => return Err(format!("\"{label}\" is required")),
        None => return Ok(()),
        Some(Value::Null) if setting.nullable => return Ok(()),
        Some(value) => value,
    };
    kind(setting, label, value)?;
    setting.check.map_or(Ok(()), |extra| extra(value))?;
    match setting.schema {
        Some(schema) if !(setting.template && has_template(value)) => {
            schema.check(value).map_err(|detail| format!("\"{label}\" {detail}"))
        }
        _ => Ok(()),
    }
}

fn has_template(value: &Value) -> bool {
    let mut found = false;
    template::texts(value, &mut |text| found |= template::is_template(text));
    found
}

fn kind(setting: &SettingSpec, label: &str, value: &Value) -> Result<(), String> {
    match setting.kind {
        SettingKind::Any => Ok(()),
        SettingKind::Text { max_len, empty } => text(label, value, max_len, empty).map(|_| ()),
        SettingKind::Pattern { regex, max_len } => pattern(label, value, regex, max_len),
        SettingKind::Number { min, max, integer } => number(label, value, min, max, integer),
        SettingKind::Boolean if value.to_bool_lenient().is_some() => Ok(()),
        SettingKind::Boolean => Err(format!("\"{label}\" must be a boolean")),
        SettingKind::Enum(allowed) if value.as_str().is_some_and(|text| allowed.contains(&text)) => Ok(()),
        SettingKind::Enum(allowed) => Err(format!("\"{label}\" must be one of [{}]", allowed.join(", "))),
    }
}

fn text<'a>(label: &str, value: &'a Value, max_len: usize, empty: bool) -> Result<&'a str, String> {
    let text = value.as_str().ok_or_else(|| format!("\"{label}\" must be a string"))?;
    if text.is_empty() && !empty {
        return Err(format!("\"{label}\" is not allowed to be empty"));
    }
    if max_len > 0 && text.len() > max_len && text.encode_utf16().count() > max_len {
        return Err(format!("\"{label}\" length must be less than or equal to {max_len} characters long"));
    }
    Ok(text)
}

fn pattern(label: &str, value: &Value, regex: &str, max_len: usize) -> Result<(), String> {
    let text = text(label, value, max_len, false)?;
    let compiled =
        Regex::new(regex).map_err(|error| format!("\"{label}\" has an unusable pattern: {error}"))?;
    if compiled.is_match(text) {
        return Ok(());
    }
    Err(format!("\"{label}\" with value \"{text}\" fails to match the required pattern: /{regex}/"))
}

fn number(label: &str, value: &Value, min: f64, max: f64, integer: bool) -> Result<(), String> {
    if value.as_str().is_some_and(str::is_empty) {
        return Err(format!("\"{label}\" is not allowed to be empty"));
    }
    let number = value.to_f64_lenient().ok_or_else(|| format!("\"{label}\" must be a number"))?;
    if integer && number.fract() != 0.0 {
        return Err(format!("\"{label}\" must be an integer"));
    }
    if number < min {
        return Err(format!("\"{label}\" must be greater than or equal to {}", plain(min)));
    }
    if number > max {
        return Err(format!("\"{label}\" must be less than or equal to {}", plain(max)));
    }
    Ok(())
}

fn plain(limit: f64) -> String {
    number_from_f64(limit).map_or_else(|| limit.to_string(), |number| number_text(&number))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::{ComponentSpec, TypeEntry};
    use crate::value::map_from_json;

    static SPEC: ComponentSpec = ComponentSpec::new("T", "a test type").effect(Effect::Pure).settings(&[
        SettingSpec::text("prompt", "Prompt", 5).required(),
        SettingSpec::integer("ttl", "TTL", 300.0, 604_800.0),
        SettingSpec::one_of("method", "", &["POST", "GET", ""]),
        SettingSpec::new("endpoint", "", SettingKind::Pattern { regex: "^[a-z]+$", max_len: 50 }),
        SettingSpec::boolean("flag", "Flag"),
        SettingSpec::one_of("verbosity", "Verbosity", &["low"]).nullable(),
    ]);

    fn message(settings: serde_json::Value) -> Result<(), String> {
        validate(&node(settings))
    }

    fn node(settings: serde_json::Value) -> Node {
        let serde_json::Value::Object(map) = settings else { panic!("an object") };
        Node {
            id: "t".into(),
            type_name: "T".into(),
            display_name: "Tee".into(),
            title: "one".into(),
            description: "".into(),
            settings: map_from_json(map),
            inputs: vec![],
            outputs: vec![],
            template: None,
            entry: Some(TypeEntry::new(&SPEC)),
        }
    }

    #[test]
    fn the_policy_of_an_effect_is_one_of_four() {
        static POSTS: ComponentSpec = ComponentSpec::new("P", "a test type with an effect");
        let checked = |policy: serde_json::Value, spec: &'static ComponentSpec| {
            let mut node = node(json!({ "prompt": "x" }));
            node.settings.insert("onUncertain".into(), Value::from(policy));
            node.entry = Some(TypeEntry::new(spec));
            detail(&node)
        };
        for policy in ["retry", "lookup", "fail", "ask"] {
            assert_eq!(checked(json!(policy), &POSTS), Ok(()), "{policy}");
        }
        for wrong in [json!("Retry"), json!(""), json!(1), json!(null)] {
            let expected = "\"On Uncertain\" must be one of [retry, lookup, fail, ask]";
            assert_eq!(checked(wrong, &POSTS), Err(expected.to_owned()));
        }
        assert_eq!(checked(json!("anything"), &SPEC), Ok(()), "what has no effect needs no policy");
    }

    #[test]
    fn the_first_violation_is_reported_in_the_known_words() {
        for (settings, detail) in [
            (json!({}), r#""Prompt" is required"#),
            (json!({"prompt": ""}), r#""Prompt" is not allowed to be empty"#),
            (json!({"prompt": 5}), r#""Prompt" must be a string"#),
            (
                json!({"prompt": "123456"}),
                r#""Prompt" length must be less than or equal to 5 characters long"#,
            ),
            (json!({"prompt": "x", "ttl": "299"}), r#""TTL" must be greater than or equal to 300"#),
            (json!({"prompt": "x", "ttl": ""}), r#""TTL" is not allowed to be empty"#),
            (json!({"prompt": "x", "ttl": "abc"}), r#""TTL" must be a number"#),
            (json!({"prompt": "x", "ttl": 300.5}), r#""TTL" must be an integer"#),
            (json!({"prompt": "x", "ttl": 1e9}), r#""TTL" must be less than or equal to 604800"#),
            (json!({"prompt": "x", "method": "get"}), r#""method" must be one of [POST, GET, ]"#),
            (
                json!({"prompt": "x", "endpoint": "a b"}),
                r#""endpoint" with value "a b" fails to match the required pattern: /^[a-z]+$/"#,
            ),
            (json!({"prompt": "x", "flag": 1}), r#""Flag" must be a boolean"#),
        ] {
            let expected = format!("Schema Validation error: {detail} on component Tee:one");
            assert_eq!(message(settings), Err(expected));
        }
    }

    #[test]
    fn text_forms_and_unknown_keys_pass() {
        let fine =
            json!({"prompt": "x", "ttl": "600", "flag": "true", "method": "", "verbosity": null, "zz": []});
        assert_eq!(message(fine), Ok(()));
    }
}
