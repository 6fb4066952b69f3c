//! The engine: serves `sre.gateway.v1.Runs` and drives runs.
//!
//! Read in this order: [`start`] (what happens to a call), [`drive`] (the loop of one run), [`journal`] (what
//! is written when), [`session`] and [`takeover`] (who owns a run, and what happens when its owner dies),
//! [`launch`] (how a run is rebuilt from its records), [`calls`] (what a run calls: skills, and models with tools).

pub mod acl;
pub mod admission;
pub mod answers;
pub mod approvals;
pub mod authority;
pub mod calls;
pub mod checkpoints;
pub mod context;
pub mod conversations;
pub mod core;
pub mod debugger;
pub mod drive;
pub mod egress;
pub mod ended;
pub mod events;
mod external;
pub mod files;
pub mod flight;
pub mod fold;
pub mod fork;
pub mod inbox;
pub mod job_id;
pub mod jobs;
pub mod journal;
pub mod launch;
pub mod lines;
pub mod live;
pub mod models;
pub mod names;
pub mod nesting;
pub mod plans;
pub mod questions;
pub mod ready;
pub mod recording;
pub mod redact;
pub mod requests;
pub mod runs;
pub mod scope;
pub mod service;
pub mod session;
pub mod start;
pub mod steps;
pub mod summary;
pub mod takeover;
pub mod trace;
pub mod triggers;
pub mod uncertain;
pub mod usage;
pub mod waits;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use sre_proto::gateway::v1::approvals_server::ApprovalsServer;
use sre_proto::gateway::v1::conversations_server::ConversationsServer;
use sre_proto::gateway::v1::debugger_server::DebuggerServer;
use sre_proto::gateway::v1::runs_server::RunsServer;
use sre_service::{Host, Role, Routes, UsageReporter};

use admission::Admission;
use approvals::ApprovalsService;
use conversations::service::ConversationsService;
use core::{Engine, Parts};
use debugger::service::DebuggerService;
use external::Catalogue;
use journal::queue::AppendQueue;
use journal::store::JournalStore;
use lines::Lines;
use live::Live;
use models::Models;
use plans::Plans;
use service::RunsService;
use session::Sessions;
use summary::Summaries;
use takeover::Takeover;
use usage::LightRuns;

/// An append is tried for so long; a run whose lease ends before stops by itself.
const APPEND_PATIENCE: Duration = Duration::from_secs(3_600);

/// Starts the role `engine`.
pub async fn start(host: Host) -> anyhow::Result<Routes> {
    let engine = build(&host)?;
    host.spawn("claims", Box::pin(takeover::claim_forever(engine.clone())));
    Ok(routes(engine))
}

fn routes(engine: Engine) -> Routes {
    let limit = 8 << 20;
    let runs = RunsServer::new(RunsService::new(engine.clone()))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    let approvals = ApprovalsServer::new(ApprovalsService::new(engine.clone()));
    let debugger = DebuggerServer::new(DebuggerService::new(engine.clone()))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    let conversations = ConversationsServer::new(ConversationsService::new(engine))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    Routes::new(runs).add_service(approvals).add_service(debugger).add_service(conversations)
}

fn build(host: &Host) -> anyhow::Result<Engine> {
    let config = host.config();
    let registry = sre_components::registry();
    let (http, web) = (egress::gate(config)?, egress::places(config)?);
    let journal = JournalStore::new(
        host.link(Role::Memory),
        config.journal.session_ttl(),
        config.journal.blob_threshold_bytes.min(64 << 10),
    );
    let external = Catalogue::new(host);
    let (appends, lanes) = AppendQueue::new(Arc::new(journal.clone()), APPEND_PATIENCE);
    for lane in lanes {
        host.spawn("appends", lane);
    }
    let (summaries, writer) =
        Summaries::new(Arc::new(journal.clone()), host.config().journal.summary_rate_cap);
    host.spawn("summaries", writer);
    let (lines, writer) = Lines::new(host.link(Role::Observability), host.shutdown());
    host.spawn_to_end("log lines", writer);
    let usage = UsageReporter::of(host);
    let light_runs = LightRuns::new(usage.clone());
    host.spawn_to_end("light runs", light_runs.clone().report_forever(host.shutdown()));
    let (sessions, keeper) = Sessions::new(Arc::new(journal.clone()), host.shutdown());
    host.spawn_to_end("session", keeper);
    Ok(Engine::new(Parts {
        host: host.clone(),
        registry,
        plans: Plans::new(registry, external.clone(), config.gateway.plan_cache_entries),
        models: Models::default(),
        external,
        http,
        web,
        takeover: Takeover::new(journal.clone()),
        journal,
        appends,
        sessions,
        live: Live::default(),
        admission: Admission::new(config.gateway.max_light_runs, config.gateway.max_running),
        summaries,
        lines,
        usage,
        light_runs,
        conversations: conversations::Conversations::new(host.link(Role::Memory)),
    }))
}

#[cfg(test)]
mod tests;
