//! What was taken away is gone everywhere within 30 seconds (services.md, group 2).

use std::time::Duration;

use serde_json::json;
use sre_proto::io::v1::{GetValueRequest, KeyValue, SetValueRequest};
use sre_proto::security::v1::{Member, RemoveMemberRequest, SetMemberRequest, TeamRole};
use sre_proto::types::v1::{Candidate, Role};
use tonic::Code;

use crate::harness::agents::hasher;
use crate::harness::{Mode, Options, Suite, eventually, in_both_modes};

in_both_modes!(a_removed_member_is_refused_within_30_seconds);

async fn a_removed_member_is_refused_within_30_seconds(mode: Mode) {
    let suite = Suite::start("revocation", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    let candidate = Some(Candidate { role: Role::User.into(), id: "leaver".into() });
    let member = Some(Member { candidate: candidate.clone(), role: TeamRole::Member.into(), home: false });
    dev.account().set_member(SetMemberRequest { parent: "teams/default".into(), member }).await.unwrap();
    let name = "teams/default/nkv/shared/keys/k";
    let value = KeyValue { name: name.into(), value: "1".into(), ..KeyValue::default() };
    dev.nkv().set_value(SetValueRequest { value: Some(value), ..SetValueRequest::default() }).await.unwrap();

    let agent = "teams/default/agents/hasher";
    dev.put(agent, &hasher("hasher")).await.unwrap();

    let leaver = suite.client("user/leaver");
    let run = async || leaver.answer(agent, "hash", &json!({ "text": "x" })).await.map(|_| ());
    run().await.unwrap();
    let read = async || {
        leaver.nkv().get_value(GetValueRequest { name: name.into(), ..Default::default() }).await.map(|_| ())
    };
    read().await.unwrap();
    let request = RemoveMemberRequest { parent: "teams/default".into(), candidate };
    dev.account().remove_member(request).await.unwrap();
    // Whoever asks Account for a run's token is refused from the removal on.
    let refused = async || run().await.err().filter(|refused| refused.code() == Code::PermissionDenied);
    eventually("the refusal of a run", Duration::from_secs(10), refused).await;
    // The token it held is void at once. A new one is given, as it has a home of its own; that it has no right here
    // is seen when what services keep of memberships ends.
    let denied = async || read().await.err().filter(|refused| refused.code() == Code::PermissionDenied);
    eventually("the refusal", Duration::from_secs(30), denied).await;
    // And it stays so, also for what a token would have been good for that was given after the removal.
    assert!(read().await.is_err());
    assert_eq!(run().await.unwrap_err().code(), Code::PermissionDenied);
    suite.stop().await;
}
