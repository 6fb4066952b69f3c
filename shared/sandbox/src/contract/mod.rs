//! What code must look like: an ES module with an async `main` at its root.
//!
//! Whether it is a module at all is the interpreter's to say. This finds `main` in one that is, by its tokens:
//! a declaration, an initialiser or an assignment of an async function, as the reference does. It recurses
//! nowhere, so there is no source that makes it use up a stack.

mod tokens;

use serde::{Deserialize, Serialize};

use crate::protocol::Problem;
use tokens::{Kind, Token, tokens};

/// Words after which a function is part of an expression.
const EXPRESSION_WORDS: [&str; 12] = [
    "return",
    "new",
    "typeof",
    "await",
    "yield",
    "void",
    "delete",
    "in",
    "of",
    "instanceof",
    "case",
    "throw",
];

/// What a source looks like from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// The parameters of `main` by name; what takes a value apart is `[object]`, `[array]` or `[unknown]`.
    pub parameters: Vec<String>,
    /// The packages that it imports or requires, without those beside it.
    pub dependencies: Vec<String>,
}

/// Finds `main` in a source that parses.
///
/// # Errors
/// [`Problem::NoMain`] and [`Problem::NotAsync`].
pub fn outline(source: &str) -> Result<Outline, Problem> {
    let tokens = tokens(source);
    let mut found: Option<Result<Vec<String>, ()>> = None;
    for at in 0..tokens.len() {
        let Some(main) = main_at(&tokens, at) else { continue };
        // An async one counts wherever it stands; of several, the last.
        if main.is_ok() || !matches!(found, Some(Ok(_))) {
            found = Some(main);
        }
    }
    match found {
        Some(Ok(parameters)) => Ok(Outline { parameters, dependencies: dependencies(&tokens) }),
        Some(Err(())) => Err(Problem::NotAsync),
        None => Err(Problem::NoMain),
    }
}

/// The parameters of the `main` that begins here; an error if it is not async, none if there is none.
fn main_at(tokens: &[Token<'_>], at: usize) -> Option<Result<Vec<String>, ()>> {
    let token = tokens.get(at).filter(|token| token.depth == 0)?;
    match token.kind {
        Kind::Word("function") => {
            let name = at + 1 + usize::from(is(tokens, at + 1, "*"));
            if !is_word(tokens, name, "main") {
                return None;
            }
            let is_async = at > 0 && is_word(tokens, at - 1, "async");
            let first = if is_async { at - 1 } else { at };
            if !begins_statement(tokens, first) {
                return None;
            }
            Some(if is_async { Ok(parameters(tokens, name + 1)) } else { Err(()) })
        }
        Kind::Word("main") if is(tokens, at + 1, "=") => {
            let before = at.checked_sub(1).map(|before| tokens[before].kind);
            let declared = matches!(before, Some(Kind::Word("const" | "let" | "var") | Kind::Mark(",")));
            if !declared && !begins_statement(tokens, at) {
                return None;
            }
            function_at(tokens, at + 2)
        }
        _ => None,
    }
}

/// The function expression that begins here.
fn function_at(tokens: &[Token<'_>], mut at: usize) -> Option<Result<Vec<String>, ()>> {
    while is(tokens, at, "(") && (is_word(tokens, at + 1, "async") || is_word(tokens, at + 1, "function")) {
        at += 1;
    }
    let is_async = is_word(tokens, at, "async") && !is(tokens, at + 1, "=>");
    let mut at = at + usize::from(is_async);
    let given = |parameters: Vec<String>| Some(if is_async { Ok(parameters) } else { Err(()) });
    if is_word(tokens, at, "function") {
        at += 1;
        at += usize::from(is(tokens, at, "*"));
        at += usize::from(matches!(tokens.get(at)?.kind, Kind::Word(_)));
        return given(parameters(tokens, at));
    }
    if is(tokens, at, "(") {
        let end = closing(tokens, at)?;
        return if is(tokens, end + 1, "=>") { given(parameters(tokens, at)) } else { None };
    }
    match tokens.get(at)?.kind {
        Kind::Word(name) if is(tokens, at + 1, "=>") => given(vec![name.to_owned()]),
        _ => None,
    }
}

/// The parameters in the parentheses that open here.
fn parameters(tokens: &[Token<'_>], open: usize) -> Vec<String> {
    let (true, Some(end)) = (is(tokens, open, "("), closing(tokens, open)) else { return Vec::new() };
    let inner = &tokens[open + 1..end];
    let depth = tokens[open].depth + 1;
    inner
        .split(|token| token.depth == depth && token.kind == Kind::Mark(","))
        .filter(|part| !part.is_empty())
        .map(|part| {
            let rest = part.iter().take_while(|token| token.kind == Kind::Mark(".")).count();
            match part.get(rest).map(|token| token.kind) {
                Some(Kind::Word(name)) => name.to_owned(),
                Some(Kind::Mark("{")) => "[object]".to_owned(),
                Some(Kind::Mark("[")) => "[array]".to_owned(),
                _ => "[unknown]".to_owned(),
            }
        })
        .collect()
}

/// Where the bracket that opens here closes.
fn closing(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let depth = tokens.get(open)?.depth;
    let closes =
        |token: &Token<'_>| token.depth == depth && matches!(token.kind, Kind::Mark(")" | "]" | "}"));
    tokens.get(open + 1..)?.iter().position(closes).map(|after| open + 1 + after)
}

/// Whether what begins here is a statement, not part of an expression.
fn begins_statement(tokens: &[Token<'_>], at: usize) -> bool {
    let Some(before) = at.checked_sub(1).map(|before| &tokens[before]) else { return true };
    match before.kind {
        Kind::Mark(mark) => matches!(mark, ";" | "}" | ")" | "]"),
        Kind::Word(word) => !EXPRESSION_WORDS.contains(&word) || is_member(tokens, at - 1),
        Kind::Text(_) | Kind::Other => true,
    }
}

/// Whether the word here is the name of a member.
fn is_member(tokens: &[Token<'_>], at: usize) -> bool {
    at > 0 && is(tokens, at - 1, ".")
}

fn is(tokens: &[Token<'_>], at: usize, mark: &str) -> bool {
    tokens.get(at).is_some_and(|token| matches!(token.kind, Kind::Mark(is) if is == mark))
}

fn is_word(tokens: &[Token<'_>], at: usize, word: &str) -> bool {
    tokens.get(at).is_some_and(|token| matches!(token.kind, Kind::Word(is) if is == word))
}

/// The packages of static imports and of `require` with a text.
fn dependencies(tokens: &[Token<'_>]) -> Vec<String> {
    let mut packages: Vec<String> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let Kind::Text(text) = token.kind else { continue };
        let imported = token.depth == 0
            && at > 0
            && (is_word(tokens, at - 1, "from") || is_word(tokens, at - 1, "import"));
        let required = at > 1
            && is(tokens, at - 1, "(")
            && is_word(tokens, at - 2, "require")
            && !is_member(tokens, at - 2);
        if !(imported || required) || text.is_empty() || text.starts_with(['.', '/']) {
            continue;
        }
        let parts = if text.starts_with('@') { 2 } else { 1 };
        let package = text.split('/').take(parts).collect::<Vec<_>>().join("/");
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Vec<String> {
        outline(source).unwrap_or_else(|problem| panic!("{source}: {problem}")).parameters
    }

    #[test]
    fn main_is_found_in_every_form() {
        for source in [
            "async function main(a, b) {}",
            "/* function main() {} */ async function main(a, b) { return a }",
            "let x = 1\nasync function main(a, b = {c: [1, 2]}) {}",
            "const main = async (a, b) => a",
            "const y = `${`}`}`, main = async function (a, ...b) {}",
            "var main = async function named(a, b) {};",
            "let main; main = async (a, b) => { return a / b / 2 }",
            "const re = /[/}]\\//g; export const main = (async (a, b) => {});",
            "export default async function main(a, b) {}",
            "if (x) { function main() {} }\nasync function main(a, b) {}",
            "async function* main(a, b) {}",
            "function main(q) {}\nmain = async (a, b) => 1",
            "let i = 1; i++ / 2; async function main(a, b) {} i / 3",
        ] {
            assert_eq!(names(source), ["a", "b"], "{source}");
        }
        assert_eq!(names("const main = async x => x"), ["x"]);
        assert_eq!(names("async function main() {}"), Vec::<String>::new());
        assert_eq!(names("async function main({a, b}, [c], d = f(1, 2),) {}"), ["[object]", "[array]", "d"]);
    }

    #[test]
    fn what_is_no_main_is_told_from_one_that_is_not_async() {
        for source in [
            "",
            "async function other() {}",
            "const x = async function main() {}",
            "(async function main() {})()",
            "o.main = async () => 1",
            "{ async function main() {} }",
            "const main = 5",
            "const main = make(async () => 1)",
            "const x = { main: async () => 1 }",
            "'async function main() {}'",
            "`async function main() {}`",
            "const r = /async function main() {}/",
            "main == async",
        ] {
            assert_eq!(outline(source), Err(Problem::NoMain), "{source}");
        }
        for source in [
            "function main() {}",
            "const main = () => 1",
            "let main = function () {}",
            "const main = async => 1",
        ] {
            assert_eq!(outline(source), Err(Problem::NotAsync), "{source}");
        }
    }

    #[test]
    fn dependencies_are_packages() {
        let source = "import a from 'lodash/fp'; import '@scope/pkg/deep'; export * from \"x\";
            import y from './beside.js'; const z = require('left-pad'); o.require('no'); import('dynamic');
            async function main() { return require(\"lodash\") }";
        assert_eq!(outline(source).unwrap().dependencies, ["lodash", "@scope/pkg", "x", "left-pad"]);
    }

    #[test]
    fn deep_and_broken_sources_end() {
        for source in ["(".repeat(400_000), "`${".repeat(100_000), "[{(".repeat(9) + "/", ")))}}}".to_owned()]
        {
            assert_eq!(outline(&source), Err(Problem::NoMain));
        }
        for broken in ["\"", "/*", "//", "/", "`", "async function main(", "main =", "async function main(a"]
        {
            // It need not be right about what does not parse, only end.
            let _ = outline(broken);
        }
    }
}
