//! What all roles of a process share.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use http::{Request, Response};
use parking_lot::Mutex;
use sre_store::Store;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use crate::config::Config;
use crate::connectors::Table;
use crate::role::Role;
use crate::task::Tasks;

/// Which roles of a process open sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// The edge, configured roles, and, where the process is not the whole suite, all.
    AsNeeded,
    /// Configured ones alone: tests call over links.
    Configured,
    /// All.
    All,
}

/// What all roles of a process share.
pub(crate) struct Process {
    pub(crate) sockets: Sockets,
    pub(crate) config: Arc<Config>,
    pub(crate) switchboard: Switchboard,
    pub(crate) tasks: Tasks,
    /// Told to stop: nothing new.
    pub(crate) draining: CancellationToken,
    /// Work in flight is over: end.
    pub(crate) shutdown: CancellationToken,
    pub(crate) stores: Mutex<Vec<Store>>,
    pub(crate) connectors: Table,
    pub(crate) addresses: Mutex<BTreeMap<String, SocketAddr>>,
}

impl Process {
    pub(crate) fn new(config: Arc<Config>, roles: &[Role], sockets: Sockets) -> Arc<Self> {
        let shutdown = CancellationToken::new();
        Arc::new(Self {
            sockets,
            config,
            switchboard: Switchboard::new(roles),
            tasks: Tasks::new(shutdown.clone()),
            draining: CancellationToken::new(),
            shutdown,
            stores: Mutex::default(),
            connectors: Table::default(),
            addresses: Mutex::default(),
        })
    }
}

/// A call's answer.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// A role of this process that links reach directly.
pub(crate) trait Local: Send + Sync + 'static {
    /// Serves a call whose peer is the link's identity.
    fn serve_link(&self, request: Request<Body>, deadline: Option<Instant>) -> Answer;
}

/// The roles of this process, by number: looked up at every call.
pub(crate) struct Switchboard {
    lines: [OnceLock<Arc<dyn Local>>; Role::ALL.len()],
    planned: [bool; Role::ALL.len()],
    connected: watch::Sender<()>,
}

impl Switchboard {
    fn new(roles: &[Role]) -> Self {
        let mut planned = [false; Role::ALL.len()];
        for role in roles {
            planned[role.index()] = true;
        }
        Self { lines: Default::default(), planned, connected: watch::Sender::new(()) }
    }

    pub(crate) fn get(&self, role: Role) -> Option<&Arc<dyn Local>> {
        self.lines[role.index()].get()
    }

    /// Whether the role belongs to this process, started or not.
    pub(crate) fn is_planned(&self, role: Role) -> bool {
        self.planned[role.index()]
    }

    pub(crate) fn connect(&self, role: Role, local: Arc<dyn Local>) {
        // A role starts once in a process.
        drop(self.lines[role.index()].set(local));
        self.connected.send_replace(());
    }

    /// Waits until a planned role has started.
    pub(crate) async fn wait(&self, role: Role) -> Arc<dyn Local> {
        let mut connected = self.connected.subscribe();
        loop {
            if let Some(local) = self.get(role) {
                return Arc::clone(local);
            }
            if connected.changed().await.is_err() {
                // The sender lives in self; pending is never reached.
                std::future::pending::<()>().await;
            }
        }
    }
}
