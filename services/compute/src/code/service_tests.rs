//! Code over the wire.

use sre_proto::compute::v1::ExecuteCodeRequest;
use sre_proto::compute::v1::code_client::CodeClient;
use sre_proto::error::{Reason, reason};
use sre_service::Role;
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use tonic::Code;

#[tokio::test]
async fn only_who_may_run_code_learns_that_it_is_not_built() {
    let suite = TestSuite::builder()
        .role(Role::Compute, crate::start)
        .member("agent/helper", "red", TeamRole::Member)
        .member("user/alice", "red", TeamRole::Member)
        .build()
        .await
        .unwrap();
    let execute = async |who: &str| {
        let parent = "teams/red/agents/helper".to_owned();
        let request = ExecuteCodeRequest { parent, ..ExecuteCodeRequest::default() };
        let status =
            CodeClient::new(suite.link_as(who, Role::Compute)).execute_code(request).await.unwrap_err();
        (status.code(), reason(&status))
    };
    assert_eq!(execute("agent/helper").await, (Code::Unimplemented, Some(Reason::NotImplemented)));
    assert_eq!(execute("user/alice").await, (Code::PermissionDenied, Some(Reason::AclDenied)));
    assert_eq!(execute("service/engine").await, (Code::Unauthenticated, Some(Reason::CredentialsMissing)));
    let records = suite.audit_records().await;
    assert_eq!(records.iter().filter(|record| record.method.ends_with("/ExecuteCode")).count(), 3);
}
