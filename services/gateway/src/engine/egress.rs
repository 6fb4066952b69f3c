//! The way out of this engine, as the configuration says.

use std::collections::BTreeMap;

use anyhow::Context as _;
use sre_components::context::web::{Places, Scraper};
use sre_components::egress::{Gate, Limits, Lists, Table};
use sre_service::config::{Config, EgressOf, Scraper as Configured};
use url::Url;

/// The clients of all agents.
pub fn gate(config: &Config) -> anyhow::Result<Gate> {
    let egress = &config.egress;
    let lists = |of: &BTreeMap<String, EgressOf>| {
        let lists = of
            .iter()
            .map(|(name, of)| (name.clone(), Lists { allow: of.allow.clone(), only: of.only.clone() }));
        lists.collect()
    };
    let table =
        Table { allow: egress.allow.clone(), teams: lists(&egress.teams), agents: lists(&egress.agents) };
    let limits = Limits {
        connect: egress.connect_timeout(),
        total: egress.total_timeout(),
        response_bytes: egress.max_response_bytes,
        expansion: egress.max_expansion,
    };
    Gate::new(&table, limits).context("[egress]")
}

/// Where the services of the web are.
pub fn places(config: &Config) -> anyhow::Result<Places> {
    let web = &config.web;
    let url = |key: &str, text: &str| Url::parse(text).with_context(|| format!("web.{key} is no address"));
    Ok(Places {
        tavily: url("tavily_url", &web.tavily_url)?,
        scrapfly: url("scrapfly_url", &web.scrapfly_url)?,
        scraper: match web.scraper {
            Configured::Auto => Scraper::Auto,
            Configured::Scrapfly => Scraper::Scrapfly,
            Configured::Local => Scraper::Local,
        },
        huggingface: url("huggingface_url", &web.huggingface_url)?,
        zapier: url("zapier_url", &web.zapier_url)?,
        google: url("google_url", &web.google_url)?,
        graph: url("graph_url", &web.graph_url)?,
    })
}
