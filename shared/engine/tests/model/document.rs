//! The model's own reading of a document, and its own test doubles.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Loop,
    Async,
}

#[derive(Debug)]
pub struct Node {
    pub id: String,
    pub type_name: String,
    pub display: String,
    pub title: String,
    pub kind: Kind,
    pub format: String,
    pub data: Json,
    /// The setting of RAW.
    pub raw: Json,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Output>,
}

#[derive(Debug)]
pub struct Input {
    pub name: String,
    pub optional: bool,
    pub default: Option<Json>,
}

#[derive(Debug)]
pub struct Output {
    pub name: String,
    pub default: bool,
    pub expression: Option<String>,
}

impl Output {
    /// What it delivers; the documents of the tests use plain names and `body.x`.
    pub fn value(&self, output: &Json) -> Option<Json> {
        let path = self.expression.as_deref().unwrap_or(&self.name);
        let by_path = || path.split('.').try_fold(output, |at, key| at.get(key)).cloned();
        if self.default { output.get(&self.name).cloned().or_else(by_path) } else { by_path() }
    }
}

#[derive(Clone, Debug)]
pub struct Link {
    pub order: usize,
    pub source: usize,
    pub output: usize,
    pub target: usize,
    pub input: usize,
}

/// Where a run starts, and what that component gives.
#[derive(Clone, Debug)]
pub struct Entry {
    pub node: usize,
    pub output: Json,
    pub is_job: bool,
}

#[derive(Debug)]
pub struct Document {
    pub nodes: Vec<Node>,
    pub links: Vec<Link>,
}

impl Document {
    pub fn read(json: &Json) -> Self {
        let list = |value: &Json| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Json, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let nodes: Vec<Node> = list(&json["components"])
            .iter()
            .map(|record| Node {
                id: text(record, "id"),
                type_name: text(record, "name"),
                display: text(record, "displayName"),
                title: text(record, "title"),
                data: record["data"].clone(),
                kind: match record["name"].as_str() {
                    Some("ForEach" | "Map" | "Loop" | "Retry" | "ErrorHandler") => Kind::Loop,
                    Some("Async") => Kind::Async,
                    _ => Kind::Plain,
                },
                format: match record["data"]["format"].as_str() {
                    Some("value") if record["name"] == "ForEach" => "full".to_owned(),
                    Some(format) => format.to_owned(),
                    None if record["name"] == "Map" => "value".to_owned(),
                    None => "full".to_owned(),
                },
                raw: record["data"]["v"].clone(),
                inputs: list(&record["inputs"])
                    .iter()
                    .map(|port| Input {
                        name: text(port, "name"),
                        optional: port["optional"] == true,
                        default: port.get("defaultVal").filter(|value| !value.is_null()).cloned(),
                    })
                    .collect(),
                outputs: list(&record["outputs"])
                    .iter()
                    .map(|port| Output {
                        name: text(port, "name"),
                        default: port["default"] == true,
                        expression: port["expression"].as_str().map(str::to_owned),
                    })
                    .collect(),
            })
            .collect();
        let place = |id: &Json| nodes.iter().position(|node| json!(node.id) == *id).unwrap();
        let port = |index: &Json, names: Vec<&String>| match index.as_u64() {
            Some(at) => at as usize,
            None => names.iter().position(|name| json!(name) == *index).unwrap(),
        };
        let links = list(&json["connections"])
            .iter()
            .enumerate()
            .map(|(order, record)| {
                let (source, target) = (place(&record["sourceId"]), place(&record["targetId"]));
                let output =
                    port(&record["sourceIndex"], nodes[source].outputs.iter().map(|o| &o.name).collect());
                let input =
                    port(&record["targetIndex"], nodes[target].inputs.iter().map(|i| &i.name).collect());
                Link { order, source, output, target, input }
            })
            .collect();
        Self { nodes, links }
    }

    pub fn place(&self, id: &str) -> usize {
        self.nodes.iter().position(|node| node.id == id).unwrap()
    }

    /// Of a loop: fires at the end, not with each element.
    pub fn with_result(&self, link: &Link) -> bool {
        let (node, port) = (&self.nodes[link.source], &self.nodes[link.source].outputs[link.output]);
        let at_the_end: &[&str] = match node.type_name.as_str() {
            "Map" => &["Result", "Errors", "_error"],
            "Loop" => &["Result", "Iterations", "_error"],
            "Retry" => &["Result", "Attempts", "Errors", "_error"],
            "ErrorHandler" => &["Result", "Error", "Message", "_error"],
            _ => &["Result", "_error"],
        };
        let root = port.expression.as_deref().unwrap_or(&port.name).split('.').next().unwrap_or_default();
        at_the_end.contains(&port.name.as_str()) || at_the_end.contains(&root)
    }

    /// §5.2: outside a job only the job's id leaves an Async component; the job's root passes its inputs on, and
    /// the id to its own branch.
    pub fn live_links(&self, entry: &Entry) -> Vec<Link> {
        let is_id = |link: &Link| self.nodes[link.source].outputs[link.output].name == "JobID";
        let passed = self.links.iter().filter(|link| link.source == entry.node && !is_id(link));
        let branch = self.reach(&self.links, passed.map(|link| link.target), |_| true, |_| true);
        let counts = |link: &&Link| {
            if link.source == link.target {
                return false;
            }
            match self.nodes[link.source].kind {
                Kind::Async if entry.is_job && link.source == entry.node => {
                    !is_id(link) || branch.contains(&link.target)
                }
                Kind::Async => is_id(link),
                _ => true,
            }
        };
        self.links.iter().filter(counts).cloned().collect()
    }

    pub fn reach(
        &self,
        links: &[Link],
        from: impl IntoIterator<Item = usize>,
        pass: impl Fn(usize) -> bool,
        inside: impl Fn(usize) -> bool,
    ) -> BTreeSet<usize> {
        let mut queue: Vec<usize> = from.into_iter().filter(|at| inside(*at)).collect();
        let mut seen: BTreeSet<usize> = queue.iter().copied().collect();
        while let Some(at) = queue.pop() {
            if pass(at) {
                let next = links.iter().filter(|link| link.source == at).map(|link| link.target);
                queue.extend(next.filter(|at| inside(*at)).filter(|at| seen.insert(*at)).collect::<Vec<_>>());
            }
        }
        seen
    }
}

/// What a test double answers. What goes round in circles would double each time; great values are shortened.
pub fn double(node: &Node, input: &Map<String, Json>) -> Json {
    let declared: Map<String, Json> = node
        .inputs
        .iter()
        .filter_map(|port| Some((port.name.clone(), shortened(input.get(&port.name)?))))
        .collect();
    match node.type_name.as_str() {
        "E" => {
            let mut out = Map::new();
            out.insert("Output".into(), Json::Object(declared.clone()));
            out.extend(declared);
            Json::Object(out)
        }
        "FAIL" => json!({"_error": "boom"}),
        "HARD" => json!({"error": "hard"}),
        "RAW" => node.raw.clone(),
        "PICKY" if input.get("Input") == Some(&json!("bad")) => json!({"_error": "picky"}),
        "PICKY" => json!({"Output": declared.get("Input")}),
        "IS" => {
            let yes = input.get("Input").is_some_and(super::truthy);
            json!({ if yes { "Yes" } else { "No" }: true })
        }
        // A pause between attempts.
        "Retry" => json!({}),
        "Async" => json!({ "JobID": format!("{}-job", node.id) }),
        other => panic!("no double for {other}"),
    }
}

fn shortened(value: &Json) -> Json {
    let text = canonical(value);
    if text.len() < 160 { value.clone() } else { json!(format!("#{:x}", fnv(text.as_bytes()))) }
}

/// The same text whatever the order of keys.
fn canonical(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Json::Object(map) => {
            let mut members: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", canonical(v))).collect();
            members.sort();
            format!("{{{}}}", members.join(","))
        }
        scalar => scalar.to_string(),
    }
}

fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}
