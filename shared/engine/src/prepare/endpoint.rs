//! APIEndpoint: from a request to the outputs of an entry point (§10.2, §3.1, rulings 13).

use super::pending::{Hole, Pending, Side, Sides, Then};
use super::{Preparation, Prepared, error_output, type_error};
use crate::data::binary::{NeedsIo, Recognised, binary};
use crate::data::permissive_json;
use crate::data::typing::{InputType, Typed, convert};
use crate::node::{InputPort, Node};
use crate::value::{Map, Value};

impl Preparation<'_> {
    /// Prepares an endpoint; `called` is the one that answers the request.
    pub(super) fn prepare_endpoint(&self, node: &Node, held: Map, called: bool) -> Prepared {
        let mut sides = if called {
            let mut sides = Sides {
                headers: self.request.lower_headers(),
                body: self.request.body_map(),
                query: self.request.query.clone(),
                params: self.request.params.clone(),
            };
            let by_query = self.request.method.eq_ignore_ascii_case("GET");
            let fields = if by_query { &mut sides.query } else { &mut sides.body };
            let set = self.overrides.into_iter().flatten();
            fields.extend(set.map(|(name, value)| (name.clone(), value.clone())));
            sides
        } else {
            // Fed by another component: what it was given is its body.
            Sides { headers: self.request.lower_headers(), body: held, ..Sides::default() }
        };
        self.endpoint_defaults(node, &mut sides);
        let mut holes = Vec::new();
        for port in &node.inputs {
            for side in [Side::Body, Side::Query] {
                if let Err(message) = self.type_field(node, port, side, &mut sides, &mut holes) {
                    return Prepared::Settled(error_output(type_error(&message, node, port)));
                }
            }
        }
        parse_json_texts(node, &mut sides.body);
        parse_json_texts(node, &mut sides.query);
        if called {
            self.take_files(node, &mut sides);
        }
        if holes.is_empty() {
            return store_or_settle(node, sides);
        }
        Prepared::Pending(Pending { holes, then: Then::Endpoint(Box::new(sides)) })
    }

    /// Defaults apply where an output leads to the field and what came is empty.
    fn endpoint_defaults(&self, node: &Node, sides: &mut Sides) {
        for port in &node.inputs {
            let Some(default) = &port.default else { continue };
            let leads_to = |side: &str| {
                let path = format!("{side}.{}", port.name);
                node.outputs.iter().any(|out| out.expression.as_deref().unwrap_or(&out.name) == path)
            };
            for (name, fields) in [("body", &mut sides.body), ("query", &mut sides.query)] {
                if leads_to(name) && fields.get(&port.name).is_none_or(is_empty) {
                    fields.insert(port.name.clone(), self.rendered_default(default));
                }
            }
        }
    }

    fn type_field(
        &self,
        node: &Node,
        port: &InputPort,
        side: Side,
        sides: &mut Sides,
        holes: &mut Vec<Hole>,
    ) -> Result<(), String> {
        let fields = if side == Side::Query { &mut sides.query } else { &mut sides.body };
        let Some(value) = fields.get(&port.name) else { return Ok(()) };
        let uploaded = self.request.files.iter().any(|file| file.field == port.name);
        let kind = InputType::parse(&port.type_name);
        if kind == InputType::Binary && uploaded && node.input(&port.name).is_some() {
            // The uploaded file takes the field's place.
            return Ok(());
        }
        match convert(value, kind, || self.file_name(&port.name, 0))? {
            Typed::Ready(value) => {
                fields.insert(port.name.clone(), value);
            }
            Typed::Needs(shape) => holes.push(Hole { side, name: port.name.clone(), shape }),
        }
        Ok(())
    }

    /// Uploaded files of the fields that are declared as files: one is itself, several are a list.
    fn take_files(&self, node: &Node, sides: &mut Sides) {
        for port in node.inputs.iter().filter(|port| is_file(port)) {
            let files = self.request.files.iter().filter(|file| file.field == port.name);
            let mut values: Vec<Value> = files
                .enumerate()
                .map(|(index, file)| {
                    let mimetype = Some(file.mimetype.as_ref()).filter(|mimetype| !mimetype.is_empty());
                    let name = self.file_name(&file.name, index);
                    binary(&name, mimetype, file.data.clone()).into()
                })
                .collect();
            let value = if values.len() == 1 { values.pop() } else { Some(Value::array(values)) };
            let came = value.filter(|value| value.as_array().is_none_or(|list| !list.is_empty()));
            if let Some(value) = came {
                sides.body.insert(port.name.clone(), value);
            }
        }
    }
}

/// Bytes leave an endpoint only as stored files; without any, the endpoint is done.
pub(super) fn store_or_settle(node: &Node, sides: Sides) -> Prepared {
    let mut holes = Vec::new();
    for (side, fields) in [(Side::Body, &sides.body), (Side::Query, &sides.query)] {
        for port in node.inputs.iter().filter(|port| is_file(port)) {
            if let Some(shape) = fields.get(&port.name).and_then(to_store) {
                holes.push(Hole { side, name: port.name.clone(), shape });
            }
        }
    }
    if !holes.is_empty() {
        return Prepared::Pending(Pending { holes, then: Then::Endpoint(Box::new(sides)) });
    }
    let mut output = Map::with_capacity(4);
    output.insert("headers".into(), Value::object(sides.headers));
    output.insert("body".into(), Value::object(sides.body));
    output.insert("query".into(), Value::object(sides.query));
    output.insert("params".into(), Value::object(sides.params));
    Prepared::Settled(Value::object(output))
}

fn to_store(value: &Value) -> Option<Recognised> {
    match value {
        Value::Binary(_) => Some(Recognised::Needs(NeedsIo::Store { binary: value.clone() })),
        Value::Array(items) if items.iter().any(|item| item.as_binary().is_some()) => {
            let shape = |item: &Value| to_store(item).unwrap_or_else(|| Recognised::Ready(item.clone()));
            Some(Recognised::List(items.iter().map(shape).collect()))
        }
        _ => None,
    }
}

fn is_file(port: &InputPort) -> bool {
    port.is_file || InputType::parse(&port.type_name) == InputType::Binary
}

/// Undefined, null, a blank text, an empty list or object; 0 and false are values.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Texts that are objects in whole become objects, unless the field is declared as text.
fn parse_json_texts(node: &Node, fields: &mut Map) {
    for (name, value) in fields.iter_mut() {
        let Value::String(text) = &*value else { continue };
        let trimmed = text.trim();
        let untyped = node.input(name).is_none_or(|port| {
            matches!(InputType::parse(&port.type_name), InputType::Any | InputType::Object)
        });
        let whole = untyped && trimmed.starts_with('{') && trimmed.ends_with('}');
        if let Some(json) = whole.then(|| permissive_json::parse(trimmed)).flatten() {
            *value = json;
        }
    }
}
