//! One row's request on a resource of its own, who may make it, and what it does.

use bytes::Bytes;
use futures::future::BoxFuture;
use prost::Message;
use sre_proto::AccessLevel;

use super::target::Who;
use super::world::World;

/// The user at the beginning: admin of team `default` and of the deployment.
pub const OWNER: &str = "user/dev";
/// Another admin of `default`.
pub const ADMIN: &str = "user/admin";
/// A member of `default`.
pub const MEMBER: &str = "user/member";
/// Another administrator of the deployment.
pub const ROOT: &str = "user/root";
/// Members of another team, to whom lists give exactly one level.
pub const READER: &str = "user/reader";
pub const WRITER: &str = "user/writer";
pub const HOLDER: &str = "user/holder";
/// The admin of another team, to whom nobody gave anything.
pub const OUTSIDER: &str = "user/mallory";
/// A certificate that no team knows.
pub const STRANGER: &str = "user/ghost";

type Check = Box<dyn for<'a> Fn(&'a World, &'a [Bytes]) -> BoxFuture<'a, anyhow::Result<()>> + Send + Sync>;

/// A request on an existing resource.
pub struct Case {
    /// Its messages; one, where the client does not stream.
    pub messages: Vec<Bytes>,
    /// The same on a resource that is not there; empty where there is no such thing.
    pub absent: Vec<Bytes>,
    /// Who may.
    pub owner: Who,
    /// Who may exactly this.
    pub exact: Who,
    /// Who may less, or something else.
    pub weaker: Vec<&'static str>,
    /// Whether every Candidate may: only credentials can be wrong.
    pub open: bool,
    /// Whether what is stored must differ afterwards.
    pub writes: bool,
    /// A cache entry that belongs to what is stored: the cache has no file.
    pub entry: Option<String>,
    check: Option<Check>,
}

impl Case {
    /// A request; the owner is `user/dev`, and so is who may exactly this, until said otherwise.
    pub fn of(message: &impl Message) -> Self {
        Self::stream(vec![message.encode_to_vec().into()])
    }

    /// A request of several messages.
    pub fn stream(messages: Vec<Bytes>) -> Self {
        Self {
            messages,
            absent: Vec::new(),
            owner: Who::is(OWNER),
            exact: Who::is(OWNER),
            weaker: Vec::new(),
            open: false,
            writes: false,
            entry: None,
            check: None,
        }
    }

    /// The same on a resource that is not there.
    pub fn absent(mut self, message: &impl Message) -> Self {
        self.absent = vec![message.encode_to_vec().into()];
        self
    }

    /// The list of the resource gives one user each exactly one level.
    pub fn by_list(mut self, level: AccessLevel) -> Self {
        let (exact, weaker) = match level {
            AccessLevel::Read => (READER, vec![WRITER]),
            AccessLevel::Write => (WRITER, vec![READER]),
            AccessLevel::Owner => (HOLDER, vec![READER, WRITER]),
        };
        self.exact = Who::is(exact);
        self.weaker = weaker;
        self
    }

    /// The team's role gives the right: to members, or to admins alone.
    pub fn by_team(mut self, role: TeamRight) -> Self {
        match role {
            TeamRight::Member => self.exact = Who::is(MEMBER),
            TeamRight::Admin => {
                self.exact = Who::is(ADMIN);
                self.weaker = vec![MEMBER];
            }
        }
        self
    }

    /// Somebody else has exactly the right.
    pub fn exact(mut self, who: impl Into<String>) -> Self {
        self.exact = Who::is(who);
        self
    }

    /// Services with these names are listed.
    pub fn services(mut self, owner: &str, exact: &str) -> Self {
        self.owner = Who::is(format!("service/{owner}"));
        self.exact = Who::is(format!("service/{exact}"));
        self
    }

    /// These may less.
    pub fn weaker(mut self, who: &[&'static str]) -> Self {
        self.weaker.extend(who);
        self
    }

    /// Every Candidate may.
    pub fn open(mut self) -> Self {
        self.open = true;
        self.exact = Who::is(MEMBER);
        self
    }

    /// What is stored must differ afterwards.
    pub fn stores(mut self) -> Self {
        self.writes = true;
        self
    }

    /// A cache entry belongs to what is stored.
    pub fn entry(mut self, name: &str) -> Self {
        self.entry = Some(name.to_owned());
        self
    }

    /// What the answer must be.
    pub fn answers<A: Message + Default + 'static>(
        self,
        check: impl Fn(A) -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.checked(Box::new(move |_, answers| {
            let checked = first(answers).and_then(&check);
            Box::pin(async move { checked })
        }))
    }

    /// What the answers of a stream must be.
    pub fn streams<A: Message + Default + 'static>(
        self,
        check: impl Fn(Vec<A>) -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.checked(Box::new(move |_, answers| {
            let decoded: Result<Vec<A>, _> = answers.iter().map(|bytes| A::decode(bytes.clone())).collect();
            let checked = decoded.map_err(anyhow::Error::from).and_then(&check);
            Box::pin(async move { checked })
        }))
    }

    /// What must be so afterwards, found out by further calls.
    pub fn then(
        self,
        check: impl for<'a> Fn(&'a World, &'a [Bytes]) -> BoxFuture<'a, anyhow::Result<()>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.checked(Box::new(check))
    }

    fn checked(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    /// Checks what a successful call answered and did.
    pub async fn check(&self, world: &World, answers: &[Bytes]) -> anyhow::Result<()> {
        match &self.check {
            Some(check) => check(world, answers).await,
            None if self.writes => Ok(()),
            None => anyhow::bail!("the row checks no effect"),
        }
    }
}

/// The right that a team's role gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeamRight {
    Member,
    Admin,
}

/// The first answer.
pub fn first<A: Message + Default>(answers: &[Bytes]) -> anyhow::Result<A> {
    let bytes = answers.first().ok_or_else(|| anyhow::anyhow!("no answer"))?;
    Ok(A::decode(bytes.clone())?)
}
