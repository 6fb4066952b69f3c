//! The people and things of the matrix, and the calls that make them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use prost::Message;
use sre_identity::token::issuer;
use sre_identity::{Claims, Purpose, Signer, TrustDomain};
use sre_proto::agent::v1::{AclAspect, Agent, CreateAgentRequest, SetAgentAclRequest};
use sre_proto::memory::v1::{GetEntryRequest, GetEntryResponse};
use sre_proto::security::v1::{CreateTeamRequest, Member, SetMemberRequest, TeamRole};
use sre_proto::types::v1::{Acl, AclEntry, Candidate, Level, Role as Kind};
use sre_proto::{AccessLevel, Guarded, MethodPolicy, Rule, Visibility, method_of};
use sre_security::identity::signing_keys;
use sre_security::vault::keks::Keks;
use sre_service::Role;
use sre_store::pg::{PgConfig, PgTls};
use sre_store::sql::Database;
use tonic::Status;

use super::case::{ADMIN, Case, HOLDER, MEMBER, OUTSIDER, OWNER, READER, ROOT, WRITER, first};
use super::rows;
use super::snapshot::{self, Snapshot, Stored};
use super::snapshot_postgres::StoredRows;
use super::target::{Target, Who};
use crate::harness::agents::hasher;

/// The agent under which things are kept.
pub const WORKER: &str = "worker";
/// Tokens of the matrix live a minute.
const TOKEN_SECONDS: i64 = 60;

/// Methods that read another thing than the one that they write, and ask for a scope that covers it.
const ALSO_READ: [&str; 1] = ["/sre.io.v1.Storage/CopyFile"];

/// A suite with teams and people.
pub struct World {
    target: Target,
    /// The state of the role security, where it is in a database.
    security: Option<Database>,
    stored: Stored,
    count: AtomicU32,
}

impl World {
    pub async fn new(target: Target) -> anyhow::Result<Self> {
        let (mut security, mut database) = (None, None);
        if let Some(url) = target.database() {
            let config = PgConfig {
                url: Some(url.to_owned().into()),
                schema: Some("sre_security".to_owned()),
                tls: PgTls::Disable,
                ..PgConfig::default()
            };
            security = Some(Database::connect(&config, sre_security::schema::MIGRATIONS).await?);
            database = Some(StoredRows::connect(url).await?);
        }
        let stored = Stored::new(target.data_dir(), database);
        let world = Self { target, security, stored, count: AtomicU32::new(0) };
        for team in ["guests", "other"] {
            world.dev(CreateTeamRequest { team_id: team.into(), team: None }).await?;
        }
        let people = [
            ("default", MEMBER, TeamRole::Member),
            ("default", ADMIN, TeamRole::Admin),
            ("guests", READER, TeamRole::Member),
            ("guests", WRITER, TeamRole::Member),
            ("guests", HOLDER, TeamRole::Member),
            ("guests", ROOT, TeamRole::Member),
            ("other", OUTSIDER, TeamRole::Admin),
        ];
        for (team, who, role) in people {
            world.member(team, who, role).await?;
        }
        world.agent_named(WORKER).await?;
        Ok(world)
    }

    /// The request of a row on a resource of its own.
    pub async fn case(&self, row: &MethodPolicy) -> anyhow::Result<Case> {
        let found = Box::pin(rows::case(self, row)).await?;
        found.ok_or_else(|| {
            anyhow::anyhow!("the matrix has no request for this row: write one in matrix/rows")
        })
    }

    /// An id that nothing has yet.
    pub fn fresh(&self, what: &str) -> String {
        format!("{what}-{}", self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// Calls a method of the table.
    pub async fn call(
        &self,
        who: &Who,
        to: Role,
        row: &MethodPolicy,
        messages: &[Bytes],
    ) -> Result<Vec<Bytes>, Status> {
        self.target.call(who, to, row, messages).await
    }

    /// Asks as somebody: public methods through the edge, others at their role.
    pub async fn ask<R: Guarded + Message, A: Message + Default>(
        &self,
        who: &str,
        request: R,
    ) -> anyhow::Result<A> {
        let row = method_of::<R>();
        let to = match (row.visibility, row.rule) {
            (Visibility::Public, Rule::Access { .. }) => Role::Edge,
            _ => serving(row),
        };
        let answers = self.call(&Who::is(who), to, row, &[request.encode_to_vec().into()]).await;
        first(&answers.map_err(|status| anyhow::anyhow!("{} as {who}: {status:?}", row.path))?)
    }

    /// Asks a method that answers with a stream: all of it.
    pub async fn all<R: Guarded + Message>(&self, who: &str, request: R) -> anyhow::Result<Vec<Bytes>> {
        let row = method_of::<R>();
        let answers = self.call(&Who::is(who), Role::Edge, row, &[request.encode_to_vec().into()]).await;
        answers.map_err(|status| anyhow::anyhow!("{} as {who}: {status:?}", row.path))
    }

    /// Asks as `user/dev`, without looking at the answer.
    pub async fn dev<R: Guarded + Message>(&self, request: R) -> anyhow::Result<()> {
        self.ask::<R, Nothing>(OWNER, request).await.map(drop)
    }

    /// Sends a stream as `user/dev`.
    pub async fn send<R: Guarded + Message>(&self, messages: &[R]) -> anyhow::Result<()> {
        let bytes: Vec<Bytes> = messages.iter().map(|message| message.encode_to_vec().into()).collect();
        self.call(&Who::is(OWNER), Role::Edge, method_of::<R>(), &bytes).await?;
        Ok(())
    }

    /// Makes somebody a member of a team.
    pub async fn member(&self, team: &str, who: &str, role: TeamRole) -> anyhow::Result<()> {
        let member = Member { candidate: Some(candidate(who)), role: role.into(), home: false };
        self.dev(SetMemberRequest { parent: format!("teams/{team}"), member: Some(member) }).await
    }

    /// A new agent of team `default` with the standard lists; its id.
    pub async fn agent(&self) -> anyhow::Result<String> {
        let id = self.fresh("agent");
        self.agent_named(&id).await?;
        Ok(id)
    }

    async fn agent_named(&self, id: &str) -> anyhow::Result<()> {
        let document = hasher(id).to_string();
        self.create_agent(id, document).await
    }

    /// An agent with a document and the standard lists.
    pub async fn create_agent(&self, id: &str, document: String) -> anyhow::Result<()> {
        let agent = Agent { document_json: document.into(), ..Agent::default() };
        self.dev(CreateAgentRequest {
            parent: "teams/default".into(),
            agent_id: id.into(),
            agent: Some(agent),
            request_id: String::new(),
        })
        .await?;
        // The agent reads its own definition when it runs.
        for (aspect, others) in [
            (AclAspect::Definition, vec![(format!("agent/{id}"), Level::Read)]),
            (AclAspect::Skills, Vec::new()),
        ] {
            let acl = Some(acl(&others));
            self.dev(SetAgentAclRequest { name: agent_name(id), aspect: aspect.into(), acl }).await?;
        }
        Ok(())
    }

    /// A token that is right in all but what the caller changes, signed with the suite's own key.
    pub fn token(
        &self,
        subject: &str,
        presenter: &str,
        row: &MethodPolicy,
        change: impl Fn(&mut Claims),
    ) -> String {
        let domain = TrustDomain::new("sre.local").unwrap();
        let level = match row.rule {
            Rule::Access { level, .. } => level_word(level),
            Rule::System { .. } => "read",
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let subject = format!("spiffe://{domain}/{subject}");
        let mut scope = vec![format!("{}:{level}", row.service)];
        if ALSO_READ.contains(&row.path) {
            scope.push(format!("{}:read", row.service));
        }
        let mut claims = Claims {
            iss: issuer(&domain),
            sub: subject.clone(),
            act: format!("spiffe://{domain}/{presenter}"),
            via: Vec::new(),
            root: subject,
            aud: vec![serving(row).name().to_owned()],
            scope: scope.clone(),
            ceil: scope,
            jti: sre_proto::ids::new_uuid().to_string(),
            iat: now,
            exp: now + TOKEN_SECONDS,
            purpose: Purpose::Forward,
            agent: None,
            team: None,
            txn: sre_proto::ids::new_uuid().to_string(),
            runs: Vec::new(),
        };
        change(&mut claims);
        self.signer().sign(&claims).unwrap()
    }

    /// The key that signs the suite's tokens now: the test owns the folder.
    fn signer(&self) -> Signer {
        let folder = self.target.data_dir();
        let keks = Keks::read(&folder.join("keys/vault.key")).unwrap();
        let key = match &self.security {
            None => {
                let store = rusqlite::Connection::open(self.store("security.db")).unwrap();
                signing_keys::signing(&(&store).into(), &keks)
            }
            Some(database) => {
                let read = database.try_read(move |conn| signing_keys::signing(conn, &keks));
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(read))
            }
        };
        key.unwrap().unwrap().signer
    }

    fn store(&self, name: &str) -> PathBuf {
        let path = self.target.data_dir().join("store").join(name);
        assert!(path.exists(), "{} is missing", path.display());
        path
    }

    /// Everything stored, and the case's cache entry.
    pub async fn snapshot(&self, case: &Case) -> anyhow::Result<Snapshot> {
        self.with_entry(self.stored.settled().await?, case).await
    }

    /// The same without waiting: what an answered write did is durable.
    pub async fn snapshot_now(&self, case: &Case) -> anyhow::Result<Snapshot> {
        self.with_entry(self.stored.now().await?, case).await
    }

    async fn with_entry(&self, mut snapshot: Snapshot, case: &Case) -> anyhow::Result<Snapshot> {
        if let Some(name) = &case.entry {
            let entry: GetEntryResponse =
                self.ask(OWNER, GetEntryRequest { name: name.clone(), ..Default::default() }).await?;
            let acl = sre_proto::memory::v1::GetEntryAclRequest { name: name.clone(), ..Default::default() };
            // An entry that is gone has no list.
            let acl: Option<Acl> = if entry.found { Some(self.ask(OWNER, acl).await?) } else { None };
            // The time left runs by itself; minutes do not.
            let minutes = entry.ttl_ms.map(|left| left / 600_000);
            let notes: std::collections::BTreeMap<_, _> = entry.metadata.into_iter().collect();
            let text =
                format!("{} {:?} {} {notes:?} {minutes:?} {acl:?}", entry.found, entry.value, entry.etag);
            snapshot::add(&mut snapshot, "cache", text);
        }
        Ok(snapshot)
    }

    pub async fn stop(self) {
        self.target.stop().await;
    }
}

/// An answer that is not looked at.
#[derive(Clone, PartialEq, Message)]
struct Nothing {}

/// The role that serves a row.
pub fn serving(row: &MethodPolicy) -> Role {
    Role::of_package(row.package).unwrap()
}

/// A level as scopes write it.
pub fn level_word(level: AccessLevel) -> &'static str {
    match level {
        AccessLevel::Read => "read",
        AccessLevel::Write => "write",
        AccessLevel::Owner => "owner",
    }
}

pub fn agent_name(id: &str) -> String {
    format!("teams/default/agents/{id}")
}

/// `user/alice` as a message.
pub fn candidate(principal: &str) -> Candidate {
    let (kind, id) = principal.split_once('/').unwrap();
    let role = match kind {
        "agent" => Kind::Agent,
        "user" => Kind::User,
        "team" => Kind::Team,
        other => panic!("{other} is no Candidate"),
    };
    Candidate { role: role.into(), id: id.to_owned() }
}

/// The standard list: one owner, and one user for each level; and others.
pub fn acl(others: &[(String, Level)]) -> Acl {
    let standard =
        [(OWNER, Level::Owner), (READER, Level::Read), (WRITER, Level::Write), (HOLDER, Level::Owner)];
    let entry =
        |who: &str, level: Level| AclEntry { candidate: Some(candidate(who)), levels: vec![level.into()] };
    let entries = standard
        .iter()
        .map(|(who, level)| entry(who, *level))
        .chain(others.iter().map(|(who, level)| entry(who, *level)))
        .collect();
    Acl { entries, etag: String::new() }
}
