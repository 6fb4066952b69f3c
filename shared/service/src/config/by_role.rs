//! The schema of tables by role: their keys are known, so a misspelt role is found.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::role::Role;

/// Marks such tables, for the reference.
pub(super) const EXTENSION: &str = "x-by-role";

/// Stands for `BTreeMap<Role, V>` in schemas.
pub(super) struct ByRole<V>(PhantomData<V>);

impl<V: JsonSchema> JsonSchema for ByRole<V> {
    fn schema_name() -> Cow<'static, str> {
        format!("ByRole_{}", V::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties = serde_json::Map::new();
        for role in Role::ALL {
            properties.insert(role.name().to_owned(), V::json_schema(generator).to_value());
        }
        json_schema!({ "type": "object", "properties": properties, "additionalProperties": false, EXTENSION: true })
    }
}
