//! What an answer is worth: outputs are read, held to what the type declares, and bytes in them stored.

use serde_json::{Map as JsonMap, Value as Json};
use sre_engine::Outcome;
use sre_engine::data::typing::InputType;
use sre_engine::spec::PortSpec;
use sre_engine::value::{Map, Value};

use super::Declaration;
use super::binary::bytes_of;
use crate::context::{Context, ContextError, Failure};

/// Reads the outputs of an answer.
///
/// # Errors
/// What is wrong with them, in words for `_error`.
pub fn read(declared: &Declaration, outputs_json: &[u8], max_bytes: usize) -> Result<Outputs, String> {
    let name = declared.name();
    let limit = declared.bounds.output_bytes.map_or(max_bytes, |own| own.min(max_bytes));
    if outputs_json.len() > limit {
        return Err(format!(
            "{name} answered {} bytes, and {limit} is the most that it may",
            outputs_json.len()
        ));
    }
    let members = match serde_json::from_slice(outputs_json) {
        Ok(Json::Object(members)) => members,
        Ok(_) => return Err(format!("{name} answered JSON that is no object of outputs")),
        Err(error) => return Err(format!("{name} answered what is no JSON: {error}")),
    };
    if let Some(own) = members.keys().find(|key| key.starts_with('_') || *key == "error") {
        return Err(format!("{name} answered '{own}' as an output: a failure is answered as a failure"));
    }
    for (port, schema) in declared.entry.spec.outputs.iter().zip(&declared.output_schemas) {
        match members.get(port.name) {
            None if port.optional => {}
            None => return Err(format!("{name} answered without its output '{}'", port.name)),
            Some(value) => {
                if !fits(port, value) {
                    return Err(format!("{name} answered '{}' that is no {}", port.name, port.type_name));
                }
                if let Some(Err(detail)) = schema.as_ref().map(|schema| schema.check_json(value)) {
                    return Err(format!("{name} answered '{}' that {detail}", port.name));
                }
            }
        }
    }
    Ok(Outputs(members))
}

/// Outputs that are as the type declares them.
#[derive(Debug)]
pub struct Outputs(JsonMap<String, Json>);

impl Outputs {
    /// The outputs as they are: for whoever runs nothing.
    pub fn json(&self) -> &JsonMap<String, Json> {
        &self.0
    }

    /// The outcome: bytes of binary outputs are stored.
    ///
    /// # Errors
    /// If they cannot be.
    pub async fn into_outcome(
        self,
        declared: &Declaration,
        context: &dyn Context,
    ) -> Result<Outcome, ContextError> {
        let mut outputs = Map::with_capacity(self.0.len());
        for (name, json) in self.0 {
            let port = declared.entry.spec.outputs.iter().find(|port| port.name == name);
            let is_binary = port.is_some_and(|port| InputType::parse(port.type_name) == InputType::Binary);
            let wrong = |detail| {
                ContextError::new(
                    Failure::Invalid,
                    format!("{} answered '{name}' that {detail}", declared.name()),
                )
            };
            let bytes = if is_binary { bytes_of(&json).map_err(wrong)? } else { None };
            let value = match bytes {
                Some(binary) => context.store_temp(&binary).await?,
                None => Value::from(json),
            };
            outputs.insert(name.into(), value);
        }
        Ok(Outcome::output(outputs))
    }
}

/// Whether a value is of its output's type. Nothing is converted: the component knows what it answers.
fn fits(port: &PortSpec, value: &Json) -> bool {
    if value.is_null() {
        return port.optional || InputType::parse(port.type_name) == InputType::Any;
    }
    match InputType::parse(port.type_name) {
        InputType::Any | InputType::Other => true,
        InputType::Text | InputType::Date => value.is_string(),
        InputType::Number => value.is_number(),
        InputType::Integer => value.is_i64() || value.is_u64(),
        InputType::Boolean => value.is_boolean(),
        InputType::Array => value.is_array(),
        InputType::Object => value.is_object(),
        InputType::Binary => value.is_object() || value.is_string(),
    }
}

#[cfg(test)]
mod tests {
    use sre_proto::component::v1::Port;

    use super::super::check::tests::good;
    use super::super::declare;
    use super::*;

    fn declared() -> &'static Declaration {
        let mut described = good();
        described.outputs = [("Out", "Text", false), ("Count", "Integer", true)]
            .map(|(name, kind, optional)| Port {
                name: name.into(),
                r#type: kind.into(),
                description: "d".into(),
                optional,
                schema_json: if name == "Count" { r#"{"maximum": 9}"#.into() } else { Default::default() },
            })
            .to_vec();
        declare(&described).unwrap()
    }

    #[test]
    fn outputs_are_held_to_the_declaration() {
        for (answer, expected) in [
            (r#"{"Out":"a"}"#, ""),
            (r#"{"Out":"a","Count":3,"More":[1]}"#, ""),
            (r#"{"Out":"a","Count":null}"#, ""),
            (r#"{"Out":"a","Count":10}"#, "its schema says"),
            (r#"{"Out":"a","Count":1.5}"#, "no Integer"),
            (r#"{"Out":1}"#, "no Text"),
            (r#"{"Out":null}"#, "no Text"),
            ("{}", "without its output 'Out'"),
            (r#"{"Out":"a","_error":"x"}"#, "as a failure"),
            (r#"{"Out":"a","error":"x"}"#, "as a failure"),
            ("[]", "no object"),
            ("{", "no JSON"),
        ] {
            let read = read(declared(), answer.as_bytes(), 1000).err().unwrap_or_default();
            assert!(read.contains(expected) && expected.is_empty() == read.is_empty(), "{answer}: {read}");
        }
    }

    #[test]
    fn an_answer_has_a_largest_size() {
        let long = format!(r#"{{"Out":"{}"}}"#, "x".repeat(100));
        assert!(read(declared(), long.as_bytes(), 50).unwrap_err().contains("50 is the most"));
    }
}
