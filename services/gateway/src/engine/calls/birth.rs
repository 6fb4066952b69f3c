//! The run that a call becomes: a child of the run it is made in, durable before anybody waits for it, named by that
//! run and a key. A repeated call finds the first one.

use std::time::Duration;

use prost::Message as _;
use sre_proto::memory::v1::{OpenRunRequest, RecordKind, RunKind, RunRecord};
use tonic::Status;

use super::lineage::Lineage;
use crate::engine::acl;
use crate::engine::core::{Engine, internal, timestamp};
use crate::engine::journal::formats;
use crate::engine::journal::records::{EntryKind, Opened, Spec, StoredRequest, TurnAsked, record};
use crate::engine::launch::{self, Claimable};
use crate::engine::nesting::Nesting;
use crate::engine::plans::{Compiled, Version};
use crate::engine::redact::Redactor;
use crate::engine::requests::Routed;

/// What every child has from its parent, and by what it is found again.
pub struct Birth<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// The parent's id.
    pub parent: &'a str,
    /// What makes it that child of its parent.
    pub key: &'a str,
    /// What it runs.
    pub version: &'a Version,
    /// Its plan.
    pub compiled: &'a Compiled,
    /// The authority that it goes on with.
    pub grant: &'a str,
    /// Who is at the beginning of all calls, as a SPIFFE id.
    pub root: &'a str,
    /// The trace it belongs to.
    pub traceparent: &'a str,
    /// The conversation whose model called it; empty where none did.
    pub conversation: &'a str,
    /// The calls it is nested in, its own included.
    pub lineage: &'a Lineage,
    /// Its parent and the runs above it.
    pub above: &'a Nesting,
    /// How long it may take.
    pub time: Duration,
    /// The secrets that its parent knows, under the child's own marker.
    pub redactor: Redactor,
    /// That marker.
    pub marker: String,
}

impl Birth<'_> {
    /// Its id.
    pub fn run_id(&self) -> Result<String, Status> {
        sre_proto::ids::child_id(self.parent, self.key)
            .ok_or_else(|| internal("a run has a malformed id", &self.parent))
    }

    /// Opens the run of a skill; gives its id.
    pub async fn skill(self, routed: Routed) -> Result<String, Status> {
        let Routed { request, entry, skill, .. } = routed;
        let stored = StoredRequest::of(&request, &self.redactor)
            .map_err(|error| internal("a call's request cannot be written", &error))?;
        let opened = Opened {
            entry_kind: EntryKind::Endpoint.into(),
            component: self.compiled.plan.entry_node(entry).id.to_string(),
            request: Some(stored),
            skill: skill.clone(),
            ..self.opened()
        };
        let row = RunRecord {
            kind: RunKind::Skill.into(),
            record_format: self.compiled.record_format(),
            label: skill,
            ..self.row()?
        };
        self.open(row, opened).await
    }

    /// Opens the run of a talk; gives its id. `entry` is where the run of the component that talks began.
    pub async fn turn(
        self,
        asked: TurnAsked,
        entry: (EntryKind, String),
        label: String,
    ) -> Result<String, Status> {
        let opened =
            Opened { entry_kind: entry.0.into(), component: entry.1, turn: Some(asked), ..self.opened() };
        let record_format = formats::SUB_TURN.max(self.compiled.record_format());
        let row = RunRecord { kind: RunKind::Turn.into(), record_format, label, ..self.row()? };
        self.open(row, opened).await
    }

    fn opened(&self) -> Opened {
        Opened {
            agent: self.version.agent.to_string(),
            version: self.version.id.clone(),
            digest: self.version.digest.clone(),
            resume_grant: self.grant.to_owned(),
            marker: self.marker.clone(),
            root: self.root.to_owned(),
            time_ms: launch::milliseconds(self.time),
            traceparent: self.traceparent.to_owned(),
            conversation: self.conversation.to_owned(),
            lineage: self.lineage.to_kept(),
            above: self.above.to_kept(),
            ..Opened::default()
        }
    }

    fn row(&self) -> Result<RunRecord, Status> {
        let root = acl::candidate_of(self.root)?;
        let agent = &self.version.agent;
        Ok(RunRecord {
            run_id: self.run_id()?,
            team: agent.team.clone(),
            agent: agent.agent.clone(),
            caller: root.to_string(),
            parent_run: self.parent.to_owned(),
            idempotency_key: self.key.to_owned(),
            deadline: Some(timestamp(self.engine.journal.clock().now() + self.time)),
            spec: Spec { marker: self.marker.clone() }.encode_to_vec().into(),
            acl: Some((&acl::of_run(&root, &agent.agent)?).into()),
            version: self.version.id.clone(),
            ..RunRecord::default()
        })
    }

    async fn open(self, row: RunRecord, opened: Opened) -> Result<String, Status> {
        let run_id = row.run_id.clone();
        let first = self.engine.journal.apart(&run_id, record(RecordKind::Opened, None, &opened)).await?;
        // Left for anybody with a slot, also this engine: it hears of it at once.
        let request = OpenRunRequest { run: Some(row), records: vec![first], ..OpenRunRequest::default() };
        self.engine.journal.open(request).await?;
        self.engine.takeover.look(Claimable::Job);
        Ok(run_id)
    }
}
