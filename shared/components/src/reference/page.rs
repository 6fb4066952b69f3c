//! The page of one type.

use std::fmt::Write as _;

use sre_engine::spec::{ComponentSpec, Effect, Flow, OnUncertain, PortSpec, SettingKind, SettingSpec, Waits};

/// The page; `example` is the text of the type's example agent.
pub fn page(spec: &ComponentSpec, example: Option<&str>) -> String {
    let mut out = format!("# {}\n\n{}.", spec.name, sentence(spec.description));
    if !spec.aliases.is_empty() {
        let _ = write!(out, " Agents may also call it `{}`.", spec.aliases.join("`, `"));
    }
    out.push_str("\n\n");
    let _ = writeln!(out, "**Effect.** {}", effect(spec));
    if spec.waits == Waits::Durably {
        out.push_str("It may wait long: the run leaves memory meanwhile and goes on where it was.\n");
    }
    settings(spec, &mut out);
    if spec.flow == Flow::Inert {
        example_of(spec, example, &mut out);
        return out;
    }
    ports("Inputs", "An author may add inputs of any name.", spec.inputs, &mut out);
    ports("Outputs", "An author may add outputs with a path into the result.", spec.outputs, &mut out);
    services(spec, &mut out);
    errors(spec, &mut out);
    limits(spec, &mut out);
    example_of(spec, example, &mut out);
    out
}

/// The other names of a type, in brackets.
pub fn aliases(spec: &ComponentSpec) -> String {
    match spec.aliases {
        [] => String::new(),
        names => format!(" ({})", names.join(", ")),
    }
}

/// A description as a sentence begins it, fit for a cell of a table.
pub fn sentence(text: &str) -> String {
    let text = cell(text.trim().trim_end_matches('.'));
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// What executing it does to the world, in a word.
pub fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Pure => "pure",
        Effect::Read => "read",
        Effect::Effect => "effect",
    }
}

fn effect(spec: &ComponentSpec) -> String {
    let text = match (spec.flow, spec.effect) {
        (Flow::Inert, _) => "none: it never runs.",
        (_, Effect::Pure) => "pure: the same input gives the same output, and nothing changes.",
        (_, Effect::Read) => "read: nothing changes, but the output may differ from time to time.",
        (_, Effect::Effect) => {
            "effect: it may change or cost something. It starts once its intent is durable"
        }
    };
    if spec.effect != Effect::Effect {
        return text.to_owned();
    }
    let policy = match spec.on_uncertain {
        OnUncertain::Retry => "it is started again under the same key",
        OnUncertain::LookUp => "it finds out whether it happened",
        OnUncertain::Fail => "it fails and is never started twice",
        OnUncertain::Ask => "people are asked",
    };
    let reads = spec.reads_with.map_or_else(String::new, |(setting, values)| {
        let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
        format!(
            "\nWith `{setting}` {} it only reads: nothing has to be durable before it, unless `{}` is set.",
            values.join(", "),
            OnUncertain::SETTING
        )
    });
    format!("{text};\nwhere an engine dies meanwhile, {policy} (setting `{}`).{reads}", OnUncertain::SETTING)
}

fn settings(spec: &ComponentSpec, out: &mut String) {
    if spec.settings.is_empty() {
        return;
    }
    out.push_str("\n## Settings\n\n| setting | holds | default | what it does |\n|---|---|---|---|\n");
    for setting in spec.settings {
        let required = if setting.required { ", required" } else { "" };
        let default = setting.default.map(|text| format!("`{text}`")).unwrap_or_default();
        let template = if setting.template { " (a template)" } else { "" };
        let _ = writeln!(
            out,
            "| `{}` | {}{required} | {} | {}{template} |",
            setting.name,
            cell(&holds(setting)),
            cell(&default),
            cell(setting.description)
        );
    }
}

fn holds(setting: &SettingSpec) -> String {
    match setting.kind {
        SettingKind::Text { max_len: 0, .. } => "text".to_owned(),
        SettingKind::Text { max_len, .. } => format!("text of up to {max_len} characters"),
        SettingKind::Pattern { regex, max_len: 0 } => format!("text like `{regex}`"),
        SettingKind::Pattern { regex, max_len } => format!("text like `{regex}`, up to {max_len} characters"),
        SettingKind::Number { min, max, integer } => {
            let kind = if integer { "whole number" } else { "number" };
            match (min > f64::MIN, max < f64::MAX) {
                (true, true) => format!("{kind} from {min} to {max}"),
                (true, false) => format!("{kind} from {min}"),
                (false, true) => format!("{kind} up to {max}"),
                (false, false) => kind.to_owned(),
            }
        }
        SettingKind::Boolean => "`true` or `false`".to_owned(),
        SettingKind::Enum(names) => {
            let names = names.iter().filter(|name| !name.is_empty()).map(|name| format!("`{name}`"));
            names.collect::<Vec<_>>().join(", ")
        }
        SettingKind::Any => "anything".to_owned(),
    }
}

fn ports(title: &str, without: &str, ports: &[PortSpec], out: &mut String) {
    let _ = write!(out, "\n## {title}\n\n");
    if ports.is_empty() {
        let _ = writeln!(out, "None of its own. {without}");
        return;
    }
    let _ = writeln!(
        out,
        "| {} | type | what it carries |\n|---|---|---|",
        title.trim_end_matches('s').to_lowercase()
    );
    for port in ports {
        let optional = if port.optional { ", optional" } else { "" };
        let _ =
            writeln!(out, "| `{}` | {}{optional} | {} |", port.name, port.type_name, cell(port.description));
    }
}

fn services(spec: &ComponentSpec, out: &mut String) {
    out.push_str("\n## Services\n\n");
    if spec.scopes.is_empty() {
        out.push_str("It calls none.\n");
    }
    for scope in spec.scopes {
        let _ = writeln!(out, "- `{scope}`");
    }
}

fn errors(spec: &ComponentSpec, out: &mut String) {
    out.push_str("\n## Errors\n\n");
    if spec.errors.is_empty() && !validated(spec) {
        return out.push_str("It has none of its own: an input of a wrong type fails before it runs.\n");
    }
    if validated(spec) {
        out.push_str("- `Schema Validation error: …`: a setting is not as above\n");
    }
    for error in spec.errors {
        let _ = writeln!(out, "- {error}");
    }
}

fn validated(spec: &ComponentSpec) -> bool {
    (spec.validate_settings && !spec.settings.is_empty()) || spec.effect == Effect::Effect
}

fn limits(spec: &ComponentSpec, out: &mut String) {
    out.push_str("\n## Limits\n\n");
    for limit in spec.limits {
        let _ = writeln!(out, "- {limit}");
    }
    out.push_str("- what it gives may take 64 MiB; a run has a time and a budget of its own\n");
}

fn example_of(spec: &ComponentSpec, example: Option<&str>, out: &mut String) {
    let Some(text) = example else { return };
    let document: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let says = |key: &str| document[key].as_str().map(|text| text.trim_end_matches('.').to_owned());
    let _ = write!(out, "\n## Example\n\n[{0}.smyth](../../examples/components/{0}.smyth)", spec.name);
    if let Some(what) = says("shortDescription") {
        let _ = write!(out, ": {}", what.replace('\n', " "));
    }
    let _ = write!(out, ".\n\n```sh\nsre agent examples/components/{}.smyth --skill demo\n```\n", spec.name);
    if let Some(needs) = says("needs") {
        let _ = writeln!(out, "\nIt needs {needs}.");
    }
}
