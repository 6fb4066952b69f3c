//! Names of entries. A name is compared as it is written; backends make keys of it that no other name has (H10,
//! H11).

use sre_identity::candidate::is_valid_id;
use sre_identity::resource::check_name;
use sre_proto::error::invalid_argument;
use tonic::Status;

/// Whose entry it is, and its key there: `teams/{team}/agents/{agent}/cache/{key=**}`, likewise `users`, or
/// directly under a team.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryName {
    name: String,
    /// Where the scope ends.
    scope: usize,
}

impl EntryName {
    /// Reads a name.
    pub fn parse(name: String) -> Result<Self, Status> {
        let wrong = |problem: &str| {
            let forms = "write teams/{team}/agents/{agent}/cache/{key}, teams/{team}/users/{user}/cache/{key} or \
                         teams/{team}/cache/{key}";
            invalid_argument("name", format!("{problem}: {forms}"))
        };
        check_name(&name).map_err(wrong)?;
        let scope = scope_of(&name).ok_or_else(|| wrong("the name has another form"))?;
        if name[scope..].chars().any(char::is_control) {
            return Err(wrong("a key has no control characters"));
        }
        Ok(Self { name, scope })
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Whose it is: `teams/{team}/agents/{agent}`, `teams/{team}/users/{user}` or `teams/{team}`.
    pub fn scope(&self) -> &str {
        &self.name[..self.scope]
    }

    /// The team.
    pub fn team(&self) -> &str {
        self.scope().split('/').nth(1).unwrap_or_default()
    }

    /// The key in its scope.
    pub fn key(&self) -> &str {
        &self.name[self.scope + "/cache/".len()..]
    }
}

impl std::fmt::Display for EntryName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// Where the scope of a name ends, if it is of one of the forms.
fn scope_of(name: &str) -> Option<usize> {
    let team = name.strip_prefix("teams/")?.split('/').next().filter(|team| is_valid_id(team))?;
    let team_end = "teams/".len() + team.len();
    let rest = &name[team_end..];
    let principal = ["/agents/", "/users/"].iter().find_map(|kind| {
        let id = rest.strip_prefix(kind)?.split('/').next().filter(|id| is_valid_id(id))?;
        Some(kind.len() + id.len())
    });
    let end = team_end + principal.unwrap_or(0);
    let key = name[end..].strip_prefix("/cache/")?;
    (!key.is_empty()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        for (name, scope, key) in [
            ("teams/t/cache/a", "teams/t", "a"),
            ("teams/t/cache/a/b c:*?", "teams/t", "a/b c:*?"),
            ("teams/t/agents/a/cache/k", "teams/t/agents/a", "k"),
            ("teams/t/users/u/cache/cache/k", "teams/t/users/u", "cache/k"),
            ("teams/t/cache/agents/a/cache/k", "teams/t", "agents/a/cache/k"),
        ] {
            let parsed = EntryName::parse(name.to_owned()).unwrap();
            assert_eq!((parsed.scope(), parsed.key(), parsed.team()), (scope, key, "t"), "{name}");
            assert_eq!(parsed.to_string(), name);
        }
    }

    /// H11: a key never leaves its scope.
    #[test]
    fn h11_other_forms_are_refused() {
        for name in [
            "",
            "teams/t/cache",
            "teams/t/cache/",
            "teams/t/agents/a/cache",
            "teams/t/tools/a/cache/k",
            "teams/t/agents/a/files/k",
            "teams/t t/cache/k",
            "teams/-/../cache/k",
            "teams/t/cache/../k",
            "teams/t/cache/a/../../k",
            "teams/t/cache/a//b",
            "teams/t/cache/a\\b",
            "teams/t/cache/a\0",
            "teams/t/cache/a\nb",
            "users/u/cache/k",
        ] {
            assert!(EntryName::parse(name.to_owned()).is_err(), "{name:?}");
        }
    }
}
