//! `sre.security.v1.Account`.

use anyhow::ensure;
use sre_proto::security::v1::*;

use super::super::case::{ADMIN, Case, MEMBER, OWNER, ROOT, TeamRight};
use super::super::world::{World, candidate};

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    Ok(Some(match method {
        "ResolvePrincipal" => {
            let request = ResolvePrincipalRequest { candidate: Some(candidate(MEMBER)) };
            Case::of(&request).services("edge", "observability").answers(|principal: Principal| {
                ensure!(principal.known && principal.home_team == "default", "{principal:?}");
                Ok(())
            })
        }
        "ResolveOrganization" => {
            let request = ResolveOrganizationRequest { organization: "nobody".into() };
            Case::of(&request).services("llm", "llm").answers(|answer: ResolveOrganizationResponse| {
                ensure!(answer.teams.is_empty(), "{answer:?}");
                Ok(())
            })
        }
        "RegisterAgent" => {
            let request = RegisterAgentRequest { agent: world.fresh("registered"), team: "default".into() };
            Case::of(&request).services("agent", "agent").stores()
        }
        "UnregisterAgent" => {
            let agent = world.fresh("unregistered");
            let register = RegisterAgentRequest { agent: agent.clone(), team: "default".into() };
            let _: Principal = world.ask("service/agent", register).await?;
            Case::of(&UnregisterAgentRequest { agent }).services("agent", "agent").stores()
        }
        "GetSelf" => Case::of(&GetSelfRequest {}).open().answers(|principal: Principal| {
            let known = [OWNER, MEMBER].map(|who| Some(candidate(who)));
            ensure!(principal.known && known.contains(&principal.candidate), "{principal:?}");
            Ok(())
        }),
        "ListTeams" => Case::of(&ListTeamsRequest::default()).open().answers(|list: ListTeamsResponse| {
            ensure!(list.teams.iter().any(|team| team.name == "teams/default"), "{list:?}");
            Ok(())
        }),
        "GetTeam" => {
            let request = |name: &str| GetTeamRequest { name: name.into() };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Member)
                .answers(|team: Team| {
                    ensure!(team.name == "teams/default", "{team:?}");
                    Ok(())
                })
        }
        "CreateTeam" => {
            let request = CreateTeamRequest { team_id: world.fresh("team"), team: None };
            Case::of(&request).exact(ROOT).weaker(&[ADMIN, MEMBER]).stores()
        }
        "ListMembers" => {
            let request = |parent: &str| ListMembersRequest {
                parent: parent.into(),
                page_size: 1000,
                page_token: String::new(),
            };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Member)
                .answers(|list: ListMembersResponse| {
                    ensure!(
                        list.members.iter().any(|member| member.candidate == Some(candidate(MEMBER))),
                        "{list:?}"
                    );
                    Ok(())
                })
        }
        "SetMember" => {
            let who = format!("user/{}", world.fresh("new"));
            let request = |parent: &str| SetMemberRequest {
                parent: parent.into(),
                member: Some(Member {
                    candidate: Some(candidate(&who)),
                    role: TeamRole::Member.into(),
                    home: false,
                }),
            };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Admin)
                .stores()
        }
        "RemoveMember" => {
            let who = format!("user/{}", world.fresh("leaver"));
            world.member("default", &who, TeamRole::Member).await?;
            let request = |parent: &str| RemoveMemberRequest {
                parent: parent.into(),
                candidate: Some(candidate(&who)),
            };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Admin)
                .stores()
        }
        "GetSetting" => {
            let name = setting(world).await?;
            let request = |name: &str| GetSettingRequest { name: name.into() };
            Case::of(&request(&name))
                .absent(&request("teams/default/settings/absent"))
                .by_team(TeamRight::Member)
                .answers(|setting: Setting| {
                    ensure!(setting.value == "on", "{setting:?}");
                    Ok(())
                })
        }
        "ListSettings" => {
            let name = setting(world).await?;
            let request = |parent: &str| ListSettingsRequest { parent: parent.into() };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Member)
                .answers(move |list: ListSettingsResponse| {
                    ensure!(list.settings.iter().any(|setting| setting.name == name), "{list:?}");
                    Ok(())
                })
        }
        "SetSetting" => {
            let name = setting(world).await?;
            let request = |name: &str| SetSettingRequest {
                setting: Some(Setting { name: name.into(), value: "off".into(), ..Setting::default() }),
            };
            Case::of(&request(&name))
                .absent(&request("teams/nowhere/settings/k"))
                .by_team(TeamRight::Admin)
                .stores()
        }
        _ => return Ok(None),
    }))
}

async fn setting(world: &World) -> anyhow::Result<String> {
    let name = format!("teams/default/settings/{}", world.fresh("setting"));
    let setting = Setting { name: name.clone(), value: "on".into(), ..Setting::default() };
    world.dev(SetSettingRequest { setting: Some(setting) }).await?;
    Ok(name)
}
