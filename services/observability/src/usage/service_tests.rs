//! The ledger and traces over the wire.

use sre_proto::error::{Reason, reason};
use sre_proto::observability::v1::telemetry_client::TelemetryClient;
use sre_proto::observability::v1::usage_client::UsageClient;
use sre_proto::observability::v1::usage_event::Use;
use sre_proto::observability::v1::{
    ComponentUse, GetTraceRequest, ModelUse, QueryUsageRequest, RecordUsageRequest, RunUse, UsageEvent,
    UsageTogether,
};
use sre_service::accounts::TeamRole;
use sre_service::testing::TestSuite;
use sre_service::{Link, Role};
use tonic::{Code, Status};

async fn suite() -> TestSuite {
    TestSuite::builder()
        .role(Role::Observability, crate::start)
        .member("agent/helper", "red", TeamRole::Member)
        .member("user/alice", "red", TeamRole::Member)
        .member("user/carol", "red", TeamRole::Member)
        .member("user/boss", "red", TeamRole::Admin)
        .member("user/eve", "blue", TeamRole::Admin)
        .build()
        .await
        .unwrap()
}

fn usage(suite: &TestSuite, who: &str) -> UsageClient<Link> {
    UsageClient::new(suite.link_as(who, Role::Observability))
}

fn event(id: &str, step: &str, used: Use) -> UsageEvent {
    UsageEvent {
        id: id.into(),
        team: "red".into(),
        agent: "helper".into(),
        user: "user/alice".into(),
        run_id: "00-r".into(),
        step: step.into(),
        r#use: Some(used),
        ..UsageEvent::default()
    }
}

fn events() -> Vec<UsageEvent> {
    vec![
        event("r/opened", "", Use::Run(RunUse { skill: "ask".into(), ..RunUse::default() })),
        event("r/A@1", "A@1", Use::Component(ComponentUse { r#type: "FHash".into(), name: String::new() })),
        UsageEvent { team: String::new(), ..event("r/B@1", "B@1", Use::Run(RunUse::default())) },
    ]
}

async fn record(suite: &TestSuite, who: &str) -> Result<(i32, i32, i32), Status> {
    let answer = usage(suite, who).record_usage(RecordUsageRequest { events: events() }).await?.into_inner();
    Ok((answer.recorded, answer.known, answer.invalid))
}

#[tokio::test]
async fn services_record_and_members_read() {
    let suite = suite().await;
    assert_eq!(record(&suite, "service/engine").await.unwrap(), (2, 0, 1));
    assert_eq!(record(&suite, "service/memory").await.unwrap(), (0, 2, 1));
    for who in ["user/boss", "agent/helper", "service/edge"] {
        assert_eq!(record(&suite, who).await.unwrap_err().code(), Code::PermissionDenied, "{who}");
    }
    let of = |parent: &str| QueryUsageRequest { parent: parent.into(), ..QueryUsageRequest::default() };
    for (who, parent) in [("user/alice", "teams/red"), ("user/boss", "teams/-"), ("agent/helper", "teams/-")]
    {
        let rows = usage(&suite, who).query_usage(of(parent)).await.unwrap().into_inner().rows;
        assert_eq!((rows.len(), rows[0].executions, rows[0].runs), (1, 1, 0), "{who}");
    }
    let refused = usage(&suite, "user/eve").query_usage(of("teams/red")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::PermissionDenied, Some(Reason::AclDenied)));
    let many = RecordUsageRequest { events: vec![UsageEvent::default(); 1001] };
    let refused = usage(&suite, "service/engine").record_usage(many).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(suite.stop().await);
}

#[tokio::test]
async fn an_event_holds_what_a_run_and_its_components_did_and_nothing_else() {
    let suite = suite().await;
    let holding = |id: &str, events| event(id, "", Use::Together(UsageTogether { events }));
    let component = || event("r/A@1", "A@1", Use::Component(ComponentUse::default()));
    let record = async |events| {
        usage(&suite, "service/memory")
            .record_usage(RecordUsageRequest { events })
            .await
            .map(|answer| answer.into_inner())
    };
    let wrong = vec![
        holding("r/1", Vec::new()),
        holding("r/2", vec![component(), event("llm/1", "A@1", Use::Model(ModelUse::default()))]),
        holding("r/3", vec![holding("r/4", vec![component()])]),
        holding("r/5", vec![event("", "A@1", Use::Component(ComponentUse::default()))]),
    ];
    let answer = record(wrong).await.unwrap();
    assert_eq!((answer.recorded, answer.known, answer.invalid), (0, 0, 4));
    let right = vec![holding("r/opened", vec![component(); 1000])];
    assert_eq!(record(right.clone()).await.unwrap().recorded, 1000);
    assert_eq!(record(right).await.unwrap().known, 1000);
    let refused = record(vec![holding("r/6", vec![component(); 1001])]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(suite.stop().await);
}

#[tokio::test]
async fn a_trace_is_for_who_started_the_run_its_agent_and_admins() {
    let suite = suite().await;
    record(&suite, "service/engine").await.unwrap();
    let trace = async |who: &str, name: &str| {
        let mut client = TelemetryClient::new(suite.link_as(who, Role::Observability));
        client.get_trace(GetTraceRequest { name: name.into() }).await.map(tonic::Response::into_inner)
    };
    let name = "teams/red/agents/helper/runs/00-r";
    for who in ["user/alice", "user/boss", "agent/helper"] {
        let trace = trace(who, name).await.unwrap();
        let names: Vec<&str> = trace.spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["Agent.Skill", "Component.FHash"], "{who}");
    }
    for who in ["user/carol", "user/eve"] {
        assert_eq!(trace(who, name).await.unwrap_err().code(), Code::PermissionDenied, "{who}");
    }
    let absent = trace("user/boss", "teams/red/agents/helper/runs/00-none").await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    let absent = trace("user/alice", "teams/red/agents/helper/runs/00-none").await.unwrap_err();
    assert_eq!(absent.code(), Code::PermissionDenied, "whether it is there is not said");
    let elsewhere = trace("user/boss", "teams/red/agents/other/runs/00-r").await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::NotFound, "a run has one agent");
}
