//! The authorization matrix as a table: what the options of the contracts say, and whom a name alone lets pass.

use sre_identity::scope::{DeploymentRole, Memberships, TeamRole, implied, subject_of};
use sre_identity::{Candidate, Level, TeamId};
use sre_proto::{AccessLevel, AuditMode, METHODS, MethodPolicy, Rule, Visibility};

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Row {
    /// `package.Service`.
    pub service: &'static str,
    /// The method.
    pub method: &'static str,
    /// `public` or `internal`.
    pub visibility: &'static str,
    /// The level, or `system`.
    pub needs: &'static str,
    /// The resource, or the services.
    pub on: String,
    /// What is audited.
    pub audit: &'static str,
    /// Who passes.
    pub passes: String,
}

/// The table, in the order of services and methods.
pub fn rows() -> Vec<Row> {
    METHODS.iter().map(row).collect()
}

fn row(policy: &'static MethodPolicy) -> Row {
    let (needs, on, passes) = match policy.rule {
        Rule::System { services } => {
            ("system", services.join(", "), "these services, for themselves".to_owned())
        }
        Rule::Access { level, resource } => {
            (word(level), resource.to_owned(), passes(policy, level, resource))
        }
    };
    Row {
        service: policy.service,
        method: policy.method,
        visibility: match policy.visibility {
            Visibility::Public => "public",
            Visibility::Internal => "internal",
        },
        needs,
        on,
        audit: match policy.audit {
            AuditMode::None => "none",
            AuditMode::Deny => "refusals",
            AuditMode::All => "all",
        },
        passes,
    }
}

fn word(level: AccessLevel) -> &'static str {
    match level {
        AccessLevel::Read => "read",
        AccessLevel::Write => "write",
        AccessLevel::Owner => "owner",
    }
}

/// Who has the level on a resource of this kind: by the list that is stored with it, where there is one, else by
/// its name.
fn passes(policy: &MethodPolicy, level: AccessLevel, template: &str) -> String {
    let level = match level {
        AccessLevel::Read => Level::Read,
        AccessLevel::Write => Level::Write,
        AccessLevel::Owner => Level::Owner,
    };
    let mut found = Vec::new();
    if has_list(policy, template) {
        found.push(format!("whom its list gives {}", level_word(level)));
    }
    let by_name: Vec<&str> = match example(policy, template) {
        Some(name) => people()
            .into_iter()
            .filter(|(_, who, of)| may(who, of, &name, level))
            .map(|(label, ..)| label)
            .collect(),
        None => Vec::new(),
    };
    match (found.is_empty(), by_name.as_slice()) {
        (_, []) => {}
        (true, _) => found.push(by_name.join(", ")),
        (false, _) => found.push(format!("where there is none yet: {}", by_name.join(", "))),
    }
    if found.is_empty() { "nobody by name".to_owned() } else { found.join("; ") }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::Read => "read",
        Level::Write => "write",
        _ => "owner",
    }
}

fn may(who: &Candidate, of: &Memberships, name: &str, level: Level) -> bool {
    let home = subject_of(name).is_some().then(|| TeamId::new("t").ok()).flatten();
    implied(who, of, name, home.as_ref()).allows(level)
}

/// The people of an example: team `t` with agent `a` and user `u`.
fn people() -> Vec<(&'static str, Candidate, Memberships)> {
    let Ok(team) = TeamId::new("t") else { return Vec::new() };
    let of = |role, deployment| Memberships {
        home: Some(team.clone()),
        teams: vec![(team.clone(), role)],
        deployment,
        ..Memberships::default()
    };
    let (user, admin, agent, root) =
        (Candidate::user("u"), Candidate::user("x"), Candidate::agent("a"), Candidate::user("r"));
    let (member, other) = (TeamRole::Member, DeploymentRole::None);
    let all = [
        ("members", Candidate::user("m"), of(member, other)),
        ("its user", user, of(member, other)),
        ("its agent", agent, of(member, other)),
        ("admins of the team", admin, of(TeamRole::Admin, other)),
        ("every Candidate", Candidate::user("s"), Memberships::default()),
        (
            "administrators of the deployment",
            root,
            Memberships { deployment: DeploymentRole::Admin, ..Memberships::default() },
        ),
    ];
    all.into_iter().filter_map(|(label, who, of)| Some((label, who.ok()?, of))).collect()
}

/// Services whose things have lists, by the field that names them.
fn has_list(policy: &MethodPolicy, template: &str) -> bool {
    let things = [
        "sre.io.v1.Storage",
        "sre.io.v1.Nkv",
        "sre.io.v1.VectorDb",
        "sre.memory.v1.Cache",
        "sre.agent.v1.AgentData",
        "sre.gateway.v1.Runs",
        "sre.gateway.v1.Debugger",
        "sre.gateway.v1.Approvals",
    ];
    let names_it =
        !template.contains("parent") || policy.service == "sre.io.v1.Nkv" || template.ends_with("/skills");
    things.contains(&policy.service) && names_it && template != "self" && policy.method != "CreateAgent"
}

/// A resource that the template may name.
fn example(policy: &MethodPolicy, template: &str) -> Option<String> {
    if !template.contains('{') {
        return Some(template.to_owned());
    }
    let thing = match policy.service {
        "sre.io.v1.Storage" => "teams/t/agents/a/files/f",
        "sre.io.v1.Nkv" => "teams/t/nkv/n",
        "sre.io.v1.VectorDb" => "teams/t/vectors/n",
        "sre.memory.v1.Cache" => "teams/t/agents/a/cache/k",
        "sre.security.v1.Vault" => "teams/t/secrets/k",
        "sre.security.v1.ManagedVault" => "teams/t/agents/a/managedSecrets/k",
        "sre.security.v1.ApiKeys" => "teams/t/apiKeys/k",
        "sre.agent.v1.AgentData" => "teams/t/agents/a",
        "sre.gateway.v1.Runs" | "sre.gateway.v1.Approvals" => "teams/t/agents/a/runs/r",
        "sre.gateway.v1.Debugger" => "teams/t/agents/a/debugSessions/s",
        "sre.security.v1.Account" if policy.method.contains("Setting") => "teams/t/settings/k",
        "sre.security.v1.Account" => "teams/t",
        _ => return None,
    };
    let end = template.rfind('}')? + 1;
    let below = &template[end..];
    // What has something below it is a team or an agent.
    let base = match (below.is_empty(), policy.service) {
        (true, _) => thing,
        (false, "sre.gateway.v1.Runs" | "sre.agent.v1.AgentData")
            if template.contains("agent}") || template.contains("name}") =>
        {
            "teams/t/agents/a"
        }
        (false, "sre.gateway.v1.Runs" | "sre.security.v1.ManagedVault") => "teams/t/agents/a",
        (false, _) => "teams/t",
    };
    Some(format!("{base}{below}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_row_that_says_who_passes() {
        let rows = rows();
        assert_eq!(rows.len(), METHODS.len());
        let of = |service: &str, method: &str| {
            rows.iter().find(|row| row.service == service && row.method == method).unwrap().clone()
        };
        let list = of("sre.security.v1.Vault", "ListSecrets");
        assert_eq!((list.visibility, list.needs, list.on.as_str()), ("public", "read", "{parent}/secrets"));
        assert_eq!(list.passes, "members, its user, its agent, admins of the team");
        assert_eq!(of("sre.security.v1.Account", "CreateTeam").passes, "administrators of the deployment");
        assert_eq!(of("sre.security.v1.Account", "ResolvePrincipal").needs, "system");
        let run = of("sre.gateway.v1.Runs", "RunSkill");
        assert_eq!(run.passes, "whom its list gives read");
        for row in &rows {
            assert!(!row.passes.is_empty(), "{row:?}");
        }
    }
}
