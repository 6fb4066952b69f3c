use super::*;

const DENIED: (Code, Reason) = (Code::PermissionDenied, Reason::AclDenied);

async fn set(fixture: &Fixture, caller: &str, name: &str, value: &str) -> Result<pb::Setting, Status> {
    let setting = pb::Setting { name: name.into(), value: value.into(), update_time: None };
    let request = pb::SetSettingRequest { setting: Some(setting) };
    Ok(fixture.account(caller).set_setting(request).await?.into_inner())
}

async fn get(fixture: &Fixture, caller: &str, name: &str) -> Result<pb::Setting, Status> {
    let request = pb::GetSettingRequest { name: name.into() };
    Ok(fixture.account(caller).get_setting(request).await?.into_inner())
}

/// services.md H35: settings are read by members and changed by admins.
#[tokio::test]
async fn h35_settings_are_guarded() {
    let fixture = Fixture::new().await;
    fixture.team("red", "ruth").await;
    fixture.member("default", "alice", pb::TeamRole::Member).await.unwrap();
    let name = "teams/default/settings/custom-llm";
    set(&fixture, "user/dev", "teams/-/settings/custom-llm", "{}").await.unwrap();
    assert_eq!(get(&fixture, "user/alice", name).await.unwrap().value, "{}");
    assert_eq!(refusal(set(&fixture, "user/alice", name, "x").await), DENIED);
    for stranger in ["user/ruth", "user/ghost", "agent/ghost"] {
        let present = get(&fixture, stranger, name).await.unwrap_err();
        let absent = get(&fixture, stranger, "teams/default/settings/none").await.unwrap_err();
        assert_eq!((present.code(), reason(&present).unwrap()), DENIED, "{stranger}");
        assert_eq!(
            (present.message(), present.details()),
            (absent.message(), absent.details()),
            "{stranger}"
        );
        let list = pb::ListSettingsRequest { parent: "teams/default".into() };
        assert_eq!(refusal(fixture.account(stranger).list_settings(list).await), DENIED, "{stranger}");
    }
    assert_eq!(refusal(get(&fixture, "user/alice", "teams/default/settings/none").await).0, Code::NotFound);
    set(&fixture, "user/alice", "users/-/settings/theme", "dark").await.unwrap();
    assert_eq!(get(&fixture, "user/dev", "users/alice/settings/theme").await.unwrap().value, "dark");
    assert_eq!(refusal(get(&fixture, "user/ruth", "users/alice/settings/theme").await), DENIED);
    assert_eq!(refusal(set(&fixture, "user/dev", "users/alice/settings/theme", "x").await), DENIED);
    set(&fixture, "user/dev", "agents/greeter/settings/k", "v").await.unwrap();
    assert_eq!(get(&fixture, "agent/greeter", "agents/greeter/settings/k").await.unwrap().value, "v");
}

#[tokio::test]
async fn members_come_and_go_and_the_last_admin_stays() {
    let fixture = Fixture::new().await;
    fixture.member("default", "alice", pb::TeamRole::Member).await.unwrap();
    let list = |caller: &str| {
        let mut client = fixture.account(caller);
        let request = pb::ListMembersRequest { parent: "teams/-".into(), ..Default::default() };
        async move { client.list_members(request).await.map(|answer| answer.into_inner().members.len()) }
    };
    assert_eq!(list("user/alice").await.unwrap(), 3);
    let remove = |caller: &str, user: &str| {
        let mut client = fixture.account(caller);
        let candidate = Some(user_message(user));
        let request = pb::RemoveMemberRequest { parent: "teams/default".into(), candidate };
        async move { client.remove_member(request).await }
    };
    assert_eq!(refusal(remove("user/alice", "dev").await), DENIED);
    assert_eq!(refusal(remove("user/dev", "dev").await).0, Code::FailedPrecondition);
    remove("user/dev", "alice").await.unwrap();
    // At once: rights of a removed member do not linger (services.md H2).
    assert!(list("user/alice").await.is_err());
    assert_eq!(list("user/dev").await.unwrap(), 2);
}

#[tokio::test]
async fn teams_are_made_by_admins_of_the_deployment() {
    let fixture = Fixture::new().await;
    fixture.member("default", "alice", pb::TeamRole::Admin).await.unwrap();
    let create = |caller: &str, id: &str| {
        let mut client = fixture.account(caller);
        let request = pb::CreateTeamRequest { team_id: id.into(), team: None };
        async move { client.create_team(request).await.map(|answer| answer.into_inner().name) }
    };
    assert_eq!(refusal(create("user/alice", "red").await), DENIED);
    assert_eq!(create("user/dev", "red").await.unwrap(), "teams/red");
    assert_eq!(refusal(create("user/dev", "red").await).0, Code::AlreadyExists);
    assert_eq!(refusal(create("user/dev", "a b").await).0, Code::InvalidArgument);
    let request = pb::ListTeamsRequest::default();
    let teams = fixture.account("user/dev").list_teams(request).await.unwrap().into_inner().teams;
    assert_eq!(
        teams.iter().map(|team| team.name.as_str()).collect::<Vec<_>>(),
        ["teams/default", "teams/red"]
    );
    let get = pb::GetTeamRequest { name: "teams/red".into() };
    assert_eq!(refusal(fixture.account("user/alice").get_team(get.clone()).await), DENIED);
    assert_eq!(fixture.account("user/dev").get_team(get).await.unwrap().into_inner().display_name, "red");
}

#[tokio::test]
async fn agents_are_registered_by_the_agent_service_alone() {
    let fixture = Fixture::new().await;
    fixture.team("red", "ruth").await;
    let again = fixture.register("greeter", "default").await.unwrap();
    assert!(again.known);
    assert_eq!(
        refusal(fixture.register("greeter", "red").await),
        (Code::AlreadyExists, Reason::AlreadyExists)
    );
    let request = pb::RegisterAgentRequest { agent: "mine".into(), team: "red".into() };
    for caller in ["user/dev", "service/engine", "service/edge", "agent/greeter"] {
        let refused = refusal(fixture.account(caller).register_agent(request.clone()).await);
        assert_eq!(refused, (Code::PermissionDenied, Reason::MethodNotAllowed), "{caller}");
    }
}

#[tokio::test]
async fn records_of_other_writers_cannot_be_forged() {
    let fixture = Fixture::new().await;
    let forged = pb::AuditRecord { writer: "security/1".into(), sequence: 1, ..Default::default() };
    let request = pb::WriteRecordsRequest { records: vec![forged] };
    assert_eq!(refusal(fixture.audit("service/io").write_records(request).await).0, Code::InvalidArgument);
    let list = pb::ListRecordsRequest { parent: "teams/default".into(), ..Default::default() };
    fixture.member("default", "alice", pb::TeamRole::Member).await.unwrap();
    assert_eq!(refusal(fixture.audit("user/alice").list_records(list).await), DENIED);
}
