//! Component types as contracts carry them.

use serde_json::{Value as Json, json};
use sre_engine::spec::{ComponentSpec, Effect, PortSpec, SettingKind, SettingSpec};
use sre_proto::agent::v1 as proto;
use sre_proto::component::v1 as component;

use super::registered::{Registered, Version};
use crate::clock::timestamp;

/// A type.
pub(super) fn of_suite(spec: &ComponentSpec) -> proto::Component {
    let effect = match spec.effect {
        Effect::Pure => proto::Effect::Pure,
        Effect::Read => proto::Effect::Read,
        Effect::Effect => proto::Effect::Effect,
    };
    proto::Component {
        name: format!("components/{}", spec.name),
        description: spec.description.to_owned(),
        aliases: spec.aliases.iter().map(|&alias| alias.to_owned()).collect(),
        effect: effect.into(),
        settings: spec.settings.iter().map(setting).collect(),
        inputs: spec.inputs.iter().map(port).collect(),
        outputs: spec.outputs.iter().map(port).collect(),
        services: spec.scopes.iter().map(|&scope| scope.to_owned()).collect(),
        registration: None,
    }
}

/// A registered type, described by its default version. None where it has none any more.
pub(super) fn registered(known: &Registered, with_endpoints: bool) -> Option<proto::Component> {
    let described = &known.version(None)?.description;
    let effect = match described.effect() {
        component::Effect::Pure => proto::Effect::Pure,
        component::Effect::Read => proto::Effect::Read,
        component::Effect::Effect | component::Effect::Unspecified => proto::Effect::Effect,
    };
    Some(proto::Component {
        name: format!("components/{}", known.row.name),
        description: described.description.clone(),
        aliases: Vec::new(),
        effect: effect.into(),
        settings: described.settings.iter().map(registered_setting).collect(),
        inputs: described.inputs.iter().map(registered_port).collect(),
        outputs: described.outputs.iter().map(registered_port).collect(),
        services: described.scopes.clone(),
        registration: Some(proto::Registration {
            name: known.name(),
            default_version: known.row.default_version.clone(),
            versions: known.versions.iter().map(|it| version(it, with_endpoints)).collect(),
            create_time: Some(timestamp(known.row.created_ms)),
            update_time: Some(timestamp(known.row.updated_ms)),
        }),
    })
}

/// A version. Where it is served is for whoever may change it, and for engines.
pub(super) fn version(known: &Version, with_endpoints: bool) -> proto::ComponentVersion {
    proto::ComponentVersion {
        description: Some(known.description.clone()),
        endpoints: if with_endpoints { known.endpoints.clone() } else { Vec::new() },
        identity: if with_endpoints { known.row.identity.clone() } else { String::new() },
        create_time: Some(timestamp(known.row.created_ms)),
        creator: known.row.creator.clone(),
    }
}

fn registered_setting(described: &component::Setting) -> proto::Setting {
    let schema = if described.schema_json.is_empty() { "{}".into() } else { described.schema_json.clone() };
    proto::Setting {
        name: described.name.clone(),
        label: described.label.clone(),
        description: described.description.clone(),
        schema_json: schema,
        required: described.required,
        template: described.template,
    }
}

fn registered_port(described: &component::Port) -> proto::Port {
    proto::Port {
        name: described.name.clone(),
        r#type: if described.r#type.is_empty() { "Any".into() } else { described.r#type.clone() },
        description: described.description.clone(),
        optional: described.optional,
    }
}

fn setting(spec: &SettingSpec) -> proto::Setting {
    proto::Setting {
        name: spec.name.to_owned(),
        label: spec.label.to_owned(),
        description: spec.description.to_owned(),
        schema_json: schema(spec).to_string().into(),
        required: spec.required,
        template: spec.template,
    }
}

fn port(spec: &PortSpec) -> proto::Port {
    proto::Port {
        name: spec.name.to_owned(),
        r#type: spec.type_name.to_owned(),
        description: spec.description.to_owned(),
        optional: spec.optional,
    }
}

/// A JSON Schema of what a setting may hold. Numbers and flags may be written as text.
fn schema(spec: &SettingSpec) -> Json {
    let mut schema = match spec.kind {
        SettingKind::Text { max_len, empty } => text(max_len, empty),
        SettingKind::Pattern { regex, max_len } => {
            let mut schema = text(max_len, false);
            schema["pattern"] = json!(regex);
            schema
        }
        SettingKind::Number { min, max, integer } => {
            let mut schema = json!({ "type": [if integer { "integer" } else { "number" }, "string"] });
            if min.is_finite() && min > f64::MIN {
                schema["minimum"] = limit(min);
            }
            if max.is_finite() && max < f64::MAX {
                schema["maximum"] = limit(max);
            }
            schema
        }
        SettingKind::Boolean => json!({ "type": ["boolean", "string"] }),
        SettingKind::Enum(allowed) => json!({ "enum": allowed }),
        SettingKind::Any => json!({}),
    };
    if spec.nullable {
        nullable(&mut schema);
    }
    if let Some(default) = spec.default {
        schema["default"] = json!(default);
    }
    if !spec.description.is_empty() {
        schema["description"] = json!(spec.description);
    }
    schema
}

fn text(max_len: usize, empty: bool) -> Json {
    let mut schema = json!({ "type": "string" });
    if !empty {
        schema["minLength"] = json!(1);
    }
    if max_len > 0 {
        schema["maxLength"] = json!(max_len);
    }
    schema
}

/// Whole limits are written as whole numbers.
fn limit(value: f64) -> Json {
    sre_engine::value::number_from_f64(value).map_or_else(|| json!(value), Json::Number)
}

fn nullable(schema: &mut Json) {
    if let Some(Json::Array(allowed)) = schema.get_mut("enum") {
        allowed.push(Json::Null);
        return;
    }
    match schema.get_mut("type") {
        Some(Json::Array(types)) => types.push(json!("null")),
        Some(kind) => *kind = json!([kind.take(), "null"]),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_become_schemas() {
        for (spec, expected) in [
            (SettingSpec::text("p", "P", 5), json!({"type": "string", "minLength": 1, "maxLength": 5})),
            (SettingSpec::text_or_empty("p", "P", 0), json!({"type": "string"})),
            (
                SettingSpec::integer("n", "N", 1.0, 9.0).default("3"),
                json!({"type": ["integer", "string"], "minimum": 1, "maximum": 9, "default": "3"}),
            ),
            (
                SettingSpec::one_of("e", "E", &["a", "b"]).nullable().describe("pick"),
                json!({"enum": ["a", "b", null], "description": "pick"}),
            ),
            (SettingSpec::boolean("b", "B").nullable(), json!({"type": ["boolean", "string", "null"]})),
            (SettingSpec::text("t", "T", 0).nullable(), json!({"type": ["string", "null"], "minLength": 1})),
            (SettingSpec::any("a", "A"), json!({})),
        ] {
            assert_eq!(schema(&spec), expected, "{}", spec.name);
        }
    }
}
