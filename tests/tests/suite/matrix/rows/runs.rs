//! `sre.gateway.v1.Runs`.

use std::time::Duration;

use anyhow::{bail, ensure};
use sre_proto::AccessLevel;
use sre_proto::gateway::v1::*;

use super::super::case::{ADMIN, Case, OWNER, READER, first};
use super::super::world::{World, agent_name};
use crate::harness::agents::sleeper;

const NOWHERE: &str = "teams/default/agents/nobody";
/// SHA-256 of `hello`.
const DIGEST: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let id = world.fresh("runner");
    let document = match method {
        "CancelRun" | "PauseRun" | "ResumeRun" => sleeper(&id, 300),
        _ => crate::harness::agents::hasher(&id),
    };
    world.create_agent(&id, document.to_string()).await?;
    let agent = agent_name(&id);
    // A run's list holds whoever started it and its agent: no other level can be given.
    let itself = format!("agent/{id}");
    Ok(Some(match method {
        "RunSkill" => {
            let request = |agent: &str| RunSkillRequest {
                agent: agent.into(),
                call: Some(run_skill_request::Call::Skill(hash())),
                ..RunSkillRequest::default()
            };
            // The summary is written behind the answer: it is there soon.
            Case::of(&request(&agent)).absent(&request(NOWHERE)).by_list(AccessLevel::Read).then(
                |world, answers| {
                    Box::pin(async move {
                        let answer: RunSkillResponse = first(answers)?;
                        ensure!(
                            answer.legacy_json.windows(64).any(|part| part == DIGEST.as_bytes()),
                            "{answer:?}"
                        );
                        ended(world, &answer.run).await.map(drop)
                    })
                },
            )
        }
        "StartRun" => {
            let request = |agent: &str| StartRunRequest {
                agent: agent.into(),
                call: Some(start_run_request::Call::Skill(hash())),
                ..StartRunRequest::default()
            };
            Case::of(&request(&agent)).absent(&request(NOWHERE)).by_list(AccessLevel::Read).stores().then(
                |world, answers| {
                    Box::pin(async move {
                        let run: Run = first(answers)?;
                        let run = ended(world, &run.name).await?;
                        ensure!(run.state() == RunState::Done, "{run:?}");
                        Ok(())
                    })
                },
            )
        }
        "GetRun" => {
            let run = start(world, &agent, "hash").await?;
            ended(world, &run).await?;
            let request = |name: &str| GetRunRequest { name: name.into() };
            Case::of(&request(&run)).absent(&request(&absent_run(&agent))).exact(itself).answers(
                |run: Run| {
                    ensure!(run.state() == RunState::Done && !run.legacy_json.is_empty(), "{run:?}");
                    Ok(())
                },
            )
        }
        "ListRuns" => {
            let run = start(world, &agent, "hash").await?;
            ended(world, &run).await?;
            let request =
                |parent: &str| ListRunsRequest { parent: parent.into(), ..ListRunsRequest::default() };
            // The team's admins own what its agents have.
            Case::of(&request(&agent)).absent(&request(NOWHERE)).exact(ADMIN).answers(
                move |list: ListRunsResponse| {
                    ensure!(list.runs.iter().any(|listed| listed.name == run), "{run} is not listed");
                    Ok(())
                },
            )
        }
        "CancelRun" => {
            let run = start(world, &agent, "sleep").await?;
            reached(world, &run, &[RunState::Waiting]).await?;
            let request = |name: &str| CancelRunRequest { name: name.into(), reason: "the matrix".into() };
            let absent = request(&absent_run(&agent));
            Case::of(&request(&run)).absent(&absent).exact(itself).stores().answers(|run: Run| {
                ensure!(run.state() == RunState::Cancelled, "{run:?}");
                Ok(())
            })
        }
        "PauseRun" => {
            let run = start(world, &agent, "sleep").await?;
            reached(world, &run, &[RunState::Waiting]).await?;
            let request = |name: &str| PauseRunRequest { name: name.into() };
            let absent = request(&absent_run(&agent));
            Case::of(&request(&run)).absent(&absent).exact(itself).stores().then(|world, answers| {
                Box::pin(async move {
                    let run: Run = first(answers)?;
                    reached(world, &run.name, &[RunState::Paused]).await.map(drop)
                })
            })
        }
        "ResumeRun" => {
            let run = start(world, &agent, "sleep").await?;
            world.dev(PauseRunRequest { name: run.clone() }).await?;
            reached(world, &run, &[RunState::Paused]).await?;
            let request = |name: &str| ResumeRunRequest { name: name.into() };
            let absent = request(&absent_run(&agent));
            Case::of(&request(&run)).absent(&absent).exact(itself).stores().then(|world, answers| {
                Box::pin(async move {
                    let run: Run = first(answers)?;
                    reached(world, &run.name, &[RunState::Running, RunState::Waiting]).await.map(drop)
                })
            })
        }
        "ListSteps" => {
            let run = start(world, &agent, "hash").await?;
            ended(world, &run).await?;
            let request = |name: &str| ListStepsRequest { name: name.into(), ..ListStepsRequest::default() };
            Case::of(&request(&run)).absent(&request(&absent_run(&agent))).exact(itself).answers(
                |list: ListStepsResponse| {
                    let sha = list.steps.iter().find(|step| step.component == "sha");
                    let output = sha.map(|step| String::from_utf8_lossy(&step.output_json).into_owned());
                    ensure!(output.is_some_and(|json| json.contains(DIGEST)), "{list:?}");
                    Ok(())
                },
            )
        }
        "ForkRun" => {
            // Whoever forks must be able to read the run: it is the reader's own.
            let run = start_as(world, READER, &agent, "hash").await?;
            ended(world, &run).await?;
            let request = |agent: &str, run: &str| ForkRunRequest {
                agent: agent.into(),
                run: run.into(),
                at: "sha".into(),
                set_json: r#"{"Data":"hello"}"#.into(),
                ..ForkRunRequest::default()
            };
            let absent = request(NOWHERE, &absent_run(NOWHERE));
            let mut case = Case::of(&request(&agent, &run)).absent(&absent).by_list(AccessLevel::Read);
            case.owner = case.exact.clone();
            case.stores().then(|world, answers| {
                Box::pin(async move {
                    let run: Run = first(answers)?;
                    let run = ended(world, &run.name).await?;
                    let answer = String::from_utf8_lossy(&run.legacy_json);
                    ensure!(run.state() == RunState::Done && answer.contains(DIGEST), "{run:?}");
                    Ok(())
                })
            })
        }
        "ExportRun" => {
            let run = start(world, &agent, "hash").await?;
            ended(world, &run).await?;
            let request = |name: &str| ExportRunRequest { name: name.into() };
            Case::of(&request(&run)).absent(&request(&absent_run(&agent))).exact(itself).streams(
                |parts: Vec<ExportRunResponse>| {
                    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.data.to_vec()).collect();
                    let recording: serde_json::Value = serde_json::from_slice(&bytes)?;
                    ensure!(recording.to_string().contains(DIGEST), "{recording}");
                    Ok(())
                },
            )
        }
        "DeleteRun" => {
            let run = start(world, &agent, "hash").await?;
            ended(world, &run).await?;
            let request = |name: &str| DeleteRunRequest { name: name.into() };
            Case::of(&request(&run)).absent(&request(&absent_run(&agent))).exact(itself).stores()
        }
        "WatchRun" => {
            let run = start(world, &agent, "hash").await?;
            ended(world, &run).await?;
            let request = |name: &str| WatchRunRequest { name: name.into(), after: None };
            Case::of(&request(&run)).absent(&request(&absent_run(&agent))).exact(itself).streams(
                |events: Vec<RunEvent>| {
                    let last = events.last().and_then(|event| event.event.as_ref());
                    ensure!(matches!(last, Some(run_event::Event::RunEnded(_))), "{events:?}");
                    Ok(())
                },
            )
        }
        _ => return Ok(None),
    }))
}

fn hash() -> SkillCall {
    SkillCall { skill: "hash".into(), input_json: r#"{"text":"hello"}"#.into() }
}

fn absent_run(agent: &str) -> String {
    format!("{agent}/runs/{}", sre_proto::ids::new_id())
}

async fn start(world: &World, agent: &str, skill: &str) -> anyhow::Result<String> {
    start_as(world, OWNER, agent, skill).await
}

async fn start_as(world: &World, who: &str, agent: &str, skill: &str) -> anyhow::Result<String> {
    let call = SkillCall { skill: skill.into(), ..hash() };
    let request = StartRunRequest {
        agent: agent.into(),
        call: Some(start_run_request::Call::Skill(call)),
        ..StartRunRequest::default()
    };
    let run: Run = world.ask(who, request).await?;
    Ok(run.name)
}

/// A run once it has ended.
async fn ended(world: &World, name: &str) -> anyhow::Result<Run> {
    reached(world, name, &[RunState::Done, RunState::Failed, RunState::Cancelled]).await
}

/// A run once it is in one of these states.
async fn reached(world: &World, name: &str, states: &[RunState]) -> anyhow::Result<Run> {
    let mut last = None;
    for _ in 0..200 {
        // Started by somebody else it is still its agent's, whose team `user/dev` administers; its list alone counts.
        let agent = name.split('/').nth(3).unwrap_or_default();
        let run: anyhow::Result<Run> =
            world.ask(&format!("agent/{agent}"), GetRunRequest { name: name.into() }).await;
        match run {
            Ok(run) if states.contains(&run.state()) => return Ok(run),
            other => last = Some(other),
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("{name} is none of {states:?}, or was not kept: {last:?}")
}
