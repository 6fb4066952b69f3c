use super::*;

const DENIED: (Code, Reason) = (Code::PermissionDenied, Reason::AclDenied);

async fn set(fixture: &Fixture, caller: &str, name: &str, value: &str) -> Result<pb::Setting, Status> {
    let setting = pb::Setting { name: name.into(), value: value.into(), ..pb::Setting::default() };
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

/// services.md D16 and D17: each has its own settings, all have one shape, and what is absent is absent alike.
#[tokio::test]
async fn d16_d17_settings_are_their_owners_and_of_one_shape() {
    let fixture = Fixture::new().await;
    fixture.team("red", "ruth").await;
    let scopes = [
        ("user/dev", "teams/default"),
        ("user/ruth", "teams/red"),
        ("user/dev", "users/dev"),
        ("user/dev", "agents/greeter"),
    ];
    let list = async |caller: &str, parent: &str| {
        let request = pb::ListSettingsRequest { parent: parent.into() };
        fixture.account(caller).list_settings(request).await.unwrap().into_inner().settings
    };
    for (caller, scope) in scopes {
        assert_eq!(list(caller, scope).await, [], "{scope}");
        set(&fixture, caller, &format!("{scope}/settings/k"), &format!("of {scope}")).await.unwrap();
    }
    for (caller, scope) in scopes {
        let (name, value) = (format!("{scope}/settings/k"), format!("of {scope}"));
        let found = get(&fixture, caller, &name).await.unwrap();
        assert_eq!((&found.name, &found.value), (&name, &value));
        assert_eq!(list(caller, scope).await, [found], "{scope}");
        let absent = get(&fixture, caller, &format!("{scope}/settings/absent")).await;
        assert_eq!(refusal(absent), (Code::NotFound, Reason::NotFound), "{scope}");
    }
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

/// A setting that a user marks `inherit` is read by agents of the user's teams while they run for that user, and by
/// nobody else.
#[tokio::test]
async fn h35_agents_read_what_their_user_lets_them_inherit() {
    const READ_SETTINGS: &str = "sre.security.v1.Account:read";
    let fixture = Fixture::new().await;
    fixture.team("red", "ruth").await;
    fixture.register("painter", "red").await.unwrap();
    fixture.agents.allow("user/dev", "teams/red/agents/painter");
    fixture.member("default", "alice", pb::TeamRole::Admin).await.unwrap();
    fixture.agents.allow("user/alice", GREETER);
    for (key, inherit) in [("model", true), ("private", false)] {
        let name = format!("users/dev/settings/{key}");
        let setting = pb::Setting { name, value: "v".into(), inherit, ..pb::Setting::default() };
        fixture
            .account("user/dev")
            .set_setting(pb::SetSettingRequest { setting: Some(setting) })
            .await
            .unwrap();
    }
    let acting = async |user: &str, agent: &str| {
        let asked = ask(peer(&format!("user/{user}")), pb::Purpose::Run, agent, &["engine"], &[RUN]);
        let run = fixture.exchange("edge", asked).await.unwrap();
        let hop = fixture.hop("engine", &run.token, "security", READ_SETTINGS).await.unwrap();
        fixture.account_with("service/engine", &hop.token)
    };
    let read = |key: &str| pb::GetSettingRequest { name: format!("users/dev/settings/{key}") };
    let list = pb::ListSettingsRequest { parent: "users/dev".into() };

    let mut greeter = acting("dev", GREETER).await;
    assert_eq!(greeter.get_setting(read("model")).await.unwrap().into_inner().value, "v");
    assert_eq!(refusal(greeter.get_setting(read("private")).await), DENIED);
    assert_eq!(refusal(greeter.get_setting(read("absent")).await), DENIED);
    let listed = greeter.list_settings(list.clone()).await.unwrap().into_inner().settings;
    assert_eq!(listed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["users/dev/settings/model"]);

    // The same agent for another user, and an agent of a team that the user is not of.
    let mut for_alice = acting("alice", GREETER).await;
    assert_eq!(refusal(for_alice.get_setting(read("model")).await), DENIED);
    assert_eq!(refusal(for_alice.list_settings(list.clone()).await), DENIED);
    let remove = pb::RemoveMemberRequest { parent: "teams/red".into(), candidate: Some(user_message("dev")) };
    fixture.account("user/dev").remove_member(remove).await.unwrap();
    fixture.agents.allow("user/dev", "teams/red/agents/painter");
    let mut painter = acting("dev", "teams/red/agents/painter").await;
    assert_eq!(refusal(painter.get_setting(read("model")).await), DENIED);
    assert_eq!(refusal(painter.list_settings(list).await), DENIED);
    // By its own certificate an agent runs for nobody.
    assert_eq!(refusal(get(&fixture, "agent/greeter", "users/dev/settings/model").await), DENIED);
    // Settings of teams and agents have no heirs.
    let setting = pb::Setting {
        name: "teams/default/settings/k".into(),
        value: "v".into(),
        inherit: true,
        ..pb::Setting::default()
    };
    let set = fixture.account("user/dev").set_setting(pb::SetSettingRequest { setting: Some(setting) }).await;
    assert_eq!(refusal(set).0, Code::InvalidArgument);
}

/// services.md H2 and H12: who was removed from a team is refused everywhere within 30 seconds: other roles keep an
/// answer of Account for `deadlines.membership_ms`, and tokens of runs are revoked with the membership.
#[tokio::test]
async fn h2_a_removed_member_is_refused_everywhere_soon() {
    let fixture = Fixture::with(|config| config.deadlines.membership_ms = 300).await;
    let defaults = sre_service::Config::default().deadlines;
    assert!(defaults.membership() + defaults.key_refresh() < std::time::Duration::from_secs(30));
    fixture.team("red", "ruth").await;
    fixture.member("default", "alice", pb::TeamRole::Member).await.unwrap();
    fixture.register("painter", "red").await.unwrap();
    fixture.member("red", "alice", pb::TeamRole::Member).await.unwrap();
    for agent in [GREETER, "teams/red/agents/painter"] {
        fixture.agents.allow("user/alice", agent);
    }
    let run = fixture.run("alice", GREETER).await.unwrap();
    let llm = fixture.hop("engine", &run.token, "llm", INFER).await.unwrap();
    let red = fixture.run("alice", "teams/red/agents/painter").await.unwrap();
    let by_dev = fixture.run("dev", GREETER).await.unwrap();

    // Another role, with a cache of its own.
    let alice: sre_identity::Candidate = "user/alice".parse().unwrap();
    let elsewhere = fixture.suite.host(Role::Agent).accounts().clone();
    assert_eq!(elsewhere.resolve(&alice).await.unwrap().teams.len(), 2);
    let version = |principal: pb::Principal| principal.membership_version;
    let resolve = pb::ResolvePrincipalRequest { candidate: Some(user_message("alice")) };
    let ask = || async {
        fixture.account("service/io").resolve_principal(resolve.clone()).await.unwrap().into_inner()
    };
    let before = version(ask().await);

    let remove =
        pb::RemoveMemberRequest { parent: "teams/default".into(), candidate: Some(user_message("alice")) };
    fixture.account("user/dev").remove_member(remove).await.unwrap();
    let answer = ask().await;
    assert_eq!((answer.home_team.as_str(), answer.memberships.len()), ("red", 1));
    assert!(version(answer) > before, "whoever keeps an answer can tell that it is an old one");
    eventually(async || (elsewhere.resolve(&alice).await.unwrap().teams.len() == 1).then_some(())).await;

    let revoked = (Code::Unauthenticated, Reason::CredentialsRevoked);
    assert_eq!(refusal(fixture.hop("engine", &run.token, "llm", INFER).await), revoked);
    assert_eq!(refusal(fixture.hop("llm", &llm.token, "security", USE_KEY).await), revoked);
    // What was begun in another team, and by others, goes on.
    fixture.hop("engine", &red.token, "llm", INFER).await.unwrap();
    fixture.hop("engine", &by_dev.token, "llm", INFER).await.unwrap();
}
