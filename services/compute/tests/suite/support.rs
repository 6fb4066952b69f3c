//! Processes of the sandbox for tests.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use sre_compute::error::CodeError;
use sre_compute::workers::process::{Events, Gone};
use sre_compute::workers::{Ended, Owner, Silent, Workers};
use sre_sandbox::Limits;
use sre_sandbox::limits::Limit;
use sre_sandbox::protocol::{CallFrame, HttpAnswer, HttpAsk, Outcome, Program};
use sre_service::config::Compute;

/// The sandbox's process.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_code-worker"))
}

/// The configuration of tests.
pub fn settings() -> Compute {
    Compute { worker: Some(program()), max_workers: 4, ..Compute::default() }
}

/// Processes of the sandbox.
pub fn workers() -> Workers {
    Workers::new(&settings()).unwrap()
}

pub fn owner(team: &str, agent: &str) -> Owner {
    Owner { team: team.to_owned(), agent: agent.to_owned() }
}

pub fn frame(source: &str, arguments: &Value) -> CallFrame {
    CallFrame {
        program: Program::Script(source.to_owned()),
        arguments: arguments.to_string(),
        // On a busy machine the processor's time runs out long after the clock's.
        limits: Limits { wall_ms: 40_000, cpu_ms: 500, ..Limits::DEFAULT },
        http_requests: 0,
    }
}

/// How a call ended, in short.
#[derive(Debug, PartialEq)]
pub enum Said {
    Gave(Value),
    Threw(String),
    Exceeded(Limit),
    Refused(String),
}

pub fn said(ended: Result<Ended, CodeError>) -> Said {
    match ended.map(|ended| ended.outcome) {
        Ok(Outcome::Returned(json)) => {
            Said::Gave(json.map_or(Value::Null, |json| serde_json::from_str(&json).unwrap()))
        }
        Ok(Outcome::Threw(thrown)) => Said::Threw(format!("{}: {}", thrown.name, thrown.message)),
        Err(CodeError::Limit(limit)) => Said::Exceeded(limit),
        Err(CodeError::Source(problem)) => Said::Refused(problem.to_string()),
        other => panic!("{other:?}"),
    }
}

pub async fn call(workers: &Workers, owner: &Owner, source: &str, arguments: Value) -> Said {
    said(workers.call(owner, frame(source, &arguments), &mut Silent).await)
}

/// Keeps what is logged.
#[derive(Default)]
pub struct Kept(pub Vec<String>);

impl Events for Kept {
    async fn log(&mut self, level: String, text: String) -> Result<(), Gone> {
        self.0.push(format!("{level}: {text}"));
        Ok(())
    }

    async fn http(&mut self, ask: HttpAsk, _within: Duration) -> HttpAnswer {
        HttpAnswer::Failed(ask.url)
    }
}
