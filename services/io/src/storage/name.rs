//! Names of files and folders: `teams/{team}/agents/{agent}/files/{path=**}`, likewise under `users`, or
//! directly under the team.

use std::fmt;

use sre_identity::candidate::is_valid_id;
use sre_identity::resource::check_name;

/// Why a name is refused. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

/// Whose files they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// An agent's.
    Agent(String),
    /// A person's.
    User(String),
    /// The team's own.
    Team,
}

/// A root of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The team.
    pub team: String,
    /// Whose files they are.
    pub owner: Owner,
}

/// A file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// The root it lies in.
    pub scope: Scope,
    /// Its path below the root; segments are split by `/`.
    pub path: String,
}

/// A folder's name: a root, or a path below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderName {
    /// The root.
    pub scope: Scope,
    /// The path below it; empty for the root.
    pub path: String,
}

impl FileName {
    /// Reads a file's name.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let (scope, path) = split(name)?;
        if path.is_empty() {
            return Err(NameError(format!("{name} names a folder: give the file's path below it")));
        }
        Ok(Self { scope, path })
    }
}

impl FolderName {
    /// Reads a folder's name; a slash at its end is allowed.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let (scope, path) = split(name.strip_suffix('/').unwrap_or(name))?;
        Ok(Self { scope, path })
    }

    /// What the names of all files below it begin with.
    pub fn prefix(&self) -> String {
        format!("{self}/")
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Owner::Agent(id) => write!(f, "teams/{}/agents/{id}/files", self.team),
            Owner::User(id) => write!(f, "teams/{}/users/{id}/files", self.team),
            Owner::Team => write!(f, "teams/{}/files", self.team),
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.scope, self.path)
    }
}

impl fmt::Display for FolderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return self.scope.fmt(f);
        }
        write!(f, "{}/{}", self.scope, self.path)
    }
}

fn split(name: &str) -> Result<(Scope, String), NameError> {
    // The rules of all names; nothing is cleaned, since names are compared as they are written.
    check_name(name).map_err(|problem| NameError(problem.to_owned()))?;
    if name.chars().any(char::is_control) {
        return Err(NameError("the name has a control character: leave it out".to_owned()));
    }
    let segments: Vec<&str> = name.split('/').collect();
    let (team, owner, path) = match segments.as_slice() {
        ["teams", team, "agents", agent, "files", path @ ..] => (team, Owner::Agent(id(agent)?), path),
        ["teams", team, "users", user, "files", path @ ..] => (team, Owner::User(id(user)?), path),
        ["teams", team, "files", path @ ..] => (team, Owner::Team, path),
        _ => {
            return Err(NameError(
                "expected teams/{team}/agents/{agent}/files/{path}, teams/{team}/users/{user}/files/{path} or \
                 teams/{team}/files/{path}"
                    .to_owned(),
            ));
        }
    };
    Ok((Scope { team: id(team)?, owner }, path.join("/")))
}

fn id(text: &str) -> Result<String, NameError> {
    if is_valid_id(text) {
        return Ok(text.to_owned());
    }
    Err(NameError("ids match [A-Za-z0-9_-]{1,64}".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_back() {
        for name in ["teams/t/agents/a/files/x/y.txt", "teams/t/users/u/files/z", "teams/t/files/é ü"] {
            assert_eq!(FileName::parse(name).unwrap().to_string(), name);
        }
        assert_eq!(FolderName::parse("teams/t/files/").unwrap().prefix(), "teams/t/files/");
        assert_eq!(FolderName::parse("teams/t/files/d").unwrap().prefix(), "teams/t/files/d/");
    }

    /// H9, H10, H11: traversal is refused, never cleaned; look-alikes stay names of their own.
    #[test]
    fn h9_h10_h11_traversal_is_refused() {
        for path in ["..", ".", "a/../b", "a//b", "", "../../x", "a\\b", "a\0b", "a/./b", "x/", "a\nb"] {
            assert!(FileName::parse(&format!("teams/t/agents/a/files/{path}")).is_err(), "{path:?}");
        }
        for name in
            ["teams/../agents/a/files/x", "teams/t/agents/a.b/files/x", "teams/t/agents//files/x", "x"]
        {
            assert!(FileName::parse(name).is_err(), "{name}");
        }
        assert!(FileName::parse(&format!("teams/t/files/{}", "x".repeat(1025))).is_err());
        for path in ["...", "%2e%2e", "%2e%2e%2fx", "..x", "c:"] {
            assert_eq!(FileName::parse(&format!("teams/t/files/{path}")).unwrap().path, path);
        }
    }
}
