//! `smythfs://` addresses of files, as agents' documents and binaries carry them.
//!
//! `smythfs://{id}.{agent|user|team}/{path}`: the path is percent-encoded once. The team of an agent or user is
//! not in the address; whoever resolves one asks Account.

use super::name::{FileName, NameError, Owner};

const SCHEME: &str = "smythfs";

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmythUri {
    /// Whose file.
    pub principal: UriPrincipal,
    /// Its path, decoded.
    pub path: String,
    /// Whether it is an agent's temporary file, addressed through its team.
    is_temporary: bool,
}

/// The principal that an address names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UriPrincipal {
    /// `{id}.agent`.
    Agent(String),
    /// `{id}.user`.
    User(String),
    /// `{id}.team`.
    Team(String),
}

/// The address of a file.
pub fn address(name: &FileName) -> String {
    let (id, kind) = match &name.scope.owner {
        Owner::Agent(id) => (id, "agent"),
        Owner::User(id) => (id, "user"),
        Owner::Team => (&name.scope.team, "team"),
    };
    let mut path = encode(&name.path);
    if name.scope.owner == Owner::Team && is_temporary(&path) {
        // A team's own file that looks like an agent's temporary one is told apart by this.
        path = path.replacen("/_temp/", "/%5Ftemp/", 1);
    }
    format!("{SCHEME}://{id}.{kind}/{path}")
}

/// `{agent}/_temp/{file}`, as it is written.
fn is_temporary(path: &str) -> bool {
    path.split_once('/').is_some_and(|(_, file)| file.starts_with("_temp/"))
}

/// Reads an address.
pub fn parse(uri: &str) -> Result<SmythUri, NameError> {
    let wrong = || {
        NameError(format!(
            "{uri:?} is not a file address: expected {SCHEME}://{{id}}.{{agent|user|team}}/{{path}}"
        ))
    };
    let (scheme, rest) = uri.split_once("://").ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) || rest.contains("://") {
        return Err(wrong());
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').ok_or_else(wrong)?;
    let host = match authority.split_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        Some(_) => return Err(wrong()),
        None => authority,
    };
    let (id, kind) = host.split_once('.').ok_or_else(wrong)?;
    let is_temporary = kind == "team" && is_temporary(path);
    let path = decode(path).ok_or_else(wrong)?;
    // The rules of names hold after decoding, so that %2e%2e is no way around them.
    let (probe, principal) = match kind {
        "agent" => (format!("teams/any/agents/{id}/files/{path}"), UriPrincipal::Agent(id.to_owned())),
        "user" => (format!("teams/any/users/{id}/files/{path}"), UriPrincipal::User(id.to_owned())),
        "team" => (format!("teams/{id}/files/{path}"), UriPrincipal::Team(id.to_owned())),
        _ => return Err(wrong()),
    };
    let name = FileName::parse(&probe)?;
    Ok(SmythUri { principal, path: name.path, is_temporary })
}

impl SmythUri {
    /// The file's name, given the home team of the agent or user (a team is its own).
    pub fn file_name(&self, home_team: &str) -> Result<FileName, NameError> {
        let path = &self.path;
        FileName::parse(&match &self.principal {
            UriPrincipal::Agent(id) => format!("teams/{home_team}/agents/{id}/files/{path}"),
            UriPrincipal::User(id) => format!("teams/{home_team}/users/{id}/files/{path}"),
            UriPrincipal::Team(id) if self.is_temporary => of_team(id, path),
            UriPrincipal::Team(id) => format!("teams/{id}/files/{path}"),
        })
    }
}

/// A team's own file, or an agent's temporary one, which is addressed through its team:
/// `smythfs://{team}.team/{agent}/_temp/{file}`.
pub(super) fn of_team(team: &str, path: &str) -> String {
    match path.split_once('/') {
        Some((agent, file)) if file.starts_with("_temp/") => {
            format!("teams/{team}/agents/{agent}/files/{file}")
        }
        _ => format!("teams/{team}/files/{path}"),
    }
}

fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Undoes percent-encoding, once.
pub(super) fn decode(path: &str) -> Option<String> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Paths as people and attackers write them.
    fn path() -> impl Strategy<Value = String> {
        let segment = prop_oneof![
            "[a-z]{1,6}",
            "\\PC{1,8}",
            Just("..".to_owned()),
            Just("_temp".to_owned()),
            Just("%2e%2e".to_owned()),
            Just("a%2fb".to_owned()),
            Just("a\\b".to_owned()),
        ];
        proptest::collection::vec(segment, 1..5).prop_map(|segments| segments.join("/"))
    }

    proptest! {
        /// Every name has an address that names it and nothing else.
        #[test]
        fn an_address_names_one_file(path in path(), kind in 0..3) {
            let name = match kind {
                0 => format!("teams/t/agents/a/files/{path}"),
                1 => format!("teams/t/users/u/files/{path}"),
                _ => format!("teams/t/files/{path}"),
            };
            if let Ok(name) = FileName::parse(&name) {
                let uri = address(&name);
                let parsed = parse(&uri).map_err(|error| TestCaseError::fail(format!("{uri}: {error}")))?;
                prop_assert_eq!(parsed.file_name("t").unwrap(), name, "{}", uri);
            }
        }

        /// H9: whatever is read stays beneath the place that it names.
        #[test]
        fn h9_no_address_leads_out_of_its_place(path in path(), raw in ".{0,40}") {
            for uri in [format!("smythfs://a.agent/{path}"), format!("smythfs://a.agent/{raw}"), raw] {
                if let Ok(parsed) = parse(&uri) {
                    let name = parsed.file_name("t").unwrap();
                    prop_assert!(name.path.split('/').all(|part| !matches!(part, "" | "." | "..")));
                    prop_assert!(!name.path.contains(['\\', '\0']));
                }
            }
        }
    }

    #[test]
    fn a_name_becomes_an_address_and_comes_back() {
        for name in [
            "teams/t/agents/a/files/a b/ü?#%.txt",
            "teams/t/users/u/files/n.txt",
            "teams/teamA/files/dir/f.txt",
        ] {
            let name = FileName::parse(name).unwrap();
            let uri = address(&name);
            assert_eq!(parse(&uri).unwrap().file_name(&name.scope.team).unwrap(), name, "{uri}");
        }
        let name = FileName::parse("teams/teamA/agents/agA1/files/a b").unwrap();
        assert_eq!(address(&name), "smythfs://agA1.agent/a%20b");
    }

    #[test]
    fn an_agents_temporary_files_are_addressed_through_its_team() {
        let name = parse("smythfs://t.team/a1/_temp/x%20y.png").unwrap().file_name("").unwrap();
        assert_eq!(name.to_string(), "teams/t/agents/a1/files/_temp/x y.png");
        let other = parse("smythfs://t.team/a1/temp/x").unwrap().file_name("").unwrap();
        assert_eq!(other.to_string(), "teams/t/files/a1/temp/x");
    }

    #[test]
    fn ports_queries_and_fragments_are_ignored() {
        let parsed = parse("SMYTHFS://agA1.agent:80/a%20b?q=1#f").unwrap();
        assert_eq!((parsed.principal, parsed.path.as_str()), (UriPrincipal::Agent("agA1".into()), "a b"));
    }

    #[test]
    fn h9_traversal_and_other_shapes_are_refused() {
        for uri in [
            "http://a.agent/x",
            "smythfs://a/x://y",
            "smythfs://x.smyth/y",
            "smythfs://team/x",
            "smythfs://a.b.team/x",
            "smythfs://u:p@a.agent/x",
            "smythfs://a.agent",
            "smythfs://a.agent/",
            "smythfs://a.agent/%2e%2e/x",
            "smythfs://a.agent/..%2Fx",
            "smythfs://a.agent/%zz",
            "smythfs://a.agent/%ff",
        ] {
            assert!(parse(uri).is_err(), "{uri}");
        }
    }
}
