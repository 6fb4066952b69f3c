//! Names of namespaces and datasources. They are compared as they are written; what a backend is told is an id
//! that nobody chose, so no two names can mean one collection (H16, H17).

use sre_identity::candidate::is_valid_id;
use sre_identity::resource::check_name;

use crate::error::IoError;

/// The longest namespace id, in bytes.
const MAX_NAMESPACE_BYTES: usize = 128;
/// The longest datasource id, in bytes.
const MAX_DATASOURCE_BYTES: usize = 256;

/// `{scope}/vectors/{namespace}`, where the scope is a team, or an agent or a user of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceName {
    /// `teams/{team}`, `teams/{team}/agents/{agent}` or `teams/{team}/users/{user}`.
    pub scope: String,
    /// The team.
    pub team: String,
    /// The namespace.
    pub namespace: String,
}

/// `{namespace}/datasources/{datasource}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasourceName {
    /// The namespace.
    pub parent: NamespaceName,
    /// The datasource.
    pub datasource: String,
}

impl NamespaceName {
    /// Reads a name that a request holds in a field.
    pub fn parse(field: &'static str, name: &str) -> Result<Self, IoError> {
        let (scope, namespace) = name.rsplit_once("/vectors/").ok_or_else(|| form(field))?;
        let team = team_of(field, scope)?;
        if namespace.contains('/') || namespace.is_empty() || namespace.len() > MAX_NAMESPACE_BYTES {
            return Err(form(field));
        }
        if namespace.chars().any(char::is_control) {
            return Err(invalid(field, "a namespace has no control characters"));
        }
        check_name(name).map_err(|problem| invalid(field, problem))?;
        Ok(Self { scope: scope.to_owned(), team, namespace: namespace.to_owned() })
    }
}

/// The team of a scope.
pub fn team_of(field: &'static str, scope: &str) -> Result<String, IoError> {
    let parts: Vec<&str> = scope.split('/').collect();
    let (team, rest) = match parts.as_slice() {
        ["teams", team] => (*team, None),
        ["teams", team, "agents" | "users", id] => (*team, Some(*id)),
        _ => return Err(form(field)),
    };
    if !is_valid_id(team) || rest.is_some_and(|id| !is_valid_id(id)) {
        return Err(invalid(field, "an id has 1 to 64 letters, digits, hyphens and underscores"));
    }
    Ok(team.to_owned())
}

impl DatasourceName {
    /// Reads a name that a request holds in a field.
    pub fn parse(field: &'static str, name: &str) -> Result<Self, IoError> {
        let (parent, datasource) =
            name.rsplit_once("/datasources/").ok_or_else(|| invalid(field, DATASOURCE))?;
        check_datasource(field, datasource)?;
        Ok(Self { parent: NamespaceName::parse(field, parent)?, datasource: datasource.to_owned() })
    }
}

/// Checks the id of a datasource.
pub fn check_datasource(field: &'static str, id: &str) -> Result<(), IoError> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if id.is_empty() || id.len() > MAX_DATASOURCE_BYTES || !id.chars().all(good) || [".", ".."].contains(&id)
    {
        return Err(invalid(
            field,
            "a datasource's id has 1 to 256 of the characters 'a-z', 'A-Z', '0-9', '-', '_', '.' and ':'",
        ));
    }
    Ok(())
}

const DATASOURCE: &str = "expected {namespace}/datasources/{datasource}";

fn form(field: &'static str) -> IoError {
    invalid(
        field,
        "expected teams/{team}/vectors/{namespace}, teams/{team}/agents/{agent}/vectors/{namespace} or \
         teams/{team}/users/{user}/vectors/{namespace}",
    )
}

fn invalid(field: &'static str, message: impl Into<String>) -> IoError {
    IoError::Invalid { field, message: message.into() }
}

impl std::fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/vectors/{}", self.scope, self.namespace)
    }
}

impl std::fmt::Display for DatasourceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/datasources/{}", self.parent, self.datasource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_back() {
        for name in [
            "teams/t/vectors/My Docs",
            "teams/t/agents/a/vectors/docs",
            "teams/t/users/u/vectors/vectors",
            "teams/t/vectors/...",
        ] {
            let parsed = NamespaceName::parse("name", name).unwrap();
            assert_eq!((parsed.to_string().as_str(), parsed.team.as_str()), (name, "t"));
            let datasource = format!("{name}/datasources/t::docs::a.b");
            assert_eq!(DatasourceName::parse("name", &datasource).unwrap().to_string(), datasource);
        }
    }

    /// H17: in the reference, team `a` with `x_docs` was agent `x` with `docs`.
    #[test]
    fn h17_scopes_cannot_be_mistaken_for_each_other() {
        for wrong in [
            "teams/a_x/docs",
            "teams/t/vectors/",
            "teams/t/vectors/a/b",
            "teams/t/vectors/..",
            "teams/t/other/x/vectors/n",
            "teams/t/agents/a/users/u/vectors/n",
            "teams/t t/vectors/n",
            "teams/t/vectors/a\nb",
            "users/u/vectors/n",
        ] {
            assert!(NamespaceName::parse("name", wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "a b", "a/b", "..", "a'b", &"x".repeat(257)] {
            assert!(check_datasource("name", wrong).is_err(), "{wrong}");
        }
    }
}
