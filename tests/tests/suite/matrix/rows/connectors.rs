//! `Connectors` of `sre.compute.v1`, `sre.io.v1`, `sre.memory.v1` and `sre.security.v1`: administrators of the deployment alone.

use anyhow::ensure;
use sre_proto::types::v1::ListConnectorsResponse;
use sre_proto::{compute, io, memory, security};

use super::super::case::{ADMIN, Case, MEMBER, ROOT};

pub fn case(package: &str) -> Option<Case> {
    let case = match package {
        "io" => Case::of(&io::v1::ListConnectorsRequest { probe: true }),
        "memory" => Case::of(&memory::v1::ListConnectorsRequest { probe: true }),
        "compute" => Case::of(&compute::v1::ListConnectorsRequest { probe: true }),
        "security" => Case::of(&security::v1::ListConnectorsRequest { probe: true }),
        _ => return None,
    };
    Some(case.exact(ROOT).weaker(&[ADMIN, MEMBER]).answers(|list: ListConnectorsResponse| {
        ensure!(list.connectors.iter().all(|it| it.reason.is_empty()), "{list:?}");
        Ok(())
    }))
}
