//! The source that a record's lines become: a `main` that gets all inputs as one object, so that nothing of them is
//! ever source text.

use std::fmt::Write as _;

use sre_engine::template::{self, Part};
use sre_engine::value::{Map, Value};

/// The argument that holds what placeholders stand for.
pub const VALUES: &str = "$values";

/// The source, and what its placeholders name.
pub struct Source {
    pub text: String,
    pub tokens: Vec<String>,
    pub keys: Vec<String>,
}

impl Source {
    /// Of the declared inputs, the lines before the code, and the code.
    pub fn new(inputs: &Map, variables: &str, body: &str) -> Self {
        let mut source = Self { text: String::new(), tokens: Vec::new(), keys: Vec::new() };
        let names: Vec<&str> = inputs.keys().map(AsRef::as_ref).filter(|name| is_identifier(name)).collect();
        source.text.push_str("async function main({...$inputs}) {\n");
        let _ =
            writeln!(source.text, "const {VALUES} = $inputs[\"{VALUES}\"]; delete $inputs[\"{VALUES}\"];");
        source.text.push_str(TEXT);
        let _ = writeln!(source.text, "let {{{}}} = $inputs;", names.join(", "));
        // In a function of their own the lines may declare variables of the inputs' names, and return.
        source.text.push_str("let _output, _error;\nconst $returned = await (async () => {\n");
        source.put(variables);
        source.text.push('\n');
        source.text.push_str(body);
        source.text.push_str(END);
        source
    }

    /// Writes lines with their placeholders as expressions.
    fn put(&mut self, lines: &str) {
        let mut place = Place::Code;
        for part in template::parts(lines) {
            let name = match part {
                Part::Text(text) => {
                    place = place.after(text);
                    self.text.push_str(text);
                    continue;
                }
                Part::Token(token) => {
                    self.tokens.push(token.to_owned());
                    token.to_owned()
                }
                Part::Key(key) => {
                    self.keys.push(key.to_owned());
                    key_name(key)
                }
            };
            let value = format!("{VALUES}[{}]", Value::from(name.as_str()).to_json_text());
            // Inside quotes it is a part of the text around it.
            self.text.push_str(&match place {
                Place::Quoted('`') => format!("${{$text({value})}}"),
                Place::Quoted(quote) => format!("{quote} + $text({value}) + {quote}"),
                Place::Code => value,
                Place::Comment(_) => name.replace('\n', " ").replace("*/", ""),
            });
        }
    }
}

const TEXT: &str = "const $text = (value) => value === undefined || value === null ? '' : \
    typeof value === 'string' ? value : JSON.stringify(value);\n";

const END: &str = "\n})();\nif (_output === undefined) _output = $returned;\n\
    return { output: _output, error: _error instanceof Error ? _error.message : _error };\n}\n";

/// The name of a vault key among the values; no token has brackets.
pub fn key_name(key: &str) -> String {
    format!("KEY({key})")
}

/// Whether a name can be a variable's.
fn is_identifier(name: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '$';
    name.starts_with(begins)
        && name.chars().all(|c| begins(c) || c.is_ascii_digit())
        && !RESERVED.contains(&name)
}

/// Words that cannot be variables, and the names of the contract.
const RESERVED: &[&str] = &[
    "$inputs",
    "$returned",
    "$text",
    "$values",
    "_error",
    "_output",
    "arguments",
    "async",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "continue",
    "debugger",
    "default",
    "delete",
    "do",
    "else",
    "enum",
    "eval",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "implements",
    "import",
    "in",
    "instanceof",
    "interface",
    "let",
    "new",
    "null",
    "package",
    "private",
    "protected",
    "public",
    "return",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "undefined",
    "var",
    "void",
    "while",
    "with",
    "yield",
];

/// Where in a source we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Code,
    /// Inside a text with this quote.
    Quoted(char),
    /// Inside a comment: of a line, or of a block.
    Comment(bool),
}

impl Place {
    fn after(self, text: &str) -> Self {
        let mut place = self;
        let mut before = '\0';
        let mut letters = text.chars().peekable();
        while let Some(c) = letters.next() {
            let next = letters.peek().copied();
            place = match place {
                Self::Code if matches!(c, '"' | '\'' | '`') => Self::Quoted(c),
                Self::Code if c == '/' && next == Some('/') => Self::Comment(true),
                Self::Code if c == '/' && next == Some('*') => {
                    letters.next();
                    Self::Comment(false)
                }
                Self::Quoted(_) if c == '\\' => {
                    letters.next();
                    place
                }
                Self::Quoted(quote) if c == quote => Self::Code,
                // A text in single or double quotes ends with its line at the latest.
                Self::Quoted('"' | '\'') | Self::Comment(true) if c == '\n' => Self::Code,
                Self::Comment(false) if before == '*' && c == '/' => Self::Code,
                other => other,
            };
            before = c;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(variables: &str) -> String {
        let mut source = Source { text: String::new(), tokens: Vec::new(), keys: Vec::new() };
        source.put(variables);
        source.text
    }

    #[test]
    fn placeholders_are_expressions_where_they_stand() {
        for (written, becomes) in [
            ("let a = {{x}};", r#"let a = $values["x"];"#),
            ("let a = '<{{x}}>';", r#"let a = '<' + $text($values["x"]) + '>';"#),
            (r#"let a = "{{o.b}}";"#, r#"let a = "" + $text($values["o.b"]) + "";"#),
            ("let a = `{{x}}`;", r#"let a = `${$text($values["x"])}`;"#),
            ("let k = {{KEY(my-key)}};", r#"let k = $values["KEY(my-key)"];"#),
            ("// don't {{x}}\nlet a = {{x}};", "// don't x\nlet a = $values[\"x\"];"),
            ("/* it's {{x}} */ {{x}}", "/* it's x */ $values[\"x\"]"),
            (r"let a = 'it\'s {{x}}';", r#"let a = 'it\'s ' + $text($values["x"]) + '';"#),
        ] {
            assert_eq!(lines(written), becomes, "{written}");
        }
    }

    #[test]
    fn only_names_that_can_be_variables_become_some() {
        for (name, can) in [
            ("a", true),
            ("$a_1", true),
            ("1a", false),
            ("a b", false),
            ("await", false),
            ("_output", false),
            ("a}=0;{b", false),
            ("", false),
        ] {
            assert_eq!(is_identifier(name), can, "{name}");
        }
    }
}
