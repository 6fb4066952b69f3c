//! `sre teams`: teams, members, settings.

use anyhow::Result;
use serde_json::{Value, json};
use sre_identity::{Candidate, Role as Kind};
use sre_proto::security::v1::{
    CreateTeamRequest, GetSettingRequest, ListMembersRequest, ListSettingsRequest, ListTeamsRequest, Member,
    RemoveMemberRequest, SetMemberRequest, SetSettingRequest, Setting, Team, TeamRole,
};

use crate::cli::args::{Global, TeamMemberRole, TeamSettings, Teams};
use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::client::Client;
use crate::commands::quota;
use crate::dates;

const PAGE: i32 = 1000;

/// Runs the command.
pub async fn run(global: &Global, command: Teams) -> Result<()> {
    let output = Output::new(global.format());
    let client = Client::connect(global).await?;
    match command {
        Teams::List => list(output, &client).await,
        Teams::Create { team, name, organization } => {
            let new = Team { display_name: name, organization, ..Team::default() };
            let request = CreateTeamRequest { team_id: team, team: Some(new) };
            let made = client.account().create_team(request).await?.into_inner();
            output.done(&format!("team {} is created", id(&made.name)));
            Ok(())
        }
        Teams::Members => members(output, &client).await,
        Teams::Add { principal, role } => {
            let role = match role {
                TeamMemberRole::Member => TeamRole::Member,
                TeamMemberRole::Admin => TeamRole::Admin,
            };
            let candidate = Some((&candidate(&principal)?).into());
            let member = Some(Member { candidate, role: role.into(), home: false });
            let request = SetMemberRequest { parent: client.team_name(), member };
            let set = client.account().set_member(request).await?.into_inner();
            output.done(&format!("{principal} is {} of the team", word(set.role())));
            Ok(())
        }
        Teams::Remove { principal } => {
            let candidate = Some((&candidate(&principal)?).into());
            client
                .account()
                .remove_member(RemoveMemberRequest { parent: client.team_name(), candidate })
                .await?;
            output.done(&format!("{principal} is no member of the team any more"));
            Ok(())
        }
        Teams::Quota { limits } => quota::run(output, &client, &limits).await,
        Teams::Settings(command) => settings(output, &client, command).await,
    }
}

async fn list(output: Output, client: &Client) -> Result<()> {
    let (mut rows, mut page_token) = (Vec::new(), String::new());
    loop {
        let answer =
            client.account().list_teams(ListTeamsRequest { page_size: PAGE, page_token }).await?.into_inner();
        rows.extend(answer.teams.iter().map(|team| {
            let created = dates::text(team.create_time.as_ref());
            vec![json!(id(&team.name)), json!(team.display_name), json!(team.organization), json!(created)]
        }));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.rows(&["team", "name", "organization", "created"], rows);
    Ok(())
}

async fn members(output: Output, client: &Client) -> Result<()> {
    let (mut rows, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListMembersRequest { parent: client.team_name(), page_size: PAGE, page_token };
        let answer = client.account().list_members(request).await?.into_inner();
        rows.extend(answer.members.iter().map(|member| {
            let who = member.candidate.as_ref().and_then(|candidate| Candidate::try_from(candidate).ok());
            let who = who.map(|candidate| candidate.to_string()).unwrap_or_default();
            vec![json!(who), json!(word(member.role())), json!(member.home)]
        }));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    output.rows(&["member", "role", "home"], rows);
    Ok(())
}

async fn settings(output: Output, client: &Client, command: TeamSettings) -> Result<()> {
    match command {
        TeamSettings::List { principal } => {
            let parent = owner(client, principal)?;
            let answer = client.account().list_settings(ListSettingsRequest { parent }).await?.into_inner();
            output.rows(&["key", "value", "inherit", "set"], answer.settings.iter().map(row).collect());
        }
        TeamSettings::Get { key, principal } => {
            let name = format!("{}/settings/{key}", owner(client, principal)?);
            let setting = client.account().get_setting(GetSettingRequest { name }).await?.into_inner();
            output.record(vec![
                ("key", json!(key)),
                ("value", json!(setting.value)),
                ("inherit", json!(setting.inherit)),
                ("set", json!(dates::text(setting.update_time.as_ref()))),
            ]);
        }
        TeamSettings::Set { key, value, .. } if value.is_empty() => {
            let message = format!("an empty value deletes {key}: use `sre teams settings unset {key}`");
            return Err(Failure::usage(message));
        }
        TeamSettings::Set { key, value, principal, inherit } => {
            set(client, &key, value, principal, inherit).await?;
            output.done(&format!("{key} is set"));
        }
        TeamSettings::Unset { key, principal } => {
            set(client, &key, String::new(), principal, false).await?;
            output.done(&format!("{key} is not set any more"));
        }
    }
    Ok(())
}

async fn set(
    client: &Client,
    key: &str,
    value: String,
    principal: Option<String>,
    inherit: bool,
) -> Result<()> {
    let name = format!("{}/settings/{key}", owner(client, principal)?);
    let setting = Some(Setting { name, value, inherit, update_time: None });
    client.account().set_setting(SetSettingRequest { setting }).await?;
    Ok(())
}

/// Whose settings are meant, as a resource.
fn owner(client: &Client, principal: Option<String>) -> Result<String> {
    let Some(principal) = principal else { return Ok(client.team_name()) };
    let candidate = candidate(&principal)?;
    let collection = match candidate.role() {
        Kind::User => "users",
        Kind::Agent => "agents",
        Kind::Team => "teams",
        Kind::Public => return Err(Failure::usage("public has no settings")),
    };
    Ok(format!("{collection}/{}", candidate.id()))
}

fn candidate(principal: &str) -> Result<Candidate> {
    let parsed = principal.parse();
    parsed.map_err(|error| Failure::usage(format!("{principal:?}: {error}: write for example user/alice")))
}

fn row(setting: &Setting) -> Vec<Value> {
    let key = setting.name.splitn(4, '/').nth(3).unwrap_or_default();
    let set = dates::text(setting.update_time.as_ref());
    vec![json!(key), json!(setting.value), json!(setting.inherit), json!(set)]
}

fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

fn word(role: TeamRole) -> &'static str {
    match role {
        TeamRole::Admin => "admin",
        TeamRole::Member | TeamRole::Unspecified => "member",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_shown_by_its_key() {
        let setting =
            Setting { name: "teams/t/settings/a/b".into(), value: "v".into(), ..Setting::default() };
        assert_eq!(row(&setting)[0], json!("a/b"));
    }

    #[test]
    fn a_principal_that_is_none_is_told_how_to_write_one() {
        let error = candidate("alice").unwrap_err().to_string();
        assert!(error.contains("user/alice"), "{error}");
        assert_eq!(candidate("agent/greeter").unwrap().id(), "greeter");
    }
}
