//! What the reference's local storage left (`services.md` §3.1.3, v1): where its files belong here, and what its
//! metadata says.
//!
//! Its resource ids are `teams/{team}/{path}`, and `teams/{team}.agent/{agent}/{path}` with a slash too few (D38);
//! paths stay percent-encoded (D39). Access lists hold hashes of ids, read by `sre_identity::acl::legacy`.

use serde_json::Value;
use sre_identity::acl::legacy::{Imported, LegacyAcl};
use sre_identity::{Acl, Candidate};

use super::metadata::{Metadata, is_reserved};
use super::{FileName, Owner, uri};

/// A file of the old layout.
#[derive(Debug, Clone)]
pub struct OldFile {
    /// Where it belongs.
    pub name: FileName,
    /// Its media type; empty where nothing says.
    pub mimetype: String,
    /// What was said of it besides.
    pub metadata: Metadata,
    /// Who had which rights, as far as they are known.
    pub acl: Acl,
    /// Entries of Candidates that nobody knows; they give nothing.
    pub unknown: usize,
}

/// Why a file is left where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Its resource id is none that the reference made.
    #[error("{0} is no file of a team, agent or user")]
    Place(String),
    /// Its metadata cannot be read. It is not taken over without: an access list may be lost.
    #[error("the metadata of {0} is not what the reference writes: {1}")]
    Metadata(String, String),
}

/// Reads what there is of a file: its resource id, and the text of its metadata file where there is one. Only
/// Candidates among `known`, and whose file it is, are recognised in its access list.
pub fn read(resource: &str, metadata: Option<&str>, known: &[Candidate]) -> Result<OldFile, ImportError> {
    let name = name_of(resource).ok_or_else(|| ImportError::Place(resource.to_owned()))?;
    let wrong = |cause: String| ImportError::Metadata(resource.to_owned(), cause);
    let mut said: Metadata = match metadata {
        Some(text) => serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?,
        None => Metadata::new(),
    };
    let text = |value: Option<Value>| match value {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let acl = text(said.shift_remove("acl"));
    let mimetype = text(said.shift_remove("ContentType"));
    let mut all = known.to_vec();
    all.extend(belonging(&name));
    let Imported { acl, unknown } =
        LegacyAcl::parse(&acl).and_then(|acl| acl.import(&all)).map_err(|error| wrong(error.to_string()))?;
    let metadata = said
        .into_iter()
        .filter(|(key, _)| !is_reserved(key))
        .map(|(key, value)| (key, decoded(value)))
        .collect();
    let mimetype = if super::is_mimetype(&mimetype) { mimetype } else { String::new() };
    Ok(OldFile { name, mimetype, metadata, acl, unknown: unknown.len() })
}

/// Values were written as texts, structured ones as JSON, and read by the same rule.
fn decoded(value: Value) -> Value {
    match value {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other,
    }
}

/// Where a resource id of the old layout belongs.
fn name_of(resource: &str) -> Option<FileName> {
    let rest = resource.strip_prefix("teams/")?;
    let (team, path) = rest.split_once('/')?;
    let decode = |path: &str| uri::decode(path);
    let name = match team.rsplit_once('.') {
        None => uri::of_team(team, &decode(path)?),
        Some((team, kind @ ("agent" | "user"))) => {
            let (id, path) = path.split_once('/')?;
            format!("teams/{team}/{kind}s/{id}/files/{}", decode(path)?)
        }
        Some(_) => return None,
    };
    FileName::parse(&name).ok()
}

/// Who is known by the name alone.
fn belonging(name: &FileName) -> Vec<Candidate> {
    let owner = match &name.scope.owner {
        Owner::Agent(id) => Candidate::agent(id).ok(),
        Owner::User(id) => Candidate::user(id).ok(),
        Owner::Team => None,
    };
    Candidate::team(&name.scope.team).ok().into_iter().chain(owner).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(resource: &str) -> Option<String> {
        name_of(resource).map(|name| name.to_string())
    }

    /// D38, D39: sibling folders become folders, names are decoded once.
    #[test]
    fn d38_d39_old_places_have_new_names() {
        for (old, new) in [
            ("teams/teamA/dir/f.txt", "teams/teamA/files/dir/f.txt"),
            ("teams/teamA.agent/agA1/a%20b", "teams/teamA/agents/agA1/files/a b"),
            ("teams/teamA.user/ua/n.txt", "teams/teamA/users/ua/files/n.txt"),
            ("teams/t/agA1/_temp/x.png", "teams/t/agents/agA1/files/_temp/x.png"),
            ("teams/t/%25", "teams/t/files/%"),
        ] {
            assert_eq!(place(old).as_deref(), Some(new));
        }
        for other in [
            "x",
            "teams/t",
            "teams/t.agent/a",
            "teams/t.other/a/b",
            "teams/t/%2e%2e/x",
            "teams/t/a%2f..%2fb",
            "teams/../x",
            "teams/t/%zz",
            "teams/t/",
        ] {
            assert_eq!(place(other), None, "{other}");
        }
    }

    #[test]
    fn metadata_and_lists_are_read() {
        let text = r#"{"acl":"h:xxh3|t:8d538d4ba3e543f9/r|a:5d5644b549a9e996/o","ContentType":"text/plain",
                       "n":"5","s":"words","o":"{\"a\":[1]}","sre-x":"1"}"#;
        let file = read("teams/teamA.agent/agA1/f", Some(text), &[]).unwrap();
        assert_eq!((file.mimetype.as_str(), file.unknown), ("text/plain", 0));
        assert_eq!(Value::from(file.metadata), json!({"n": 5, "s": "words", "o": {"a": [1]}}));
        assert_eq!(file.acl.entries().count(), 2);
        // Of a team's file the writer is not known by the name, unless the import names it.
        let file = read("teams/teamA/f", Some(text), &[]).unwrap();
        assert_eq!((file.acl.entries().count(), file.unknown), (1, 1));
        let known = [Candidate::agent("agA1").unwrap()];
        assert_eq!(read("teams/teamA/f", Some(text), &known).unwrap().acl.entries().count(), 2);
    }

    /// A list that cannot be read never becomes an empty one.
    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in ["", "[]", r#"{"acl":"h:md5|u:x/o"}"#, r#"{"acl":"h:xxh3|z:1/o"}"#] {
            assert!(read("teams/t/f", Some(text), &[]).is_err(), "{text}");
        }
        assert!(read("teams/t/f", None, &[]).is_ok());
    }
}
