//! The reference of all keys, generated from the section types.

use std::fmt::Write;

use super::keys::{self, Kind, Node, join};
use super::{Config, explain};

/// Every key with its type, default and meaning, as the Markdown of `docs/configuration.md`.
pub fn reference_markdown() -> String {
    let schema = keys::schema();
    let root = Node::root(&schema);
    let defaults: std::collections::BTreeMap<String, String> =
        explain::explain(&Config::default()).into_iter().map(|row| (row.key, row.value)).collect();
    let mut out = String::from(INTRODUCTION);
    let mut top = Vec::new();
    for name in root.names() {
        let Some(node) = root.child(name) else { continue };
        if node.names().is_empty() && node.kind() != Kind::Table {
            top.push((name, node));
        }
    }
    table_head(&mut out, "Top level", "");
    for (name, node) in &top {
        row(&mut out, name, *node, &defaults);
    }
    for name in root.names() {
        let Some(node) = root.child(name) else { continue };
        if top.iter().any(|(known, _)| *known == name) {
            continue;
        }
        table_head(&mut out, &format!("`[{name}]`"), node.description());
        rows(&mut out, name, node, &defaults);
    }
    out
}

const INTRODUCTION: &str = "# Configuration\n\n\
One file, `sre.toml`, overridden key by key by the environment (`SRE__SECTION__KEY`) and by flags. \
`$env(NAME)` and `$env(NAME:-fallback)` are replaced inside texts of the file. An unknown key is an error. \
`sre config check` validates, `sre config print` shows every value and where it came from.\n\n\
This page is generated from the code.\n";

type Defaults = std::collections::BTreeMap<String, String>;

fn table_head(out: &mut String, title: &str, description: &str) {
    let description = description.replace('\n', " ");
    let gap = if description.is_empty() { "" } else { "\n\n" };
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "\n## {title}\n\n{description}{gap}| key | type | default | meaning |\n|---|---|---|---|\n"
    );
}

fn rows(out: &mut String, prefix: &str, node: Node<'_>, defaults: &Defaults) {
    let names = node.names();
    if let (true, Some(child)) = (node.is_by_role(), names.first().and_then(|name| node.child(name))) {
        let key = join(prefix, "<role>");
        return match child.names().is_empty() {
            true => row(out, &key, child, defaults),
            false => rows(out, &key, child, defaults),
        };
    }
    if names.is_empty() {
        let item = node.child("*").unwrap_or(node);
        row(out, &join(prefix, "<name>"), item, defaults);
        if item.kind() == Kind::Table {
            rows_below(out, &join(prefix, "<name>"), item, defaults);
        }
        return;
    }
    for name in names {
        let key = join(prefix, name);
        let Some(child) = node.child(name) else { continue };
        if child.kind() == Kind::Table && !child.names().is_empty() {
            rows(out, &key, child, defaults);
        } else {
            row(out, &key, child, defaults);
            rows_below(out, &key, child, defaults);
        }
    }
}

/// The keys of maps' and lists' tables.
fn rows_below(out: &mut String, key: &str, node: Node<'_>, defaults: &Defaults) {
    let (suffix, inner) = match (node.item(), node.child("*")) {
        (Some(item), _) => ("[]", item),
        (None, Some(value)) if node.names().is_empty() => (".<name>", value),
        _ => return,
    };
    for name in inner.names() {
        if let Some(child) = inner.child(name) {
            row(out, &format!("{key}{suffix}.{name}"), child, defaults);
        }
    }
}

fn row(out: &mut String, key: &str, node: Node<'_>, defaults: &Defaults) {
    let words = node.words();
    let kind = match node.kind() {
        _ if !words.is_empty() => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Text => "text".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::List => "list".to_owned(),
        Kind::Table => "table".to_owned(),
        Kind::Any => "any".to_owned(),
    };
    let default = defaults.get(key).map(|value| format!("`{value}`")).unwrap_or_default();
    let meaning = node.description().replace('\n', " ").replace('|', "\\|");
    let _ = writeln!(out, "| `{key}` | {kind} | {default} | {meaning} |");
}
