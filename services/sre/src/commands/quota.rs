//! `sre teams quota`: what a team holds, how much it may, and setting its limits.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::json;
use sre_proto::io::v1::ListQuotasRequest as IoRequest;
use sre_proto::memory::v1::ListQuotasRequest as MemoryRequest;
use sre_proto::security::v1::{GetSettingRequest, SetSettingRequest, Setting};
use tonic::Code;

use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;

/// The team's setting that holds its limits.
const SETTING: &str = "sre-limits";

/// Sets limits where there are any to set, and shows all quotas. An empty value takes a limit back.
pub async fn run(output: Output, client: &Client, set: &[String]) -> Result<()> {
    let team = client.team_name();
    if !set.is_empty() {
        change(client, &team, set).await?;
    }
    let files = client.file_quotas().list_quotas(IoRequest { parent: team.clone() }).await?.into_inner();
    let cache = client.cache_quotas().list_quotas(MemoryRequest { parent: team }).await?.into_inner();
    let rows = files.quotas.into_iter().chain(cache.quotas);
    let cells = rows.map(|row| vec![json!(row.holder), json!(row.name), json!(row.used), json!(row.limit)]);
    output.rows(&["holder", "quota", "used", "limit"], cells.collect());
    Ok(())
}

async fn change(client: &Client, team: &str, set: &[String]) -> Result<()> {
    let name = format!("{team}/settings/{SETTING}");
    let mut limits: BTreeMap<String, u64> =
        match client.account().get_setting(GetSettingRequest { name: name.clone() }).await {
            Ok(found) => serde_json::from_str(&found.into_inner().value)
                .with_context(|| format!("the setting {SETTING} of {team}"))?,
            Err(status) if status.code() == Code::NotFound => BTreeMap::new(),
            Err(status) => return Err(status.into()),
        };
    for pair in set {
        let (limit, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--limit {pair:?}: write limit=number")))?;
        if value.is_empty() {
            limits.remove(limit);
            continue;
        }
        let value = value.parse().map_err(|_| Failure::usage(format!("{value:?} is no whole number")))?;
        limits.insert(limit.to_owned(), value);
    }
    let value = if limits.is_empty() { String::new() } else { serde_json::to_string(&limits)? };
    let setting = Setting { name, value, ..Setting::default() };
    client.account().set_setting(SetSettingRequest { setting: Some(setting) }).await?;
    Ok(())
}
