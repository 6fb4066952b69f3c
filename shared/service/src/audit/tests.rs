use std::sync::Arc;

use sre_identity::Caller;
use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::compute::v1::code_server::{Code as CodeService, CodeServer};
use sre_proto::compute::v1::{ExecuteCodeRequest, ExecuteCodeResponse};
use sre_proto::error::reason;
use sre_proto::security::v1::{AuditRecord, Decision};
use sre_proto::types::v1::Reason;
use sre_store::{Migration, Store, StoreError};
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};

use super::{MIGRATION_SQL, digest};
use crate::testing::Refuse;
use crate::testing::TestSuite;
use crate::testing::scripted::{Script, Scripted};
use crate::{Host, Link, Role};

async fn execute(link: &Link, source: &str) -> Result<(), Status> {
    let parent = "teams/default/agents/helper".to_owned();
    let request = ExecuteCodeRequest { parent, source: source.to_owned(), ..Default::default() };
    CodeClient::new(link.clone()).execute_code(request).await.map(drop)
}

async fn suite(queue: usize) -> TestSuite {
    let script = Arc::new(Script::default());
    TestSuite::builder()
        .role(Role::Compute, move |host| Scripted::start(host, Arc::clone(&script)))
        .config(|config| config.limits.max_audit_queue = queue)
        .build()
        .await
        .unwrap()
}

fn of_method<'r>(records: &'r [AuditRecord], subject: &str) -> Vec<&'r AuditRecord> {
    let ours = |record: &&AuditRecord| record.method.ends_with("/ExecuteCode") && record.subject == subject;
    records.iter().filter(ours).collect()
}

/// Every writer's records: in sequence, each with the digest of the one before.
fn assert_chained(records: &[AuditRecord]) {
    let mut writers: Vec<&str> = records.iter().map(|record| record.writer.as_str()).collect();
    writers.sort_unstable();
    writers.dedup();
    for writer in writers {
        let mut previous = vec![0; 32];
        for (at, record) in records.iter().filter(|record| record.writer == writer).enumerate() {
            assert_eq!((record.sequence, record.previous_digest.to_vec()), (at as i64 + 1, previous));
            assert_eq!(record.digest, digest(record).as_slice());
            previous = record.digest.to_vec();
        }
    }
}

#[tokio::test]
async fn allowed_and_refused_calls_are_recorded_and_chained() {
    let suite = suite(100).await;
    execute(&suite.link_as("user/dev", Role::Compute), "fine").await.unwrap();
    execute(&suite.link_as("user/dev", Role::Compute), "fine").await.unwrap();
    let denied = execute(&suite.link_as("user/eve", Role::Compute), "fine").await.unwrap_err();
    assert_eq!((denied.code(), reason(&denied)), (Code::PermissionDenied, Some(Reason::AclDenied)));
    let bare = execute(&suite.link_as("service/engine", Role::Compute), "fine").await.unwrap_err();
    assert_eq!(bare.code(), Code::Unauthenticated);
    let records = suite.audit_records().await;
    let allowed = of_method(&records, "user/dev");
    assert_eq!(allowed.len(), 2);
    assert_eq!(allowed[0].decision(), Decision::Allowed);
    assert_eq!(allowed[0].resource, "teams/default/agents/helper/code");
    assert_eq!(
        (allowed[0].team.as_str(), allowed[0].peer.as_str()),
        ("default", "spiffe://sre.local/user/dev")
    );
    let refused = of_method(&records, "user/eve");
    assert_eq!((refused[0].decision(), refused[0].reason.as_str()), (Decision::Denied, "ACL_DENIED"));
    let by_layer = of_method(&records, "");
    assert_eq!(by_layer[0].reason, "CREDENTIALS_MISSING");
    assert_chained(&records);
}

#[tokio::test]
async fn audited_calls_are_refused_when_their_records_cannot_be_kept() {
    let suite = suite(2).await;
    suite.stand_in().refuse_records(Refuse::Yes);
    let link = suite.link_as("user/dev", Role::Compute);
    // One batch may be under way besides the queue: at the latest then it is full.
    let mut refused = None;
    for _ in 0..super::sink::BATCH + 10 {
        if let Err(status) = execute(&link, "fine").await {
            refused = Some(status);
            break;
        }
    }
    let refused = refused.expect("the queue is bounded");
    assert_eq!((refused.code(), reason(&refused)), (Code::Unavailable, Some(Reason::BackendUnavailable)));
    suite.stand_in().refuse_records(Refuse::No);
    let records = suite.audit_records().await;
    assert!(!of_method(&records, "user/dev").is_empty(), "what was allowed is on record");
    assert_chained(&records);
    execute(&link, "fine").await.unwrap();
}

static MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "outbox", expand: MIGRATION_SQL, contract: None }];

/// Records with its change; `undo` fails the change after the record.
struct Stored {
    host: Host,
    store: Store,
}

#[tonic::async_trait]
impl CodeService for Stored {
    crate::testing::scripted::other_code_methods! {}

    async fn execute_code(
        &self,
        request: Request<ExecuteCodeRequest>,
    ) -> Result<Response<ExecuteCodeResponse>, Status> {
        let caller = Caller::of(request.extensions())?.clone();
        let request = request.into_inner();
        let granted = self.host.authorizer().check(&caller, &request, None).await?;
        let undo = request.source == "undo";
        let written = self.store.write(move |tx| {
            granted.record(tx)?;
            if undo { Err(StoreError::Closed) } else { Ok(()) }
        });
        written.await.map_err(|error| Status::aborted(error.to_string()))?;
        Ok(Response::new(ExecuteCodeResponse::default()))
    }
}

async fn stored(host: Host) -> anyhow::Result<Routes> {
    let store = host.store(MIGRATIONS).await?;
    Ok(Routes::new(CodeServer::new(Stored { host, store })))
}

#[tokio::test]
async fn records_in_a_transaction_live_and_die_with_it() {
    let suite = TestSuite::builder().role(Role::Compute, stored).build().await.unwrap();
    let link = suite.link_as("user/dev", Role::Compute);
    for source in ["one", "undo", "two"] {
        assert_eq!(execute(&link, source).await.is_ok(), source != "undo");
    }
    let records = suite.audit_records().await;
    assert_eq!(of_method(&records, "user/dev").len(), 2);
    assert!(of_method(&records, "user/dev").iter().all(|record| record.writer.starts_with("compute/")));
    assert_chained(&records);
}
