//! `sre.gateway.v1.Debugger`.

use anyhow::ensure;
use sre_proto::AccessLevel;
use sre_proto::agent::v1::{AclAspect, SetAgentAclRequest};
use sre_proto::gateway::v1::*;
use sre_proto::types::v1::{Acl, AclEntry, Level};

use super::super::case::{ADMIN, Case, HOLDER, OWNER, READER, WRITER};
use super::super::world::{World, agent_name, candidate};

const NOWHERE: &str = "teams/default/agents/nobody";

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let id = world.agent().await?;
    let agent = agent_name(&id);
    if method == "StartDebugSession" {
        // It runs the skill too, which is a right of its own.
        let aspect = AclAspect::Skills.into();
        let list = Some(skills());
        world.dev(SetAgentAclRequest { name: agent.clone(), aspect, acl: list }).await?;
        return Ok(Some(starting(&agent)));
    }
    let session: DebugStep = world.ask(OWNER, start(&agent)).await?;
    let name = session.session.unwrap_or_default().name;
    let absent = format!("{agent}/debugSessions/absent");
    // A session is for whoever started it: no other level can be given.
    Ok(Some(match method {
        "StepDebugSession" => {
            let request = |name: &str| StepDebugSessionRequest { name: name.into(), call: None };
            Case::of(&request(&name)).absent(&request(&absent)).stores().answers(|step: DebugStep| {
                ensure!(step.executed.iter().any(|done| done.component == "sha"), "{step:?}");
                Ok(())
            })
        }
        "ContinueDebugSession" => {
            let request = |name: &str| ContinueDebugSessionRequest {
                name: name.into(),
                ..ContinueDebugSessionRequest::default()
            };
            Case::of(&request(&name)).absent(&request(&absent)).stores().answers(|step: DebugStep| {
                ensure!(step.session.is_some_and(|session| session.closed), "it goes on");
                ensure!(step.stopped_by == "closed", "stopped by {}", step.stopped_by);
                Ok(())
            })
        }
        "InjectDebugSession" => {
            let injection = DebugInjection {
                component: "sha".into(),
                active: true,
                input_json: Some(r#"{"Data":"injected"}"#.into()),
                output_json: None,
            };
            let request = |name: &str| InjectDebugSessionRequest {
                name: name.into(),
                injections: vec![injection.clone()],
            };
            Case::of(&request(&name)).absent(&request(&absent)).stores().answers(|step: DebugStep| {
                ensure!(step.executed.iter().any(|done| done.component == "sha"), "{step:?}");
                Ok(())
            })
        }
        "UpdateDebugSession" => {
            let request = |name: &str| UpdateDebugSessionRequest {
                name: name.into(),
                breakpoints: vec!["answer".into()],
                mocks: Vec::new(),
            };
            Case::of(&request(&name)).absent(&request(&absent)).stores().answers(|session: DebugSession| {
                ensure!(session.breakpoints == ["answer"], "{session:?}");
                Ok(())
            })
        }
        "GetDebugSession" => {
            let request = |name: &str| GetDebugSessionRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(&absent)).answers(|session: DebugSession| {
                ensure!(session.components.len() == 3 && !session.closed, "{session:?}");
                Ok(())
            })
        }
        "ListDebugSessions" => {
            let request = |parent: &str| ListDebugSessionsRequest {
                parent: parent.into(),
                ..ListDebugSessionsRequest::default()
            };
            // The team's admins own what its agents have.
            Case::of(&request(&agent)).absent(&request(NOWHERE)).exact(ADMIN).answers(
                move |list: ListDebugSessionsResponse| {
                    ensure!(list.sessions.iter().any(|session| session.name == name), "{list:?}");
                    Ok(())
                },
            )
        }
        "StopDebugSession" => {
            let request = |name: &str| StopDebugSessionRequest { name: name.into() };
            Case::of(&request(&name)).absent(&request(&absent)).stores().answers(|session: DebugSession| {
                ensure!(session.closed, "{session:?}");
                Ok(())
            })
        }
        _ => return Ok(None),
    }))
}

/// Everybody who has a level on the definition may run the skill.
fn skills() -> Acl {
    let people = [OWNER, READER, WRITER, HOLDER];
    let entry = |who: &str| AclEntry { candidate: Some(candidate(who)), levels: vec![Level::Owner.into()] };
    Acl { entries: people.map(entry).into(), etag: String::new() }
}

fn starting(agent: &str) -> Case {
    Case::of(&start(agent)).absent(&start(NOWHERE)).by_list(AccessLevel::Write).stores().answers(
        |step: DebugStep| {
            ensure!(step.executed.iter().any(|done| done.component == "hash"), "{step:?}");
            ensure!(step.session.is_some_and(|session| !session.closed), "it is closed already");
            Ok(())
        },
    )
}

fn start(agent: &str) -> StartDebugSessionRequest {
    let call = SkillCall { skill: "hash".into(), input_json: r#"{"text":"hello"}"#.into() };
    StartDebugSessionRequest {
        agent: agent.into(),
        call: Some(start_debug_session_request::Call::Skill(call)),
        ..StartDebugSessionRequest::default()
    }
}
