//! `sre.io.v1.Quotas` and `sre.memory.v1.Quotas`.

use anyhow::ensure;
use sre_proto::types::v1::Quota;
use sre_proto::{io, memory};

use super::super::case::{Case, MEMBER};

const TEAM: &str = "teams/default";
const ABSENT: &str = "teams/absent";

pub fn io(method: &str) -> Option<Case> {
    let request = |parent: &str| io::v1::ListQuotasRequest { parent: parent.into() };
    let case = Case::of(&request(TEAM)).absent(&request(ABSENT));
    (method == "ListQuotas")
        .then(|| case.exact(MEMBER).answers(|list: io::v1::ListQuotasResponse| lists(&list.quotas, "values")))
}

pub fn memory(method: &str) -> Option<Case> {
    let request = |parent: &str| memory::v1::ListQuotasRequest { parent: parent.into() };
    let case = Case::of(&request(TEAM)).absent(&request(ABSENT));
    (method == "ListQuotas").then(|| {
        case.exact(MEMBER)
            .answers(|list: memory::v1::ListQuotasResponse| lists(&list.quotas, "cache_entries"))
    })
}

fn lists(quotas: &[Quota], name: &str) -> anyhow::Result<()> {
    let row = quotas.iter().find(|row| row.name == name);
    ensure!(row.is_some_and(|row| row.holder == TEAM && row.limit > 0), "{quotas:?}");
    Ok(())
}
