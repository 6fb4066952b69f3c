//! `sre debug`: debug sessions, one command at a time. Between commands nothing stays here: any gateway knows
//! the session by its name.

mod show;

use anyhow::Result;
use serde_json::Value;
use sre_proto::gateway::v1::start_debug_session_request::Call;
use sre_proto::gateway::v1::{
    ContinueDebugSessionRequest, DebugInjection, DebugMock, GetDebugSessionRequest,
    InjectDebugSessionRequest, ListDebugSessionsRequest, SkillCall, StartDebugSessionRequest,
    StepDebugSessionRequest, StopDebugSessionRequest, UpdateDebugSessionRequest,
};

use crate::cli::args::{Debug, Global};
use crate::cli::exit::Failure;
use crate::cli::input;
use crate::cli::output::Output;
use crate::client::Client;

/// Runs the command.
pub async fn run(global: &Global, command: Debug) -> Result<()> {
    let output = Output::new(global.format());
    let client = Client::connect(global).await?;
    let mut debugger = client.debugger();
    let step = match command {
        Debug::Start { agent, skill, input, id, breakpoints, mocks, version } => {
            let request = StartDebugSessionRequest {
                agent: client.agent_name(&agent),
                call: call(skill, &input)?,
                version,
                debug_session_id: id,
                breakpoints,
                mocks: mocked(&mocks)?,
                ..StartDebugSessionRequest::default()
            };
            debugger.start_debug_session(request).await?.into_inner()
        }
        Debug::Step { session } => {
            let request = StepDebugSessionRequest { name: session, call: None };
            debugger.step_debug_session(request).await?.into_inner()
        }
        Debug::Continue { session, until, max_steps } => {
            let request = ContinueDebugSessionRequest { name: session, until_component: until, max_steps };
            debugger.continue_debug_session(request).await?.into_inner()
        }
        Debug::Inject { session, component, input, result, inactive } => {
            let injection = injection(component, &input, result.as_deref(), inactive)?;
            let request = InjectDebugSessionRequest { name: session, injections: vec![injection] };
            debugger.inject_debug_session(request).await?.into_inner()
        }
        other => return without_running(output, &client, other).await,
    };
    show::step(output, &step);
    Ok(())
}

/// Commands that run no component.
async fn without_running(output: Output, client: &Client, command: Debug) -> Result<()> {
    let mut debugger = client.debugger();
    let get = |name: &str| GetDebugSessionRequest { name: name.to_owned() };
    let session = match command {
        Debug::Breakpoints { session, components } => {
            // The method replaces both: what is not meant stays.
            let now = debugger.get_debug_session(get(&session)).await?.into_inner();
            let request =
                UpdateDebugSessionRequest { name: session, breakpoints: components, mocks: now.mocks };
            debugger.update_debug_session(request).await?
        }
        Debug::Mock { session, mocks } => {
            let mocks = mocked(&mocks)?;
            let now = debugger.get_debug_session(get(&session)).await?.into_inner();
            let request = UpdateDebugSessionRequest { name: session, breakpoints: now.breakpoints, mocks };
            debugger.update_debug_session(request).await?
        }
        Debug::State { session } => debugger.get_debug_session(get(&session)).await?,
        Debug::Stop { session } => {
            debugger.stop_debug_session(StopDebugSessionRequest { name: session }).await?
        }
        Debug::List { agent } => {
            let request =
                ListDebugSessionsRequest { parent: client.agent_name(&agent), ..Default::default() };
            let sessions = debugger.list_debug_sessions(request).await?.into_inner().sessions;
            show::list(output, &sessions);
            return Ok(());
        }
        // These run components and are handled above.
        Debug::Start { .. } | Debug::Step { .. } | Debug::Continue { .. } | Debug::Inject { .. } => {
            return Ok(());
        }
    };
    show::session(output, session.get_ref());
    Ok(())
}

fn call(skill: Option<String>, words: &[String]) -> Result<Option<Call>> {
    let input = Value::Object(input::object(words)?);
    let call = |skill| SkillCall { skill, input_json: input.to_string().into() };
    Ok(skill.map(|skill| Call::Skill(call(skill))))
}

/// Reads `COMPONENT=JSON` words.
fn mocked(words: &[String]) -> Result<Vec<DebugMock>> {
    let mock = |word: &String| {
        let (component, json) = word
            .split_once('=')
            .filter(|(component, _)| !component.is_empty())
            .ok_or_else(|| Failure::usage(format!("{word:?}: write COMPONENT=JSON")))?;
        let output = Value::Object(input::json_object(json)?);
        Ok(DebugMock { component: component.to_owned(), output_json: output.to_string().into() })
    };
    words.iter().map(mock).collect()
}

fn injection(
    component: String,
    words: &[String],
    result: Option<&str>,
    inactive: bool,
) -> Result<DebugInjection> {
    let object = |object| bytes::Bytes::from(Value::Object(object).to_string());
    let input_json = if words.is_empty() { None } else { Some(object(input::object(words)?)) };
    let output_json = result.map(input::json_object).transpose()?.map(object);
    Ok(DebugInjection { component, active: !inactive, input_json, output_json })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mocks_are_objects_by_component() {
        let mocks = mocked(&[r#"a={"Reply":"x=y"}"#.to_owned()]).unwrap();
        assert_eq!(
            (mocks[0].component.as_str(), mocks[0].output_json.as_ref()),
            ("a", &br#"{"Reply":"x=y"}"#[..])
        );
        for word in ["a", "={}", "a=1"] {
            assert!(mocked(&[word.to_owned()]).is_err(), "{word}");
        }
    }

    #[test]
    fn an_injection_leaves_what_is_not_given() {
        let empty = injection("a".into(), &[], None, false).unwrap();
        assert_eq!(empty, DebugInjection { component: "a".into(), active: true, ..Default::default() });
        let both = injection("a".into(), &["k=1".to_owned()], Some(r#"{"o":2}"#), true).unwrap();
        assert_eq!(both.input_json.as_deref(), Some(&br#"{"k":1}"#[..]));
        assert_eq!(both.output_json.as_deref(), Some(&br#"{"o":2}"#[..]));
        assert!(!both.active);
    }
}
