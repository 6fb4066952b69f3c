//! From the messages that start a run to the request that it answers.

use bytes::Bytes;
use sre_components::trigger::TriggerRequest;
use sre_engine::{EntryId, EntryKind, Map, Plan, RequestData, RouteError, UploadedFile, Value};
use sre_proto::error::{Reason, invalid_argument};
use sre_proto::gateway::v1::{RawRequest, SkillCall, run_skill_request, start_run_request};
use tonic::{Code, Status};

/// The longest session id.
const SESSION_CHARACTERS: usize = 256;
const REQUEST_ID_CHARACTERS: usize = 128;
/// Uploads travel inside the message.
const FILES_BYTES: usize = 4 << 20;

/// What to run, from either message.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// A skill by name.
    Skill(SkillCall),
    /// A raw request.
    Raw(RawRequest),
}

impl Wanted {
    /// What `RunSkill` names.
    pub fn of_run(call: Option<run_skill_request::Call>) -> Result<Self, Status> {
        match call {
            Some(run_skill_request::Call::Skill(skill)) => Ok(Self::Skill(skill)),
            Some(run_skill_request::Call::Raw(raw)) => Ok(Self::Raw(raw)),
            None => Err(missing()),
        }
    }

    /// What `StartRun` names.
    pub fn of_start(call: Option<start_run_request::Call>) -> Result<Self, Status> {
        match call {
            Some(start_run_request::Call::Skill(skill)) => Ok(Self::Skill(skill)),
            Some(start_run_request::Call::Raw(raw)) => Ok(Self::Raw(raw)),
            None => Err(missing()),
        }
    }
}

fn missing() -> Status {
    invalid_argument("call", "name a skill, or give a raw request")
}

/// A request with the place in the plan where it leads.
#[derive(Debug)]
pub struct Routed {
    /// The request.
    pub request: RequestData,
    /// Where the run starts.
    pub entry: EntryId,
    /// The skill's endpoint.
    pub skill: String,
    /// Identifies the input, for request ids.
    pub digest: String,
    /// Where it leads to a trigger: what that has to collect from before anything runs.
    pub trigger: Option<TriggerRequest>,
}

impl Routed {
    /// A trigger collects from a request; where nothing collects, it would run with what a caller made up.
    pub fn not_a_trigger(self) -> Result<Self, Status> {
        match self.trigger {
            None => Ok(self),
            Some(_) => {
                let message = "a trigger is not debugged: debug the skill that it feeds";
                Err(invalid_argument("call", message))
            }
        }
    }
}

/// Reads what is wanted and finds where it leads.
pub fn route(plan: &Plan, wanted: Wanted, session_id: &str) -> Result<Routed, Status> {
    if session_id.chars().count() > SESSION_CHARACTERS {
        return Err(invalid_argument(
            "session_id",
            format!("it has {SESSION_CHARACTERS} characters at most"),
        ));
    }
    let mut digest = blake3::Hasher::new();
    let mut body = Bytes::new();
    let mut request = match wanted {
        Wanted::Skill(call) => of_skill(plan, call, &mut digest)?,
        Wanted::Raw(raw) => {
            body = if raw.body.is_empty() { raw.body_json.clone() } else { raw.body.clone() };
            of_raw(raw, &mut digest)?
        }
    };
    part(&mut digest, session_id.as_bytes());
    request.session_id = Some(session_id.to_owned()).filter(|id| !id.is_empty());
    let method = if request.method.is_empty() { "POST" } else { request.method.as_str() };
    let entry = plan.route(method, &request.path).map_err(|error| not_found(&error))?;
    let digest = format!("b3:{}", digest.finalize().to_hex());
    if plan.kind(entry) == EntryKind::Trigger {
        let skill = plan.entry_node(entry).text_setting("triggerEndpoint").unwrap_or_default().to_owned();
        let trigger = Some(of_trigger(&mut request, body));
        return Ok(Routed { request, entry, skill, digest, trigger });
    }
    request.validate().map_err(|error| {
        with_answer(Code::InvalidArgument, Reason::InvalidArgument, &error.to_string(), 400, None)
    })?;
    let skill = plan.entry_node(entry).text_setting("endpoint").unwrap_or_default().to_owned();
    Ok(Routed { request, entry, skill, digest, trigger: None })
}

/// What a trigger collects from. Nothing of it is left in the request, which will be what was collected.
fn of_trigger(request: &mut RequestData, raw: Bytes) -> TriggerRequest {
    let method = request.method.to_uppercase();
    request.files.clear();
    TriggerRequest {
        method: if method.is_empty() { "POST".to_owned() } else { method },
        headers: std::mem::take(&mut request.headers)
            .into_iter()
            .map(|(name, value)| (name.to_lowercase(), value.to_text()))
            .collect(),
        query: std::mem::take(&mut request.query),
        body: std::mem::take(&mut request.body),
        raw,
    }
}

fn of_skill(plan: &Plan, call: SkillCall, digest: &mut blake3::Hasher) -> Result<RequestData, Status> {
    let path = format!("/api/{}", call.skill);
    let method = match plan.skill(&call.skill, None) {
        Some(skill) => skill.method,
        None => return Err(not_found(&RouteError::Endpoint { method: "POST".into(), path })),
    };
    part(digest, method.as_bytes());
    part(digest, path.as_bytes());
    part(digest, &call.input_json);
    let input = json("skill.input_json", &call.input_json)?;
    let mut request = RequestData { method, path, ..RequestData::default() };
    if request.method == "GET" {
        request.query = object("skill.input_json", input)?;
    } else {
        request.body = input;
    }
    Ok(request)
}

fn of_raw(raw: RawRequest, digest: &mut blake3::Hasher) -> Result<RequestData, Status> {
    let bytes: usize = raw.files.iter().map(|file| file.data.len()).sum();
    if bytes > FILES_BYTES {
        return Err(invalid_argument("raw.files", format!("files have {FILES_BYTES} bytes in all at most")));
    }
    let mut headers: Vec<(String, String)> = raw.headers.into_iter().collect();
    headers.sort();
    part(digest, raw.method.as_bytes());
    part(digest, raw.path.as_bytes());
    part(digest, &raw.query_json);
    part(digest, &raw.body_json);
    for (name, value) in &headers {
        part(digest, name.as_bytes());
        part(digest, value.as_bytes());
    }
    for file in &raw.files {
        part(digest, file.field.as_bytes());
        part(digest, file.name.as_bytes());
        part(digest, &file.data);
    }
    Ok(RequestData {
        method: raw.method,
        path: raw.path,
        headers: headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        query: object("raw.query_json", json("raw.query_json", &raw.query_json)?)?,
        body: json("raw.body_json", &raw.body_json)?,
        files: raw
            .files
            .into_iter()
            .map(|file| UploadedFile {
                field: file.field.into(),
                name: file.name.into(),
                mimetype: file.mimetype.into(),
                data: file.data,
            })
            .collect(),
        ..RequestData::default()
    })
}

/// Length and content, so that parts cannot run into each other.
fn part(digest: &mut blake3::Hasher, bytes: &[u8]) {
    digest.update(&(bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

fn json(field: &str, text: &Bytes) -> Result<Value, Status> {
    if text.is_empty() {
        return Ok(Value::object(Map::new()));
    }
    serde_json::from_slice(text).map_err(|error| invalid_argument(field, format!("it is not json: {error}")))
}

fn object(field: &str, value: Value) -> Result<Map, Status> {
    match value {
        Value::Object(map) => Ok(std::sync::Arc::unwrap_or_clone(map)),
        Value::Null => Ok(Map::new()),
        other => Err(invalid_argument(field, format!("it must be a JSON object, got {}", other.kind()))),
    }
}

/// Checks a request id.
pub fn request_id(text: &str) -> Result<(), Status> {
    if text.chars().count() > REQUEST_ID_CHARACTERS {
        return Err(invalid_argument(
            "request_id",
            format!("it has {REQUEST_ID_CHARACTERS} characters at most"),
        ));
    }
    Ok(())
}

/// The reference answers a missing endpoint with a body; it travels beside the status, with the HTTP status
/// of a door, and the status field of the reference's own answer where that has one.
fn not_found(error: &RouteError) -> Status {
    let reference = matches!(error, RouteError::Path).then_some(404);
    with_answer(Code::NotFound, Reason::NotFound, &error.to_string(), 404, reference)
}

pub(super) fn with_answer(
    code: Code,
    reason: Reason,
    message: &str,
    http: u16,
    reference: Option<u16>,
) -> Status {
    let legacy = serde_json::json!({ "error": message }).to_string();
    sre_proto::error::with_metadata(
        code,
        reason,
        message,
        [
            ("legacy_json", legacy),
            ("http_status", http.to_string()),
            ("reference_status", reference.map(|status| status.to_string()).unwrap_or_default()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sre_proto::gateway::v1::UploadedFile as File;
    use tonic_types::StatusExt as _;

    fn plan() -> Plan {
        let endpoint = |id: &str, name: &str, method: &str| {
            serde_json::json!({"id": id, "name": "APIEndpoint", "title": "", "displayName": "",
                "data": {"endpoint": name, "method": method}, "inputs": [], "outputs": []})
        };
        let document = serde_json::json!({"id": "a", "name": "A", "connections": [],
            "components": [endpoint("E1", "greet", "POST"), endpoint("E2", "look", "GET")]});
        sre_engine::compile(&document, sre_components::registry()).unwrap()
    }

    fn skill(name: &str, input: &'static str) -> Wanted {
        Wanted::Skill(SkillCall { skill: name.into(), input_json: Bytes::from_static(input.as_bytes()) })
    }

    #[test]
    fn input_is_the_body_or_the_query_of_a_get_skill() {
        let plan = plan();
        let routed = route(&plan, skill("greet", r#"{"a":1}"#), "s").unwrap();
        assert_eq!(routed.request.body.get("a"), Some(&Value::from(1)));
        assert_eq!((routed.skill.as_str(), routed.request.session_id.as_deref()), ("greet", Some("s")));
        let routed = route(&plan, skill("look", r#"{"a":1}"#), "").unwrap();
        assert_eq!(routed.request.query["a"], Value::from(1));
        assert_eq!((routed.request.method.as_str(), routed.request.session_id), ("GET", None));
    }

    #[test]
    fn a_missing_endpoint_says_what_the_reference_says() {
        let plan = plan();
        let raw = |method: &str, path: &str| {
            Wanted::Raw(RawRequest { method: method.into(), path: path.into(), ..Default::default() })
        };
        for (wanted, text, reference) in [
            (skill("nope", "{}"), "Endpoint POST /api/nope Not Found", ""),
            (raw("GET", "/api/greet"), "Endpoint GET /api/greet Not Found", ""),
            (raw("POST", "/foo/api/greet"), "Endpoint not found", "404"),
        ] {
            let status = route(&plan, wanted, "").unwrap_err();
            assert_eq!(status.code(), Code::NotFound);
            let metadata = status.get_details_error_info().unwrap().metadata;
            let legacy: serde_json::Value = serde_json::from_str(&metadata["legacy_json"]).unwrap();
            assert_eq!(legacy, serde_json::json!({ "error": text }));
            assert_eq!(
                (metadata["http_status"].as_str(), metadata["reference_status"].as_str()),
                ("404", reference)
            );
        }
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        let plan = plan();
        for (wanted, field) in [
            (skill("greet", "[1]"), "body"),
            (skill("greet", "{"), "input_json"),
            (skill("look", "[1]"), "input_json"),
        ] {
            let status = route(&plan, wanted, "").unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(field), "{}", status.message());
        }
        assert!(Wanted::of_run(None).is_err());
        assert!(route(&plan, skill("greet", ""), &"x".repeat(257)).is_err());
    }

    #[test]
    fn the_digest_tells_inputs_apart() {
        let plan = plan();
        let raw = |headers: &[(&str, &str)], file: &'static [u8]| {
            let headers =
                headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let files =
                vec![File { field: "f".into(), data: Bytes::from_static(file), ..Default::default() }];
            let raw = RawRequest { path: "/api/greet".into(), headers, files, ..Default::default() };
            route(&plan, Wanted::Raw(raw), "").unwrap().digest
        };
        let both = [("a", "1"), ("b", "2")];
        assert_eq!(raw(&both, b"x"), raw(&[both[1], both[0]], b"x"));
        assert_ne!(raw(&both, b"x"), raw(&both, b"y"));
        assert_ne!(raw(&[("a", "1")], b"x"), raw(&both, b"x"));
    }
}
