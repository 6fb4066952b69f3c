//! Debugging in the words of the reference: `X-DEBUG-*` headers on a raw request (`agent-execution.md` §6.2,
//! §6.3, ruling 22). Whoever may write the agent's definition may; others get what its production host says.

use sre_engine::Value;
use sre_engine::debug::{Injection, legacy_expired_json};
use sre_identity::{Caller, Level};
use sre_proto::error::{Reason, with_metadata};
use sre_proto::gateway::v1::{DebugStep, RawRequest, RunSkillRequest, RunSkillResponse, run_skill_request};
use tonic::{Code, Status};

use super::access;
use super::commands::{self, Command};
use super::names::{SessionName, new_id};
use super::session;
use super::start::{self, Asked};
use crate::engine::acl;
use crate::engine::core::Engine;
use crate::engine::names::AgentName;
use crate::engine::requests::Wanted;

const NOT_SUPPORTED: &str = "Debug functions are not supported";
const HTTP_OK: i32 = 200;

/// What the headers of a request ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Stop(String),
    /// A step of a session, or a new one of this name.
    Run(String),
    Read(String),
    /// Into this session; empty makes one.
    Inject(String),
    Start,
}

/// What is asked for; none for a plain request. The order of precedence is the reference's. A request with a tag
/// is a nested call and never debugged (row 115): that takes something from its caller and gives nothing, so
/// that anybody may send it; the tag itself is not adopted.
fn mode(raw: &RawRequest) -> Option<Mode> {
    let header = |name: &str| {
        let found = raw.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    let named = |name: &str| header(name).filter(|id| !id.is_empty()).map(str::to_owned);
    if header("x-request-tag").is_some_and(|tag| !tag.is_empty()) {
        return None;
    }
    let id = named("x-debug-stop").map(Mode::Stop);
    let id = id.or_else(|| named("x-debug-run").map(Mode::Run));
    let id = id.or_else(|| named("x-debug-read").map(Mode::Read));
    let inject = || header("x-debug-inj").map(|id| Mode::Inject(id.to_owned()));
    id.or_else(inject).or_else(|| header("x-debug-run").map(|_| Mode::Start))
}

/// Whether a request is for the debugger.
pub fn wanted(request: &RunSkillRequest) -> bool {
    matches!(&request.call, Some(run_skill_request::Call::Raw(raw)) if mode(raw).is_some())
}

/// Answers a request for the debugger.
pub async fn run(
    engine: &Engine,
    caller: &Caller,
    request: RunSkillRequest,
) -> Result<RunSkillResponse, Status> {
    let Some(run_skill_request::Call::Raw(raw)) = request.call else { return Err(malformed("no request")) };
    let Some(mode) = mode(&raw) else { return Err(malformed("no debug header")) };
    let full = caller.agent().unwrap_or(&request.agent).to_owned();
    // Recorded when it is dropped, after the work.
    let _granted = access::starting(engine, caller, &full).await.map_err(|status| match status.code() {
        Code::PermissionDenied => answered(Code::PermissionDenied, Reason::AclDenied, NOT_SUPPORTED, 403),
        _ => status,
    })?;
    let session = Session {
        engine,
        caller,
        agent: AgentName::parse("agent", &full)?,
        asked: Asked {
            agent: request.agent,
            session_id: request.session_id,
            version: request.version,
            ..Asked::default()
        },
    };
    let (run, legacy) = session.answer(mode, raw).await?;
    Ok(RunSkillResponse { run, result: legacy.result, legacy_json: legacy.legacy_json, http_status: HTTP_OK })
}

struct Session<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
    agent: AgentName,
    asked: Asked,
}

impl Session<'_> {
    async fn answer(self, mode: Mode, raw: RawRequest) -> Result<(String, DebugStep), Status> {
        let names_endpoint = endpoint_of(&raw.path).is_some();
        let mocked = raw.headers.keys().any(|name| name.eq_ignore_ascii_case("x-mock-data-inj"));
        let body = body(&raw)?;
        let mocks = if mocked { injections(&body)? } else { Vec::new() };
        let call = names_endpoint.then(|| match body.as_array() {
            // The list was for the debugger, not for the endpoint.
            Some(_) => RawRequest { body_json: "{}".into(), ..raw },
            None => raw,
        });
        let command = match &mode {
            Mode::Start => return self.start(String::new(), call, mocks).await,
            Mode::Inject(id) if id.is_empty() => {
                let injections = injections(&body)?;
                return self.inject_new(injections).await;
            }
            Mode::Inject(_) => Command::Inject(injections(&body)?),
            Mode::Read(_) => Command::Read,
            Mode::Stop(_) => Command::Stop,
            Mode::Run(_) => Command::Step {
                call: call.clone().map(|call| (Box::new(call), self.asked.session_id.clone())),
                mocks: mocks.clone(),
            },
        };
        let (Mode::Stop(id) | Mode::Run(id) | Mode::Read(id) | Mode::Inject(id)) = &mode else {
            return Err(malformed("no debug header"));
        };
        let Ok(name) = SessionName::new(self.agent.clone(), id) else { return Ok(expired(id)) };
        if let Some(row) = self.own(&name).await?
            && let Some(step) = commands::perform(self.engine, name.clone(), row, command).await?
        {
            return Ok((name.to_string(), step));
        }
        match (&mode, call) {
            // An unknown id is the name of a new session, where there is something to call (ruling 22).
            (Mode::Run(id), Some(call)) => self.start(id.clone(), Some(call), mocks).await,
            _ => Ok(expired(id)),
        }
    }

    /// The open session of a name, if it is this caller's: others do not exist for it.
    async fn own(&self, name: &SessionName) -> Result<Option<sre_proto::memory::v1::RunRecord>, Status> {
        let Some(row) = session::find(self.engine, name).await? else { return Ok(None) };
        let root = acl::candidate_of(self.caller.root())?;
        let list = acl::of_record(row.acl.as_ref())?;
        Ok(access::may(self.engine, &root, Level::Write, &list).await?.then_some(row))
    }

    async fn start(
        self,
        id: String,
        call: Option<RawRequest>,
        mocks: Vec<Injection>,
    ) -> Result<(String, DebugStep), Status> {
        let mocks = mocks.into_iter().filter_map(|mock| Some((mock.component, mock.output?)));
        let asked = Asked { id, wanted: call.map(Wanted::Raw), mocks: mocks.collect(), ..self.asked };
        let step = start::start(self.engine, self.caller, asked).await?;
        Ok((step.session.as_ref().map(|session| session.name.clone()).unwrap_or_default(), step))
    }

    /// A session that begins with values put into it.
    async fn inject_new(self, injections: Vec<Injection>) -> Result<(String, DebugStep), Status> {
        let asked = Asked { id: new_id("inj"), ..self.asked };
        let name = SessionName::new(self.agent, &asked.id)?;
        start::start(self.engine, self.caller, asked).await?;
        let row = session::find(self.engine, &name).await?.ok_or_else(|| session::no_such_session(&name))?;
        let step =
            commands::perform_or_not_found(self.engine, name.clone(), row, Command::Inject(injections));
        Ok((name.to_string(), step.await?))
    }
}

/// The answer about a session that is unknown, expired, or somebody else's (row 112).
fn expired(id: &str) -> (String, DebugStep) {
    let legacy_json = legacy_expired_json(id).to_string().into();
    (String::new(), DebugStep { legacy_json, ..DebugStep::default() })
}

/// The endpoint that a path names; none for `/api/` itself.
fn endpoint_of(path: &str) -> Option<&str> {
    let (_, endpoint) = path.split_once("/api/")?;
    Some(endpoint).filter(|endpoint| !endpoint.is_empty())
}

fn body(raw: &RawRequest) -> Result<Value, Status> {
    if raw.body_json.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&raw.body_json)
        .map_err(|error| malformed(&format!("the body is not json: {error}")))
}

fn injections(body: &Value) -> Result<Vec<Injection>, Status> {
    Injection::from_legacy(body).map_err(|error| malformed(&error.to_string()))
}

fn malformed(message: &str) -> Status {
    answered(Code::InvalidArgument, Reason::InvalidArgument, message, 400)
}

fn answered(code: Code, reason: Reason, message: &str, http: u16) -> Status {
    let legacy = serde_json::json!({ "error": message }).to_string();
    with_metadata(code, reason, message, [("legacy_json", legacy), ("http_status", http.to_string())])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &str)]) -> Option<Mode> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        mode(&RawRequest { headers, ..RawRequest::default() })
    }

    #[test]
    fn the_first_that_names_a_session_counts() {
        let id = || "d".to_owned();
        assert_eq!(of(&[("X-DEBUG-RUN", "d"), ("x-debug-stop", "d")]), Some(Mode::Stop(id())));
        assert_eq!(of(&[("X-DEBUG-RUN", "d"), ("X-Debug-Read", "e")]), Some(Mode::Run(id())));
        assert_eq!(of(&[("x-debug-read", "d"), ("x-debug-inj", "")]), Some(Mode::Read(id())));
        assert_eq!(of(&[("x-debug-run", ""), ("x-debug-inj", "")]), Some(Mode::Inject(String::new())));
        assert_eq!(of(&[("x-debug-run", "")]), Some(Mode::Start));
    }

    #[test]
    fn plain_requests_and_nested_calls_are_not_debugged() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("x-debug-read", ""), ("x-debug-stop", "")]), None);
        assert_eq!(of(&[("x-mock-data-inj", "1"), ("x-debug-skip", "1")]), None);
        assert_eq!(of(&[("x-debug-run", "d"), ("X-REQUEST-TAG", "t")]), None);
    }

    #[test]
    fn a_path_names_an_endpoint_or_none() {
        assert_eq!(endpoint_of("/api/go"), Some("go"));
        assert_eq!(endpoint_of("/v1.0/api/go"), Some("go"));
        assert_eq!(endpoint_of("/api/"), None);
        assert_eq!(endpoint_of("/v1.0/api/"), None);
    }
}
