//! Names of tools in the letters that a provider takes, and back: the model's calls bear the caller's names.

use std::collections::BTreeMap;

use sre_proto::llm::v1 as pb;

/// What a provider takes as a name.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// The letters beside ASCII letters, digits and the underscore.
    pub also: &'static str,
    /// Whether the first one must be a letter or an underscore.
    pub begins_with_letter: bool,
    /// The longest.
    pub longest: usize,
    /// What stands for a hyphen, where it is not itself.
    pub hyphen: Option<&'static str>,
}

/// The names of one request, both ways.
#[derive(Debug, Default)]
pub struct Names {
    to_wire: BTreeMap<String, String>,
    to_own: BTreeMap<String, String>,
}

impl Names {
    /// The names of a request's tools, and of the calls in its history.
    pub fn of(request: &pb::GenerateRequest, rule: Rule) -> Self {
        let tools = request.tools.iter().map(|tool| &tool.name);
        let calls = request.messages.iter().flat_map(|message| &message.tool_calls).map(|call| &call.name);
        let results = request.messages.iter().map(|message| &message.tool_name);
        let mut names = Self::default();
        for name in tools.chain(calls).chain(results) {
            if !name.is_empty() && !names.to_wire.contains_key(name) {
                let mut wire = fitted(name, rule);
                if names.to_own.contains_key(&wire) {
                    wire = marked(&wire, name, rule);
                }
                names.to_own.insert(wire.clone(), name.clone());
                names.to_wire.insert(name.clone(), wire);
            }
        }
        names
    }

    /// The provider's form of a name.
    pub fn wire(&self, name: &str) -> String {
        self.to_wire.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    /// The caller's form; a name that the model made up stays as it is.
    pub fn own(&self, wire: &str) -> String {
        self.to_own.get(wire).cloned().unwrap_or_else(|| wire.to_owned())
    }
}

fn fitted(name: &str, rule: Rule) -> String {
    let is_taken =
        |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || rule.also.contains(letter);
    let replaced = rule.hyphen.map_or_else(|| name.to_owned(), |hyphen| name.replace('-', hyphen));
    let mut wire: String =
        replaced.chars().map(|letter| if is_taken(letter) { letter } else { '_' }).collect();
    let begins_well = wire.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if rule.begins_with_letter && !begins_well {
        wire.insert(0, '_');
    }
    let is_changed_beyond_hyphens = wire != replaced || wire.len() > rule.longest;
    if is_changed_beyond_hyphens { marked(&wire, name, rule) } else { wire }
}

/// A name that a digest of the whole one tells from others that look alike.
fn marked(wire: &str, name: &str, rule: Rule) -> String {
    let digest = blake3::hash(name.as_bytes()).to_hex();
    let kept: String = wire.chars().take(rule.longest.saturating_sub(9)).collect();
    format!("{kept}_{}", &digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEMINI: Rule = Rule { also: ".-", begins_with_letter: true, longest: 64, hyphen: None };
    const BEDROCK: Rule = Rule { also: "", begins_with_letter: false, longest: 64, hyphen: Some("__") };

    fn names(tools: &[&str], rule: Rule) -> Names {
        let tool = |name: &&str| pb::Tool { name: (*name).to_owned(), ..Default::default() };
        Names::of(
            &pb::GenerateRequest { tools: tools.iter().map(tool).collect(), ..Default::default() },
            rule,
        )
    }

    #[test]
    fn names_come_back_as_they_went() {
        let long = "x".repeat(70);
        let tools = ["get-weather", "get__weather", "größe", "1st", "a b", "a_b", long.as_str(), "ok.name"];
        for rule in [GEMINI, BEDROCK] {
            let names = names(&tools, rule);
            let mut seen = std::collections::BTreeSet::new();
            for tool in tools {
                let wire = names.wire(tool);
                assert_eq!(names.own(&wire), tool);
                assert!(wire.len() <= 64 && wire.is_ascii() && seen.insert(wire.clone()), "{wire}");
            }
        }
        assert_eq!(names(&tools, BEDROCK).wire("get-weather"), "get__weather");
        assert_eq!(names(&tools, GEMINI).wire("ok.name"), "ok.name");
        assert_eq!(names(&[], GEMINI).own("made_up"), "made_up");
    }
}
