//! Model files: one, or a folder of them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use super::entry::entries_of;

/// Folders in folders are followed this deep.
const MAX_DEPTH: usize = 8;
/// Files beyond this many are left out.
const MAX_FILES: usize = 1000;
/// A larger file is left out.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Entries by name; later files win.
    pub models: BTreeMap<String, Value>,
    /// What was left out, and why.
    pub problems: Vec<String>,
}

/// Changes when a file is added, changed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint(Vec<(PathBuf, u64, Option<SystemTime>)>);

/// Reads all models below a path. Bad files and entries are left out; the others count.
pub fn scan(path: &Path) -> Scan {
    let mut scan = Scan::default();
    let (files, problems) = list(path);
    scan.problems = problems;
    for file in files {
        match read(&file) {
            Ok(document) => {
                let (models, problems) = entries_of(document);
                scan.models.extend(models);
                scan.problems
                    .extend(problems.into_iter().map(|problem| format!("{}: {problem}", file.display())));
            }
            Err(problem) => scan.problems.push(format!("{}: {problem}", file.display())),
        }
    }
    scan
}

/// The state of the files below a path, without reading them.
pub fn fingerprint(path: &Path) -> Fingerprint {
    let (files, _) = list(path);
    let state = files.into_iter().map(|file| match std::fs::metadata(&file) {
        Ok(found) => (file, found.len(), found.modified().ok()),
        Err(_) => (file, 0, None),
    });
    Fingerprint(state.collect())
}

fn read(file: &Path) -> Result<Value, String> {
    let length = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if length > MAX_FILE_BYTES {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes: split it"));
    }
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| format!("is not JSON: {error}"))
}

/// The file itself, or every `*.json` of the tree in order, without folders that begin with a dot.
fn list(path: &Path) -> (Vec<PathBuf>, Vec<String>) {
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    if path.is_file() {
        return (vec![path.to_owned()], problems);
    }
    if let Err(error) = walk(path, 0, &mut files) {
        problems.push(format!("{}: {error}", path.display()));
    }
    files.sort();
    if files.len() > MAX_FILES {
        problems
            .push(format!("{}: holds more than {MAX_FILES} files, the others are left out", path.display()));
        files.truncate(MAX_FILES);
    }
    (files, problems)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for item in std::fs::read_dir(folder)? {
        let item = item?;
        let path = item.path();
        if item.file_name().as_encoded_bytes().starts_with(b".") || files.len() > MAX_FILES {
            continue;
        }
        // Follows links: mounted configuration consists of them.
        if path.is_dir() && depth < MAX_DEPTH {
            walk(&path, depth + 1, files)?;
        } else if path.extension().is_some_and(|end| end == "json") && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_files_count_and_bad_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("a.json", r#"{"x": {"modelId": "x1"}, "bad": {"provider": "P"}, "worse": 3}"#);
        write("b/c.json", r#"{"modelId": "single", "provider": "P"}"#);
        write("z.json", r#"{"x": {"modelId": "x2"}, "n": {"modelId": "n", "provider": 4}}"#);
        write("broken.json", "{");
        write("list.json", "[]");
        write(".hidden/h.json", r#"{"h": {"modelId": "h"}}"#);
        write("note.txt", "{}");
        let scan = scan(dir.path());
        assert_eq!(scan.models.keys().collect::<Vec<_>>(), ["single", "x"]);
        assert_eq!(scan.models["x"]["modelId"], "x2");
        assert_eq!(scan.problems.len(), 5, "{:?}", scan.problems);
        assert!(scan.problems.iter().any(|problem| problem.contains("broken.json")));
    }

    #[test]
    fn a_change_changes_the_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.json");
        let empty = fingerprint(dir.path());
        std::fs::write(&file, "{}").unwrap();
        let one = fingerprint(dir.path());
        std::fs::write(&file, "{ }").unwrap();
        let two = fingerprint(dir.path());
        assert!(empty != one && one != two);
        assert_eq!(two, fingerprint(dir.path()));
        assert!(!scan(&dir.path().join("absent")).problems.is_empty());
    }
}
