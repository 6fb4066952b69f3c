//! Resource names: `teams/{team}/agents/{agent}/files/{path=**}`.

use tonic::Status;

use crate::candidate::is_valid_id;

/// The longest name, in characters.
pub const MAX_NAME_CHARS: usize = 1024;

/// Variables whose segment is an id.
const ID_VARIABLES: [&str; 3] = ["team", "agent", "user"];

/// Stands for the caller's home team, or for itself.
pub const OWN: &str = "-";

/// How names of one kind look. A variable is a whole segment, `{team}`; the last may take all the rest,
/// `{path=**}`.
///
/// ```
/// use sre_identity::resource::Pattern;
/// static FILE: Pattern = Pattern::new("teams/{team}/agents/{agent}/files/{path=**}");
/// let name = FILE.parse("teams/t/agents/a/files/x/y.txt")?;
/// assert_eq!((name.get("agent"), name.get("path")), ("a", "x/y.txt"));
/// assert!(FILE.parse("teams/t/agents/a/files/../y.txt").is_err());
/// # Ok::<(), tonic::Status>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Pattern(&'static str);

/// What the variables of a pattern stand for in one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captures<'n>(Vec<(&'static str, &'n str)>);

impl<'n> Captures<'n> {
    /// The text of a variable; empty for one that the pattern does not have.
    pub fn get(&self, variable: &str) -> &'n str {
        self.0.iter().find(|(name, _)| *name == variable).map_or("", |(_, value)| value)
    }
}

impl Pattern {
    /// A pattern.
    pub const fn new(text: &'static str) -> Self {
        Self(text)
    }

    /// Takes a name apart; anything else is INVALID_ARGUMENT on `name`.
    pub fn parse<'n>(&self, name: &'n str) -> Result<Captures<'n>, Status> {
        self.parse_field("name", name)
    }

    /// Like [`Self::parse`], for a name in another field.
    pub fn parse_field<'n>(&self, field: &str, name: &'n str) -> Result<Captures<'n>, Status> {
        self.captures(name).map_err(|problem| {
            sre_proto::error::invalid_argument(field, format!("{problem}: write {}", self.0))
        })
    }

    /// Whether a name is of this pattern.
    pub fn matches(&self, name: &str) -> bool {
        self.captures(name).is_ok()
    }

    /// The name with these values, in the order of the variables. The values are not checked.
    pub fn format(&self, values: &[&str]) -> String {
        let mut values = values.iter();
        let segments: Vec<&str> = self
            .0
            .split('/')
            .map(|part| if part.starts_with('{') { values.next().copied().unwrap_or_default() } else { part })
            .collect();
        segments.join("/")
    }

    fn captures<'n>(&self, name: &'n str) -> Result<Captures<'n>, &'static str> {
        check_name(name)?;
        let mut captures = Vec::new();
        let mut rest = Some(name);
        for part in self.0.split('/') {
            let text = rest.ok_or("the name has too few segments")?;
            let (segment, after) = match text.split_once('/') {
                Some((segment, after)) => (segment, Some(after)),
                None => (text, None),
            };
            let variable = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            match variable.map(|variable| variable.strip_suffix("=**").ok_or(variable)) {
                None if part == segment => {}
                None => return Err("the name has another form"),
                Some(Ok(variable)) => {
                    captures.push((variable, text));
                    rest = None;
                    continue;
                }
                Some(Err(variable)) => {
                    if ID_VARIABLES.contains(&variable) && segment != OWN && !is_valid_id(segment) {
                        return Err("an id has 1 to 64 letters, digits, hyphens and underscores");
                    }
                    captures.push((variable, segment));
                }
            }
            rest = after;
        }
        match rest {
            None => Ok(Captures(captures)),
            Some(_) => Err("the name has too many segments"),
        }
    }
}

/// The rules for every name: segments are never empty, `.` or `..`, and hold no NUL and no backslash (hole H9).
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.chars().count() > MAX_NAME_CHARS {
        return Err("the name is longer than 1024 characters");
    }
    for segment in name.split('/') {
        if segment.is_empty() {
            return Err("the name has an empty segment");
        }
        if segment == "." || segment == ".." {
            return Err("a segment may not be . or ..");
        }
        if segment.contains(['\0', '\\']) {
            return Err("a segment may not hold nul or a backslash");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    static FILE: Pattern = Pattern::new("teams/{team}/agents/{agent}/files/{path=**}");
    static FILES: Pattern = Pattern::new("teams/{team}/agents/{agent}/files");
    static KEY: Pattern = Pattern::new("teams/{team}/nkv/{namespace}/keys/{key}");

    #[test]
    fn names_are_taken_apart_and_put_together() {
        let name = "teams/t/agents/a/files/x/y.txt";
        let found = FILE.parse(name).unwrap();
        assert_eq!((found.get("team"), found.get("agent"), found.get("path")), ("t", "a", "x/y.txt"));
        assert_eq!(FILE.format(&["t", "a", "x/y.txt"]), name);
        assert_eq!(KEY.parse("teams/-/nkv/n s/keys/k.v").unwrap().get("namespace"), "n s");
        assert!(FILES.matches("teams/t/agents/a/files"));
    }

    #[test]
    fn h9_traversal_is_refused() {
        for path in ["..", ".", "a/../b", "a/./b", "a//b", "", "a/", "/a", "a\\b", "..\\b", "a\0b"] {
            let name = format!("teams/t/agents/a/files/{path}");
            let status = FILE.parse(&name).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{path:?}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for name in [
            "",
            "teams",
            "teams/t",
            "teams/t/agents/a/files",
            "teams/t/users/a/files/x",
            "users/t/agents/a/files/x",
            "teams/t t/agents/a/files/x",
            "teams/t/agents/a.b/files/x",
            "/teams/t/agents/a/files/x",
        ] {
            assert!(!FILE.matches(name), "{name}");
        }
        assert!(!FILES.matches("teams/t/agents/a/files/x"));
        assert!(!KEY.matches("teams/t/nkv/n/keys/a/b"));
    }

    #[test]
    fn names_are_bounded_by_characters() {
        let long = |n: usize| format!("teams/t/agents/a/files/{}", "ü".repeat(n));
        let prefix = "teams/t/agents/a/files/".len();
        assert!(FILE.matches(&long(MAX_NAME_CHARS - prefix)));
        assert!(!FILE.matches(&long(MAX_NAME_CHARS - prefix + 1)));
    }

    #[test]
    fn a_missing_variable_is_empty() {
        assert_eq!(FILES.parse("teams/t/agents/a/files").unwrap().get("path"), "");
    }
}
