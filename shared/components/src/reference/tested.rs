//! Which types tests name. A type counts as tested if a test file of a declared place, or the tests below a source,
//! has its name as a text of its own: `"FHash"`.

use std::path::Path;

/// The places: of sources only what follows `#[cfg(test)]` counts, of folders of tests all.
pub const PLACES: &[&str] = &[
    "shared/components/src/components",
    "shared/components/tests",
    "shared/engine/tests",
    "tests/tests/suite",
];

/// Tests that name every type whether it is tested or not.
const NAME_ALL: &[&str] = &["examples.rs"];

/// The texts of all tests.
pub struct Tests(Vec<String>);

impl Tests {
    /// Reads them below a project's folder.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn read(root: &Path) -> std::io::Result<Self> {
        let mut texts = Vec::new();
        for place in PLACES {
            let folder = root.join(place);
            if folder.is_dir() {
                collect(&folder, place.contains("/src/"), &mut texts)?;
            }
        }
        Ok(Self(texts))
    }

    /// Whether one of them names the type.
    pub fn name(&self, type_name: &str) -> bool {
        let quoted = format!("\"{type_name}\"");
        self.0.iter().any(|text| text.contains(&quoted))
    }
}

fn collect(folder: &Path, is_source: bool, texts: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, is_source, texts)?;
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !name.ends_with(".rs") || NAME_ALL.contains(&name) {
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let tests = match is_source && name != "tests.rs" {
            true => text.split_once("#[cfg(test)]").map(|(_, tests)| tests.to_owned()),
            false => Some(text),
        };
        texts.extend(tests);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_count() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join(PLACES[0]);
        std::fs::create_dir_all(&source).unwrap();
        std::fs::write(source.join("a.rs"), "static A: &str = \"One\";\n#[cfg(test)]\nmod tests { \"Two\" }")
            .unwrap();
        let suite = folder.path().join(PLACES[1]);
        std::fs::create_dir_all(suite.join("deeper")).unwrap();
        std::fs::write(suite.join("deeper/b.rs"), "run(\"Three\")").unwrap();
        std::fs::write(suite.join("examples.rs"), "run(\"Four\")").unwrap();
        let tests = Tests::read(folder.path()).unwrap();
        let named = ["One", "Two", "Three", "Four"].map(|name| tests.name(name));
        assert_eq!(named, [false, true, true, false]);
    }
}
