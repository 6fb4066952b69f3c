//! What the parts of one turn share: whose it is, what it may, how long it may take, and how it is led.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use sre_proto::gateway::v1::turn_event::Event;
use sre_proto::gateway::v1::{ConcurrencyPolicy, TurnEvent, run_event};
use sre_proto::memory::v1::{JournalRecord, RecordKind, RunRecord};
use sre_service::{Link, Role};
use tokio::time::Instant;
use tonic::Status;

use super::own_tools::OwnTools;
use super::planner;
use super::settings::{self, Led};
use super::tools::{self, Declared};
use super::trace::TurnSpan;
use crate::engine::admission::Slot;
use crate::engine::authority::{self, Authority};
use crate::engine::core::Engine;
use crate::engine::fold::{Unstartable, time_left};
use crate::engine::journal::records::{Opened, RecordError, TurnAsked};
use crate::engine::live::LiveRun;
use crate::engine::names::AgentName;
use crate::engine::nesting::Nesting;
use crate::engine::plans::{Compiled, Version};

/// What the parts of one turn share.
pub struct TurnScope {
    /// The engine.
    pub engine: Engine,
    /// The run's id.
    pub id: String,
    /// The agent's version.
    pub version: Version,
    /// Its plan.
    pub compiled: Arc<Compiled>,
    /// What it may do.
    pub authority: Authority,
    /// It and the runs that it was started from.
    pub nesting: Nesting,
    /// Its first record.
    pub opened: Opened,
    /// What is asked.
    pub asked: TurnAsked,
    /// How it is led.
    pub led: Led,
    /// Its tools.
    pub tools: Vec<Declared>,
    /// Who answers them, where they are a component's and not the agent's skills.
    pub own_tools: Option<OwnTools>,
    /// Its signals and its transient events.
    pub live: LiveRun,
    /// Its slot.
    pub slot: Slot,
    /// When it must be over.
    pub deadline: Instant,
    /// Its span; none unless spans are exported.
    pub span: Option<TurnSpan>,
}

impl TurnScope {
    /// The scope that the first record of a turn describes.
    pub async fn open(
        engine: &Engine,
        row: &RunRecord,
        records: &[JournalRecord],
        live: &LiveRun,
        slot: &Slot,
    ) -> Result<Self, Unstartable> {
        let opened = records.first().filter(|record| record.kind() == RecordKind::Opened);
        let opened = opened.ok_or(RecordError::NotOpened)?;
        let opened = Opened::decode(opened.body.clone()).map_err(RecordError::from)?;
        let asked = opened.turn.clone().ok_or(RecordError::NotOpened)?;
        let authority = Authority::granted(engine.host.tokens().clone(), opened.resume_grant.as_str());
        let version = Version {
            agent: AgentName::parse("agent", &opened.agent)?,
            id: opened.version.clone(),
            digest: opened.digest.clone(),
        };
        let agent_link = authority.agent_link(engine.host.link(Role::Agent)).await?;
        let compiled = engine.plans.plan(agent_link, &version).await?;
        let concurrency = ConcurrencyPolicy::try_from(asked.concurrency).unwrap_or_default();
        let led = settings::led(asked.settings.as_ref().unwrap_or(&Default::default()), concurrency);
        let nesting = Nesting::of(&opened.above, &version.agent.team, &row.run_id);
        let authority = authority.of_run(nesting.clone()).with_scopes(authority::turn_scopes());
        let mut scope = Self {
            engine: engine.clone(),
            id: row.run_id.clone(),
            version,
            tools: Vec::new(),
            own_tools: None,
            compiled,
            authority,
            nesting,
            opened,
            asked,
            led,
            live: live.clone(),
            slot: slot.clone(),
            deadline: Instant::now() + time_left(engine, row),
            span: None,
        };
        scope.own_tools = OwnTools::open(&scope, row.epoch).await?;
        scope.tools = match &scope.own_tools {
            Some(own) => own.declared(),
            None if scope.led.with_tools && scope.has_skills() => tools::declared(&scope.compiled.plan),
            None => Vec::new(),
        };
        if scope.led.planner {
            // They are the conversation's own: a skill of such a name is not reached.
            scope.tools.retain(|known| !planner::is_tool(&known.tool.name));
            scope.tools.extend(planner::declared());
        }
        scope.span = TurnSpan::begin(&scope, row.epoch);
        Ok(scope)
    }

    /// Whether the agent's skills are its tools.
    fn has_skills(&self) -> bool {
        self.asked.sub.as_ref().is_none_or(|sub| sub.own_tools.is_none())
    }

    /// A link that acts as the agent.
    pub async fn link(&self, role: Role) -> Result<Link, Status> {
        self.authority.link(self.engine.host.link(role), role).await
    }

    /// The context that its tools are below.
    pub fn traceparent(&self) -> String {
        match &self.span {
            Some(turn) => turn.span().context().as_str().to_owned(),
            None => self.opened.traceparent.clone(),
        }
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// A run's name.
    pub fn run_name(&self, run_id: &str) -> String {
        self.version.agent.run(run_id)
    }

    /// Tells watchers something that is not journalled.
    pub fn tell(&self, event: impl FnOnce() -> Event) {
        self.live.events.emit(|| run_event::Event::Turn(TurnEvent { event: Some(event()) }));
    }
}
