//! `sre.observability.v1`.

use anyhow::ensure;
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
        "WriteEntries" => Case::of(&write).services("engine", "engine").stores(),
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
        _ => return Ok(None),
    }))
}
