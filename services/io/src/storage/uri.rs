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
    format!("{SCHEME}://{id}.{kind}/{}", encode(&name.path))
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
    let path = decode(path).ok_or_else(wrong)?;
    // The rules of names hold after decoding, so that %2e%2e is no way around them.
    let (probe, principal) = match kind {
        "agent" => (format!("teams/any/agents/{id}/files/{path}"), UriPrincipal::Agent(id.to_owned())),
        "user" => (format!("teams/any/users/{id}/files/{path}"), UriPrincipal::User(id.to_owned())),
        "team" => (format!("teams/{id}/files/{path}"), UriPrincipal::Team(id.to_owned())),
        _ => return Err(wrong()),
    };
    let name = FileName::parse(&probe)?;
    Ok(SmythUri { principal, path: name.path })
}

impl SmythUri {
    /// The file's name, given the home team of the agent or user (a team is its own).
    pub fn file_name(&self, home_team: &str) -> Result<FileName, NameError> {
        let path = &self.path;
        FileName::parse(&match &self.principal {
            UriPrincipal::Agent(id) => format!("teams/{home_team}/agents/{id}/files/{path}"),
            UriPrincipal::User(id) => format!("teams/{home_team}/users/{id}/files/{path}"),
            UriPrincipal::Team(id) => format!("teams/{id}/files/{path}"),
        })
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

fn decode(path: &str) -> Option<String> {
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
    use super::*;

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
