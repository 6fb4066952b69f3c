//! A protobuf file of an agent's skills: one method each, a request message from its inputs.
//!
//! It is for stubs that name skills and inputs. A request message written as protobuf JSON is the skill's input:
//! `json_name` keeps each input's own name, and scalars are `optional` so that 0 and "" are sent. Field numbers
//! are the inputs' places in the document.

use std::collections::HashSet;
use std::fmt::Write as _;

use sre_engine::node::InputPort;
use sre_engine::plan::Skill;

use crate::error::AgentError;

/// Longest package name that may be asked for.
const MAX_PACKAGE_BYTES: usize = 200;
/// Field numbers that protobuf keeps for itself.
const RESERVED: std::ops::Range<usize> = 19_000..20_000;

/// A file and where it belongs.
#[derive(Debug)]
pub(super) struct ProtoFile {
    /// Its text.
    pub text: String,
    /// Its path, as its package suggests.
    pub path: String,
}

/// Describes an agent's skills; `package` is empty for the usual one.
pub(super) fn describe(agent: &str, skills: &[Skill], package: &str) -> Result<ProtoFile, AgentError> {
    let stem = lower(agent);
    let package = if package.is_empty() { format!("agents.{stem}.v1") } else { checked(package)?.to_owned() };
    let path = format!("{}/{stem}.proto", package.replace('.', "/"));
    let mut methods = Names::default();
    // The POST form of a skill keeps the plain name, wherever it stands.
    let mut named: Vec<(usize, String)> = Vec::new();
    let (posts, others): (Vec<_>, Vec<_>) =
        skills.iter().enumerate().partition(|(_, skill)| skill.method == "POST");
    for (index, skill) in posts.into_iter().chain(others) {
        let plain = pascal(&skill.endpoint);
        let with_method = format!("{plain}{}", pascal(&skill.method.to_lowercase()));
        let name = if methods.is_free(&plain) { plain } else { with_method };
        named.push((index, methods.take(name)));
    }
    named.sort_by_key(|(index, _)| *index);

    let mut text = String::new();
    let mut messages = String::new();
    comment(&mut text, "", &format!("The skills of the agent {agent}."));
    text.push_str("syntax = \"proto3\";\n\n");
    line(&mut text, &format!("package {package};\n"));
    text.push_str("import \"google/protobuf/struct.proto\";\n\n");
    comment(&mut text, "", &format!("The skills of the agent {agent}."));
    line(&mut text, &format!("service {}Skills {{", pascal(agent)));
    for ((_, name), skill) in named.iter().zip(skills) {
        let words = [skill.description.as_str(), &skill.doc, &skill.summary];
        let about = words.into_iter().find(|words| !words.trim().is_empty());
        let about = about.map_or_else(|| format!("The skill {}.", skill.endpoint), str::to_owned);
        comment(&mut text, "  ", &about);
        comment(&mut text, "  ", &format!("{} /api/{}", skill.method, skill.endpoint));
        line(&mut text, &format!("  rpc {name}({name}Request) returns ({name}Response);"));
        request(&mut messages, name, skill);
        response(&mut messages, name, skill);
    }
    text.push_str("}\n");
    text.push_str(&messages);
    Ok(ProtoFile { text, path })
}

fn request(out: &mut String, name: &str, skill: &Skill) {
    out.push('\n');
    comment(out, "", &format!("What the skill {} takes.", skill.endpoint));
    line(out, &format!("message {name}Request {{"));
    let mut fields = Names::default();
    let mut seen = HashSet::new();
    for (index, port) in skill.inputs.iter().enumerate() {
        // Of two inputs of one name the request can hold only one value.
        if !seen.insert(port.name.as_ref()) {
            continue;
        }
        comment(out, "  ", &about(port));
        let number = if index + 1 < RESERVED.start { index + 1 } else { index + 1 + RESERVED.len() };
        let field = fields.take(lower(&port.name));
        let json = json_name(&port.name).map(|json| format!(" [json_name = {json}]")).unwrap_or_default();
        line(out, &format!("  {} {field} = {number}{json};", field_type(&port.type_name)));
    }
    out.push_str("}\n");
}

fn response(out: &mut String, name: &str, skill: &Skill) {
    out.push('\n');
    comment(out, "", &format!("What the skill {} answers.", skill.endpoint));
    line(out, &format!("message {name}Response {{"));
    comment(out, "  ", "The answer: one entry bare, several as a list.");
    out.push_str("  .google.protobuf.Value answer = 1;\n");
    comment(out, "  ", "The same as JSON text, with exact numbers.");
    out.push_str("  bytes answer_json = 2;\n");
    comment(out, "  ", "The run's name.");
    out.push_str("  string run = 3;\n}\n");
}

fn about(port: &InputPort) -> String {
    let need = if port.optional || port.default.is_some() { "may be left out" } else { "required" };
    let known = format!("{}, {need}.", port.type_name);
    if port.description.trim().is_empty() { known } else { format!("{}\n{known}", port.description) }
}

fn field_type(type_name: &str) -> &'static str {
    match type_name.to_ascii_lowercase().as_str() {
        "number" | "float" => "optional double",
        "integer" => "optional int64",
        "boolean" => "optional bool",
        "array" => ".google.protobuf.ListValue",
        "object" => ".google.protobuf.Struct",
        // Files go as URLs, data URLs or base64 text.
        "string" | "text" | "date" | "binary" | "image" | "audio" | "video" => "optional string",
        _ => ".google.protobuf.Value",
    }
}

/// The input's own name as a protobuf string; `None` for one that no field may have in JSON.
fn json_name(name: &str) -> Option<String> {
    if name.is_empty() || name.contains('\0') || (name.starts_with('[') && name.ends_with(']')) {
        return None;
    }
    let mut out = String::from("\"");
    for c in name.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let mut bytes = [0u8; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(out, "\\{byte:03o}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    Some(out)
}

fn checked(package: &str) -> Result<&str, AgentError> {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if package.len() <= MAX_PACKAGE_BYTES && package.split('.').all(part) {
        return Ok(package);
    }
    let message = format!(
        "expected names of letters, digits and _ with dots between, {MAX_PACKAGE_BYTES} characters at most, for \
         example acme.agents.v1"
    );
    Err(AgentError::Invalid { field: "package", message })
}

/// Names that are taken, compared as protobuf compares the JSON forms of fields.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    fn key(name: &str) -> String {
        name.replace('_', "").to_ascii_lowercase()
    }

    fn is_free(&self, name: &str) -> bool {
        !self.0.contains(&Self::key(name))
    }

    /// Takes the name, or the first free one with a number behind it.
    fn take(&mut self, name: String) -> String {
        let mut free = name.clone();
        let mut number = 2u32;
        while !self.0.insert(Self::key(&free)) {
            free = format!("{name}_x{number}");
            number += 1;
        }
        free
    }
}

/// `lower_snake` of letters, digits and `_`, beginning with a letter.
fn lower(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut after_small = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_small {
            out.push('_');
        }
        after_small = c.is_ascii_lowercase() || c.is_ascii_digit();
        out.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    if out.starts_with(|c: char| c.is_ascii_alphabetic()) { out } else { format!("x_{out}") }
}

/// `PascalCase` of letters and digits, beginning with a letter.
fn pascal(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    let out: String = words.map(capital).collect();
    if out.starts_with(|c: char| c.is_ascii_alphabetic()) { out } else { format!("Skill{out}") }
}

fn comment(out: &mut String, indent: &str, words: &str) {
    for words in words.trim().split(['\n', '\r']) {
        let words: String = words.chars().filter(|c| !c.is_control()).collect();
        line(out, format!("{indent}// {words}").trim_end());
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, Kind};
    use serde_json::{Value as Json, json};

    use super::*;

    fn skills(components: &Json) -> Vec<Skill> {
        let document = json!({"components": components, "connections": []});
        sre_engine::compile(&document, sre_components::registry()).unwrap().skills()
    }

    fn compiled(file: &ProtoFile) -> DescriptorPool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(&file.path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &file.text).unwrap();
        let set = protox::compile([&file.path], [folder.path()]);
        DescriptorPool::from_file_descriptor_set(set.unwrap_or_else(|e| panic!("{e:?}\n{}", file.text)))
            .unwrap()
    }

    fn endpoint(id: &str, name: &str, method: &str, inputs: Json) -> Json {
        json!({"id": id, "name": "APIEndpoint", "data": {"endpoint": name, "method": method,
            "description": "Does\n */ it\u{7}"}, "inputs": inputs, "outputs": []})
    }

    #[test]
    fn a_method_per_skill_and_a_field_per_input() {
        let inputs = json!([{"name": "who", "type": "Text", "description": "whom\nto greet"},
            {"name": "Times", "type": "Integer", "optional": true}, {"name": "ratio", "type": "Number"},
            {"name": "loud", "type": "Boolean"}, {"name": "list", "type": "Array"},
            {"name": "opts", "type": "Object"}, {"name": "photo", "type": "Image"}, {"name": "any"}]);
        let skills = skills(&json!([
            endpoint("A", "greet-all", "POST", inputs),
            endpoint("B", "ping", "GET", json!([]))
        ]));
        let file = describe("helper", &skills, "").unwrap();
        assert_eq!(file.path, "agents/helper/v1/helper.proto");
        let pool = compiled(&file);
        let service = pool.get_service_by_name("agents.helper.v1.HelperSkills").unwrap();
        let methods: Vec<String> = service.methods().map(|method| method.name().to_owned()).collect();
        assert_eq!(methods, ["GreetAll", "Ping"]);
        let request = pool.get_message_by_name("agents.helper.v1.GreetAllRequest").unwrap();
        let kind = |field: &str| request.get_field_by_name(field).unwrap().kind();
        assert_eq!((kind("times"), kind("ratio"), kind("loud")), (Kind::Int64, Kind::Double, Kind::Bool));
        assert_eq!(kind("list").as_message().unwrap().full_name(), "google.protobuf.ListValue");
        assert_eq!(kind("any").as_message().unwrap().full_name(), "google.protobuf.Value");
        // What a client fills in is the skill's input when written as JSON: the inputs' own names, and presence.
        for name in ["who", "Times", "ratio", "loud", "list", "opts", "photo", "any"] {
            let field = request.get_field_by_json_name(name).unwrap_or_else(|| panic!("{name}"));
            assert!(field.supports_presence(), "{name}");
        }
        assert!(pool.get_message_by_name("agents.helper.v1.PingResponse").is_some());
    }

    #[test]
    fn names_that_collide_or_are_odd_still_compile() {
        let inputs = json!([{"name": "fooBar"}, {"name": "foo_bar"}, {"name": "foo bar"}, {"name": "foo_bar"},
            {"name": "1st"}, {"name": "é\"\\"}, {"name": "[x]"}, {"name": "message"}, {"name": "tab\there"},
            {"name": "optional", "type": "Text"}, {"name": ""}, {"name": "_"}]);
        let skills = skills(&json!([
            endpoint("G", "find", "GET", inputs),
            endpoint("A", "find", "POST", json!([])),
            endpoint("B", "FIND", "POST", json!([])),
            endpoint("C", "fi_nd", "POST", json!([])),
            endpoint("D", "2nd", "POST", json!([])),
            endpoint("E", "findRequest", "POST", json!([])),
        ]));
        let file = describe("9-agent_X", &skills, "google.acme").unwrap();
        let pool = compiled(&file);
        let service = pool.services().next().unwrap();
        let methods: Vec<String> = service.methods().map(|method| method.name().to_owned()).collect();
        assert_eq!(
            methods,
            ["FindGet", "Find", "FINDPost", "FiNdPost_x2", "Skill2nd", "FindRequest"],
            "{}",
            file.text
        );
        let request = pool.get_message_by_name("google.acme.FindGetRequest").unwrap();
        for name in ["fooBar", "foo_bar", "foo bar", "1st", "é\"\\", "tab\there", "message", "_"] {
            assert!(request.get_field_by_json_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn packages_are_checked() {
        for bad in ["a-b", "1a", "a..b", ".a", "a;", &"x".repeat(201)] {
            assert!(describe("a", &[], bad).is_err(), "{bad}");
        }
        compiled(&describe("a", &[], "").unwrap());
    }
}
