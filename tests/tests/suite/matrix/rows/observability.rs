//! `sre.observability.v1`.

use anyhow::ensure;
use prost_types::Timestamp;
use sre_proto::observability::v1::*;

use super::super::case::{Case, MEMBER};
use super::super::world::{WORKER, World, agent_name};

pub async fn log(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let line = LogEntry {
        team: "default".into(),
        agent: WORKER.into(),
        run_id: sre_proto::ids::new_id(),
        level: LogLevel::Info.into(),
        message: world.fresh("line"),
        ..LogEntry::default()
    };
    let write = WriteEntriesRequest { entries: vec![line.clone()] };
    Ok(Some(match method {
        "WriteEntries" => {
            Case::of(&write).services("engine", "engine").answers(|answer: WriteEntriesResponse| {
                ensure!(answer.written == 1 && answer.refusals.is_empty(), "{answer:?}");
                Ok(())
            })
        }
        "ListEntries" => {
            let _: WriteEntriesResponse = world.ask("service/engine", write).await?;
            let request =
                |parent: &str| ListEntriesRequest { parent: parent.into(), ..ListEntriesRequest::default() };
            Case::of(&request(&agent_name(WORKER)))
                .absent(&request("teams/default/agents/nobody"))
                .exact(format!("agent/{WORKER}"))
                .weaker(&[MEMBER])
                .answers(move |list: ListEntriesResponse| {
                    ensure!(list.entries.iter().any(|entry| entry.message == line.message), "{list:?}");
                    Ok(())
                })
        }
        "TailEntries" => {
            let _: WriteEntriesResponse = world.ask("service/engine", write).await?;
            let filter = LogFilter { start_time: Some(Timestamp::default()), ..LogFilter::default() };
            let request = |parent: &str| TailEntriesRequest {
                parent: parent.into(),
                filter: Some(filter.clone()),
                ..TailEntriesRequest::default()
            };
            Case::of(&request(&agent_name(WORKER)))
                .absent(&request("teams/default/agents/nobody"))
                .exact(format!("agent/{WORKER}"))
                .weaker(&[MEMBER])
                .streams(move |pages: Vec<TailEntriesResponse>| {
                    let lines = pages.iter().flat_map(|page| &page.entries);
                    ensure!(lines.into_iter().any(|entry| entry.message == line.message), "{pages:?}");
                    Ok(())
                })
        }
        _ => return Ok(None),
    }))
}

fn use_of(world: &World) -> UsageEvent {
    let run = sre_proto::ids::new_id();
    UsageEvent {
        id: world.fresh("event"),
        team: "default".into(),
        agent: WORKER.into(),
        user: "user/dev".into(),
        run_id: run,
        step: "A@1".into(),
        r#use: Some(usage_event::Use::Component(ComponentUse {
            r#type: "FHash".into(),
            name: String::new(),
        })),
        ..UsageEvent::default()
    }
}

pub async fn usage(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    let record = RecordUsageRequest { events: vec![use_of(world)] };
    Ok(Some(match method {
        "RecordUsage" => {
            Case::of(&record).services("engine", "memory").answers(|answer: RecordUsageResponse| {
                ensure!(answer.recorded + answer.known == 1, "{answer:?}");
                Ok(())
            })
        }
        "SumUsage" => {
            let _: RecordUsageResponse = world.ask("service/engine", record).await?;
            let request = SumUsageRequest { teams: vec!["default".into()], ..SumUsageRequest::default() };
            Case::of(&request).services("llm", "llm").answers(|sums: UsageRow| {
                ensure!(sums.executions > 0, "{sums:?}");
                Ok(())
            })
        }
        "QueryUsage" => {
            let _: RecordUsageResponse = world.ask("service/engine", record).await?;
            let request =
                |parent: &str| QueryUsageRequest { parent: parent.into(), ..QueryUsageRequest::default() };
            Case::of(&request("teams/default")).absent(&request("teams/absent")).exact(MEMBER).answers(
                |sums: QueryUsageResponse| {
                    ensure!(
                        sums.rows.iter().any(|row| row.key == "default" && row.executions > 0),
                        "{sums:?}"
                    );
                    Ok(())
                },
            )
        }
        _ => return Ok(None),
    }))
}

pub async fn telemetry(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    if method != "GetTrace" {
        return Ok(None);
    }
    let event = use_of(world);
    let run = format!("{}/runs/{}", agent_name(WORKER), event.run_id);
    let _: RecordUsageResponse =
        world.ask("service/engine", RecordUsageRequest { events: vec![event] }).await?;
    let request = |name: &str| GetTraceRequest { name: name.into() };
    let absent = format!("teams/default/agents/nobody/runs/{}", sre_proto::ids::new_id());
    Ok(Some(
        Case::of(&request(&run))
            .absent(&request(&absent))
            .exact(format!("agent/{WORKER}"))
            .weaker(&[MEMBER])
            .answers(|trace: Trace| {
                ensure!(trace.spans.iter().any(|span| span.name == "Component.FHash"), "{trace:?}");
                Ok(())
            }),
    ))
}
