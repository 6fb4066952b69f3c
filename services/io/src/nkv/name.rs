//! Names of namespaces and keys. Both are compared as they are written and stored in columns of their own, so
//! that no two names can mean one thing (H10) and no name can mean several (H28).

use sre_identity::candidate::is_valid_id;
use sre_identity::resource::check_name;

/// The longest namespace or key, in bytes.
const MAX_BYTES: usize = 512;

/// Why a name is refused. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

/// `teams/{team}/nkv/{namespace}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamespaceName {
    /// The team.
    pub team: String,
    /// The namespace.
    pub namespace: String,
}

/// `teams/{team}/nkv/{namespace}/keys/{key}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName {
    /// The namespace.
    pub parent: NamespaceName,
    /// The key; it may hold slashes.
    pub key: String,
}

impl NamespaceName {
    /// Reads a namespace's name.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        match name.splitn(4, '/').collect::<Vec<_>>().as_slice() {
            ["teams", team, "nkv", namespace] if !namespace.contains('/') => Self::new(team, namespace),
            _ => Err(NameError("expected teams/{team}/nkv/{namespace}".to_owned())),
        }
    }

    fn new(team: &str, namespace: &str) -> Result<Self, NameError> {
        if !is_valid_id(team) {
            return Err(NameError("a team's id matches [A-Za-z0-9_-]{1,64}".to_owned()));
        }
        check("namespace", namespace)?;
        Ok(Self { team: team.to_owned(), namespace: namespace.to_owned() })
    }
}

impl KeyName {
    /// Reads a key's name.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        match name.splitn(6, '/').collect::<Vec<_>>().as_slice() {
            ["teams", team, "nkv", namespace, "keys", key] => {
                let parent = NamespaceName::new(team, namespace)?;
                check("key", key)?;
                Ok(Self { parent, key: (*key).to_owned() })
            }
            _ => Err(NameError("expected teams/{team}/nkv/{namespace}/keys/{key}".to_owned())),
        }
    }
}

/// Reads a team's name, `teams/{team}`.
pub fn team(name: &str) -> Result<String, NameError> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["teams", team] if is_valid_id(team) => Ok((*team).to_owned()),
        _ => Err(NameError("expected teams/{team}".to_owned())),
    }
}

impl std::fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "teams/{}/nkv/{}", self.team, self.namespace)
    }
}

impl std::fmt::Display for KeyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/keys/{}", self.parent, self.key)
    }
}

fn check(what: &str, text: &str) -> Result<(), NameError> {
    let problem = match text {
        "" => format!("\"{what}\" is not allowed to be empty"),
        _ if text.len() > MAX_BYTES => format!("a {what} has {MAX_BYTES} bytes at most"),
        _ if text.chars().any(char::is_control) => format!("a {what} has no control characters"),
        _ => match check_name(text) {
            Ok(()) => return Ok(()),
            Err(problem) => format!("{what}: {problem}"),
        },
    };
    Err(NameError(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_back() {
        for name in ["teams/t/nkv/ns/keys/a", "teams/t/nkv/a:b/keys/c/d", "teams/t/nkv/q?/keys/*"] {
            assert_eq!(KeyName::parse(name).unwrap().to_string(), name);
        }
        assert_eq!(NamespaceName::parse("teams/t/nkv/ns").unwrap().to_string(), "teams/t/nkv/ns");
    }

    /// H10: three dots are a name of their own, two are refused; nothing is cleaned.
    #[test]
    fn h10_names_are_refused_or_kept_never_cleaned() {
        assert!(NamespaceName::parse("teams/t/nkv/...").is_ok());
        for name in [
            "teams/t/nkv/..",
            "teams/t/nkv/",
            "teams/t/nkv",
            "teams/t/nkv/a/b",
            "teams/../nkv/a",
            "teams/t/nkv/a\\b",
            "teams/t/nkv/a\0",
        ] {
            assert!(NamespaceName::parse(name).is_err(), "{name:?}");
        }
        for key in ["", "..", "a/../b", "a//b", "a\nb"] {
            assert!(KeyName::parse(&format!("teams/t/nkv/ns/keys/{key}")).is_err(), "{key:?}");
        }
    }
}
