//! What may be done, by the rules: an independent model of the decision and of the rights that names give.

use std::collections::BTreeMap;

/// Levels as bits.
pub(super) const READ: u8 = 1;
pub(super) const WRITE: u8 = 2;
pub(super) const OWNER: u8 = 4;
/// An explicit refusal.
pub(super) const NONE: u8 = 8;

/// An access list: levels by principal, `user/alice` or `public/public`.
pub(super) type List = BTreeMap<String, u8>;

/// A principal and what Account says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    /// `user/alice`.
    pub(super) name: String,
    /// Its teams and whether it steers them; the first is its home.
    pub(super) teams: Vec<(String, bool)>,
    /// Whether it administers the deployment.
    pub(super) root: bool,
}

impl Person {
    pub(super) fn new(name: &str, teams: &[(&str, bool)]) -> Self {
        let teams = teams.iter().map(|(team, admin)| ((*team).to_owned(), *admin)).collect();
        Self { name: name.to_owned(), teams, root: false }
    }

    pub(super) fn home(&self) -> Option<&str> {
        self.teams.first().map(|(team, _)| team.as_str())
    }

    pub(super) fn is_service(&self) -> bool {
        self.name.starts_with("service/")
    }

    /// None: no member. Some: whether it steers the team.
    pub(super) fn role_in(&self, team: &str) -> Option<bool> {
        let listed = self.teams.iter().filter(|(known, _)| known == team).map(|(_, admin)| *admin).max();
        listed.or((self.name == format!("team/{team}")).then_some(false))
    }
}

/// The safe decision, row by row of its table.
pub(super) fn by_list(person: &Person, wanted: u8, list: &List) -> bool {
    let of = |name: &str| list.get(name).copied().unwrap_or_default();
    let own = of(&person.name);
    if own & NONE != 0 && own & OWNER == 0 {
        return false;
    }
    let from_teams = person.teams.iter().map(|(team, _)| of(&format!("team/{team}"))).fold(0, |a, b| a | b);
    let all = own | from_teams | (of("public/public") & READ);
    all & OWNER != 0 || all & wanted != 0
}

/// What a name alone gives, where nothing is stored under it. `homes` are the home teams of all principals.
pub(super) fn by_name(person: &Person, wanted: u8, name: &str, homes: &BTreeMap<String, String>) -> bool {
    let given = given_by_name(person, name, homes);
    given & OWNER != 0 || given & wanted != 0
}

fn given_by_name(person: &Person, name: &str, homes: &BTreeMap<String, String>) -> u8 {
    let parts: Vec<&str> = name.split('/').collect();
    let steers_home_of =
        |subject: String| homes.get(&subject).is_some_and(|home| person.role_in(home) == Some(true));
    match parts.as_slice() {
        ["deployment"] if person.root => OWNER,
        ["self" | "teams"] => READ,
        ["models" | "components", ..] => READ,
        ["users", user, ..] => match () {
            () if person.name == format!("user/{user}") => OWNER,
            () if steers_home_of(format!("user/{user}")) => READ,
            () => 0,
        },
        ["agents", agent, ..] => match () {
            () if steers_home_of(format!("agent/{agent}")) => OWNER,
            () if person.name == format!("agent/{agent}") => READ,
            () => 0,
        },
        ["teams", team, rest @ ..] => match person.role_in(team) {
            Some(admin) => in_team(person, admin, rest),
            None => 0,
        },
        _ => 0,
    }
}

fn in_team(person: &Person, admin: bool, rest: &[&str]) -> u8 {
    let steered = |others: u8| if admin { OWNER } else { others };
    match rest {
        [] | ["secrets" | "members" | "settings" | "revocations" | "apiKeys" | "components", ..] => {
            steered(READ)
        }
        ["nkv" | "files" | "vectors" | "cache", ..] | ["agents"] => steered(READ | WRITE),
        ["audit", ..] => steered(0),
        ["approvals"] if admin => READ,
        ["quotas" | "usage"] => READ,
        ["agents", _, "skills", ..] => 0,
        ["agents", agent, below @ ..] => match () {
            () if admin => OWNER,
            () if person.name != format!("agent/{agent}") => 0,
            () if matches!(below, [] | ["versions", ..]) => READ,
            () => OWNER,
        },
        ["users", user, ..] if person.name == format!("user/{user}") => OWNER,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the safe table: own, team's and public entries, and a refusal beside a team that owns.
    #[test]
    fn the_model_is_the_table() {
        let agent = Person::new("agent/a", &[("t", false)]);
        let list =
            |entries: &[(&str, u8)]| entries.iter().map(|(who, level)| ((*who).to_owned(), *level)).collect();
        for (list, expected) in [
            (list(&[("agent/a", READ)]), [true, false, false]),
            (list(&[("agent/a", WRITE)]), [false, true, false]),
            (list(&[("agent/a", OWNER)]), [true, true, true]),
            (list(&[("team/t", READ)]), [true, false, false]),
            (list(&[("team/t", WRITE)]), [false, true, false]),
            (list(&[("team/t", OWNER)]), [true, true, true]),
            (list(&[("public/public", READ)]), [true, false, false]),
            (list(&[("agent/a", NONE), ("team/t", OWNER)]), [false, false, false]),
        ] {
            let decided = [READ, WRITE, OWNER].map(|level| by_list(&agent, level, &list));
            assert_eq!(decided, expected, "{list:?}");
        }
    }

    #[test]
    fn names_give_nothing_to_other_teams() {
        let homes = BTreeMap::from([("agent/a".to_owned(), "t".to_owned())]);
        let (admin, stranger) = (Person::new("user/u", &[("t", true)]), Person::new("user/s", &[]));
        let other = Person::new("user/o", &[("other", true)]);
        for name in
            ["teams/t/nkv/n", "teams/t/agents/x/files/f", "teams/t/secrets/k", "teams/t", "agents/a/settings"]
        {
            assert!(by_name(&admin, OWNER, name, &homes), "{name}");
            assert!(
                !by_name(&stranger, READ, name, &homes) && !by_name(&other, READ, name, &homes),
                "{name}"
            );
        }
    }
}
