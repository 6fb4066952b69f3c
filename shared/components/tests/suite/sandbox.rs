//! Code run by the sandbox's interpreter in this process: the language and the contract, without the jail.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use sre_components::{ContextError, Failure};
use sre_proto::compute::v1::{CodeError, CodeLogLine, ExecuteCodeRequest, ExecuteCodeResponse};
use sre_sandbox::Limits;
use sre_sandbox::interpreter::{self, Ended, Outside};
use sre_sandbox::protocol::{CallFrame, HttpAnswer, HttpAsk, Outcome, Program};

#[derive(Default)]
struct Lines(RefCell<Vec<(String, String)>>);

impl Outside for Lines {
    fn log(&self, level: &str, text: &str) {
        self.0.borrow_mut().push((level.to_owned(), text.to_owned()));
    }

    fn http(&self, _: HttpAsk) -> HttpAnswer {
        HttpAnswer::Failed("there is no network here".to_owned())
    }
}

pub async fn execute(request: ExecuteCodeRequest) -> Result<ExecuteCodeResponse, ContextError> {
    let (ended, logs) = tokio::task::spawn_blocking(move || call(&request)).await.unwrap();
    let logs = logs.into_iter().map(|(level, text)| CodeLogLine { level, text }).collect();
    let answer = ExecuteCodeResponse { logs, ..ExecuteCodeResponse::default() };
    match ended.outcome {
        Outcome::Returned(result) => {
            Ok(ExecuteCodeResponse { result_json: result.unwrap_or_default().into(), ..answer })
        }
        Outcome::Threw(thrown) => {
            let error = CodeError { name: thrown.name, message: thrown.message, ..CodeError::default() };
            Ok(ExecuteCodeResponse { error: Some(error), ..answer })
        }
        Outcome::Refused(problem) => Err(ContextError::new(Failure::Invalid, problem.to_string())),
        Outcome::Exceeded(limit) => {
            Err(ContextError::new(Failure::Exhausted, format!("the code reached its limit of {limit:?}")))
        }
    }
}

fn call(request: &ExecuteCodeRequest) -> (Ended, Vec<(String, String)>) {
    let asked = request.limits.unwrap_or_default();
    let wall = asked.wall.map(|wall| Duration::try_from(wall).unwrap());
    let wall_ms = wall.map_or(Limits::DEFAULT.wall_ms, |wall| u64::try_from(wall.as_millis()).unwrap());
    let frame = CallFrame {
        program: Program::Script(request.source.clone()),
        arguments: String::from_utf8(request.arguments_json.to_vec()).unwrap(),
        limits: Limits { wall_ms, ..Limits::DEFAULT },
        http_requests: 0,
    };
    let lines = Rc::new(Lines::default());
    let ended = interpreter::call(&request.source, &frame, lines.clone());
    (ended, lines.0.take())
}
