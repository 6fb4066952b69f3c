//! The reference's values, `nkv/team_<team>/<namespace>/<key>`: one file each, its content the value as JSON.
//!
//! The reference made folders of colons and dots of characters that files do not have, and did not keep the names as
//! they were. So a name is what the folder says: folders joined by colons are the namespace, the last part is the key.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use sre_proto::io::v1::{KeyValue, SetValueRequest};
use tonic::Code;

use crate::client::Client;

/// Where the reference keeps values.
const FOLDER: &str = "nkv";
/// What a team's folder begins with.
const TEAM: &str = "team_";
/// What one value may hold.
const MAX_BYTES: u64 = 1 << 20;

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Values that are there now.
    pub imported: usize,
    /// Keys that were there already and are left as they are.
    pub there: usize,
    /// Files that are left, and why.
    pub left: Vec<String>,
}

/// Takes over the values of a `.smyth` folder.
pub async fn run(client: &Client, folder: &Path) -> Result<Values> {
    let mut values = Values::default();
    let folder = folder.join(FOLDER);
    if !folder.is_dir() {
        return Ok(values);
    }
    for (name, file) in files(&folder)? {
        match value(&file)? {
            Ok(value) => set(client, &name, value, &mut values).await?,
            Err(why) => values.left.push(format!("{}: {why}", file.display())),
        }
    }
    Ok(values)
}

async fn set(client: &Client, name: &str, value: Bytes, values: &mut Values) -> Result<()> {
    let value = KeyValue { name: name.to_owned(), value, ..KeyValue::default() };
    // A second import changes nothing.
    let request = SetValueRequest { value: Some(value), if_absent: true, ..SetValueRequest::default() };
    match client.nkv().set_value(request).await {
        Ok(_) => values.imported += 1,
        Err(status) if status.code() == Code::AlreadyExists => values.there += 1,
        Err(status) if status.code() == Code::InvalidArgument => {
            values.left.push(format!("{name}: {}", status.message()));
        }
        Err(status) => return Err(status).with_context(|| name.to_owned()),
    }
    Ok(())
}

/// Every file with the name of its value, in order.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for (team_folder, path) in entries(folder)? {
        let Some(team) = team_folder.strip_prefix(TEAM) else { continue };
        collect(&path, team, &mut Vec::new(), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(
    folder: &Path,
    team: &str,
    above: &mut Vec<String>,
    found: &mut Vec<(String, PathBuf)>,
) -> Result<()> {
    for (name, path) in entries(folder)? {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            above.push(name);
            collect(&path, team, above, found)?;
            above.pop();
        } else if !above.is_empty() {
            found.push((format!("teams/{team}/nkv/{}/keys/{name}", above.join(":")), path));
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry.with_context(|| folder.display().to_string())?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    Ok(found)
}

/// The content of a file, or why it is left.
fn value(file: &Path) -> Result<Result<Bytes, String>> {
    let size = fs::metadata(file).with_context(|| file.display().to_string())?.len();
    if size > MAX_BYTES {
        return Ok(Err(format!("is larger than {MAX_BYTES} bytes: store it as a file")));
    }
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    Ok(match serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
        Ok(_) => Ok(bytes.into()),
        Err(error) => Err(format!("is no JSON: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_namespaces_and_files_keys() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("team_red/ns/k", "1");
        write("team_red/a/b/k", "\"x\"");
        write("team_red/loose", "1");
        write("other/ns/k", "1");
        let names: Vec<_> = files(dir.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["teams/red/nkv/a:b/keys/k", "teams/red/nkv/ns/keys/k"]);
    }

    #[test]
    fn what_is_no_value_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "{\"a\": 1}").unwrap();
        assert_eq!(value(&file).unwrap().unwrap(), "{\"a\": 1}");
        fs::write(&file, "{").unwrap();
        assert!(value(&file).unwrap().is_err());
        fs::write(&file, vec![b'1'; 2 << 20]).unwrap();
        assert!(value(&file).unwrap().is_err());
    }
}
