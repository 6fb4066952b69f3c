//! What the journal's tests share: a memory service that is not there, and a lease that lasts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sre_service::Role;
use sre_service::testing::TestSuite;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::store::JournalStore;
use crate::engine::session::{Lease, Leases, Sessions};

const MINUTE: Duration = Duration::from_secs(60);

/// A process that looks for memory where nobody listens.
pub struct Alone {
    suite: TestSuite,
    /// The address where nobody is.
    pub nobody: String,
}

impl Alone {
    pub async fn new() -> Self {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let suite = TestSuite::builder().config(|config| {
            config.endpoints.0.insert(Role::Memory, vec![nobody.clone()]);
        });
        Self { suite: suite.build().await.unwrap(), nobody }
    }

    pub fn store(&self) -> JournalStore {
        JournalStore::new(self.suite.link_as("user/dev", Role::Memory), MINUTE, 64 << 10)
    }
}

/// A session that nobody takes away.
struct Kept;

#[async_trait]
impl Leases for Kept {
    async fn open(&self) -> Result<(String, Duration), Status> {
        Ok((sre_proto::ids::new_uuid().to_string(), MINUTE))
    }

    async fn renew(&self, _id: &str) -> Result<Duration, Status> {
        Ok(MINUTE)
    }

    async fn close(&self, _id: &str) -> Result<(), Status> {
        Ok(())
    }
}

/// A lease that lasts as long as its tasks.
pub async fn lease() -> (Lease, JoinSet<()>) {
    let (sessions, keeper) = Sessions::new(Arc::new(Kept), CancellationToken::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(keeper);
    (sessions.wait(MINUTE).await.unwrap(), tasks)
}
