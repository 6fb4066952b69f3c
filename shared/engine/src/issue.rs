//! What is wrong with a document, said so that its author can mend it.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document runs, perhaps not as meant.
    Warning,
    /// The document is refused.
    Error,
}

/// One finding in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// Id of the component concerned, or its place in the list (`components[3]`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Field concerned, e.g. `data.endpoint` or `connections[2].sourceId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What was expected, or what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Issue {
    /// A finding that refuses the document.
    pub fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, component: None, field: None, message: message.into(), hint: None }
    }

    /// A finding that does not.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Names the component.
    pub fn at(mut self, component: impl Into<String>) -> Self {
        self.component = Some(component.into());
        self
    }

    /// Names the field.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Says what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// True for [`Severity::Error`].
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.is_error() { "error" } else { "warning" };
        write!(f, "{severity}: ")?;
        if let Some(component) = &self.component {
            write!(f, "component {component}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// The nearest of some names, if any is near enough to be meant.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|known| (strsim::jaro_winkler(&lower, &known.to_lowercase()), known))
        .filter(|(score, _)| *score >= 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().take(3).map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_reads_as_one_line() {
        let issue = Issue::error("is missing").at("A").field("data.url").hint("give a URL");
        assert_eq!(issue.to_string(), "error: component A: data.url: is missing (give a URL)");
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["APICall", "APIOutput", "GenAILLM", "FHash"];
        assert_eq!(nearest("ApiCal", names).first(), Some(&"APICall"));
        assert!(nearest("Zebra", names).is_empty());
    }
}
