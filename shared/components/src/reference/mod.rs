//! The reference of component types: a page each and an index, all from what the types declare.

mod page;
mod tested;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sre_engine::spec::ComponentSpec;

use crate::registry::registry;

pub use tested::PLACES as TEST_PLACES;

/// Folder of the pages, below the project's.
pub const PAGES: &str = "docs/components";
/// Folder of the example agents.
pub const EXAMPLES: &str = "examples/components";
/// The skill of an example that reaches its component.
pub const SKILL: &str = "demo";

const HEAD: &str = "# Component types\n\n\
    Made by `sre docs components` from what the types declare; `sre docs components --check` tells whether these\n\
    pages are current, and whether every type has its descriptions, an example and a test.\n\n\
    | type | what it does | effect |\n|---|---|---|\n";

/// The pages by their path below the project's folder, the index among them.
///
/// # Errors
/// If an example cannot be read.
pub fn pages(root: &Path) -> std::io::Result<BTreeMap<PathBuf, String>> {
    let mut pages = BTreeMap::new();
    let mut index = HEAD.to_owned();
    for spec in sorted() {
        let example = match std::fs::read_to_string(root.join(example(spec))) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        pages.insert(path(spec), page::page(spec, example.as_deref()));
        let _ = writeln!(
            index,
            "| [{0}]({0}.md){1} | {2} | {3} |",
            spec.name,
            page::aliases(spec),
            page::sentence(spec.description),
            page::effect_word(spec.effect)
        );
    }
    pages.insert(PathBuf::from(PAGES).join("README.md"), index);
    Ok(pages)
}

fn sorted() -> Vec<&'static ComponentSpec> {
    let mut specs: Vec<_> = registry().specs().collect();
    specs.sort_by_key(|spec| spec.name.to_lowercase());
    specs
}

fn path(spec: &ComponentSpec) -> PathBuf {
    PathBuf::from(PAGES).join(format!("{}.md", spec.name))
}

/// Where a type's example is, below the project's folder.
pub fn example(spec: &ComponentSpec) -> PathBuf {
    PathBuf::from(EXAMPLES).join(format!("{}.smyth", spec.name))
}

/// What is missing or stale, one line each; empty if all is well.
///
/// # Errors
/// If a file cannot be read.
pub fn problems(root: &Path) -> std::io::Result<Vec<String>> {
    let mut found: Vec<String> = sorted().into_iter().flat_map(descriptions).collect();
    for spec in sorted() {
        if let Err(why) = check_example(root, spec) {
            found.push(format!("{}: {why}", spec.name));
        }
    }
    let tests = tested::Tests::read(root)?;
    for spec in sorted().into_iter().filter(|spec| !tests.name(spec.name)) {
        found.push(format!(
            "{0}: no test names it: write one that has \"{0}\" in it, below {1}",
            spec.name,
            TEST_PLACES.join(", ")
        ));
    }
    let pages = pages(root)?;
    for (path, text) in &pages {
        let committed = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        if committed != *text {
            found.push(format!("{}: it is stale: run `sre docs components`", path.display()));
        }
    }
    for entry in std::fs::read_dir(root.join(PAGES)).into_iter().flatten().flatten() {
        let path = PathBuf::from(PAGES).join(entry.file_name());
        if !pages.contains_key(&path) {
            found.push(format!("{}: there is no such type: remove it", path.display()));
        }
    }
    Ok(found)
}

/// What a type leaves undescribed.
pub fn descriptions(spec: &'static ComponentSpec) -> Vec<String> {
    let mut missing = Vec::new();
    let mut want = |what: String, text: &str| {
        if text.trim().is_empty() {
            missing.push(format!("{}: {what} has no description", spec.name));
        }
    };
    want("the type".to_owned(), spec.description);
    spec.settings.iter().for_each(|it| want(format!("the setting {}", it.name), it.description));
    spec.inputs.iter().for_each(|it| want(format!("the input {}", it.name), it.description));
    spec.outputs.iter().for_each(|it| want(format!("the output {}", it.name), it.description));
    missing
}

/// Checks a type's example: an agent that compiles, with a skill that reaches a component of the type.
fn check_example(root: &Path, spec: &ComponentSpec) -> Result<(), String> {
    let path = example(spec);
    let shown = path.display();
    let text = std::fs::read_to_string(root.join(&path))
        .map_err(|error| format!("the example {shown} cannot be read: {error}"))?;
    let document: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| format!("the example {shown} is no JSON: {error}"))?;
    let plan = sre_engine::compile(&document, registry()).map_err(|issues| {
        let first = issues.iter().find(|issue| issue.is_error()).map(|issue| issue.message.clone());
        format!("the example {shown} does not compile: {}", first.unwrap_or_default())
    })?;
    let entry = plan
        .route("POST", &format!("/api/{SKILL}"))
        .map_err(|_| format!("the example {shown} has no skill '{SKILL}'"))?;
    let is_type = |name: &str| name == spec.name || spec.aliases.contains(&name);
    if !plan.reached(entry).any(|node| is_type(&node.type_name)) {
        // A note is no part of the workflow, and a trigger a beginning of its own: there it is enough that it is drawn.
        let drawn = plan.nodes().iter().any(|node| is_type(&node.type_name));
        let stands_alone = matches!(spec.flow, sre_engine::Flow::Inert | sre_engine::Flow::Trigger);
        if !stands_alone || !drawn {
            return Err(format!("the skill '{SKILL}' of {shown} reaches no {}", spec.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn every_type_has_descriptions_an_example_a_test_and_a_current_page() {
        let problems = problems(&root()).unwrap();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn what_is_missing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let told = problems(folder.path()).unwrap();
        for what in [
            "FHash: the example examples/components/FHash.smyth cannot be read",
            "FHash: no test names it",
            "docs/components/FHash.md: it is stale",
            "docs/components/README.md: it is stale",
        ] {
            assert!(told.iter().any(|line| line.starts_with(what)), "{what} in {told:#?}");
        }
    }

    #[test]
    fn an_example_must_compile_and_reach_its_type() {
        let folder = tempfile::tempdir().unwrap();
        let spec = registry().spec("FHash").unwrap();
        std::fs::create_dir_all(folder.path().join(EXAMPLES)).unwrap();
        let endpoint = |name: &str| {
            serde_json::json!({"version": "1.0.0", "components": [{"id": "e", "name": "APIEndpoint",
                "data": {"endpoint": name, "method": "POST"}, "inputs": [], "outputs": []}], "connections": []})
        };
        for (text, why) in [
            ("{".to_owned(), "is no JSON"),
            ("{}".to_owned(), "does not compile"),
            (endpoint("other").to_string(), "has no skill 'demo'"),
            (endpoint("demo").to_string(), "reaches no FHash"),
        ] {
            std::fs::write(folder.path().join(example(spec)), text).unwrap();
            let told = check_example(folder.path(), spec).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn an_undescribed_setting_or_port_is_told() {
        use sre_engine::spec::{PortSpec, SettingSpec};
        static BARE: ComponentSpec = ComponentSpec::new("Bare", "")
            .settings(&[SettingSpec::boolean("flag", "Flag")])
            .inputs(&[PortSpec::new("In", "Any", "")])
            .outputs(&[PortSpec::new("Out", "Any", " ")]);
        let told = descriptions(&BARE);
        assert_eq!(
            told,
            [
                "Bare: the type has no description",
                "Bare: the setting flag has no description",
                "Bare: the input In has no description",
                "Bare: the output Out has no description",
            ]
        );
    }
}
