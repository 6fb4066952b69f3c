//! Datasources of the reference's Pinecone and Milvus connectors: they kept each as a record with its text among the
//! values of the namespace `vectorDB:<connector>:namespaces:<name>:datasources`. The texts are embedded again, for
//! the vectors of another store cannot be moved with their model unknown.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sre_proto::io::v1::create_datasource_request::Part;
use sre_proto::io::v1::{
    CreateDatasourceRequest, CreateVectorNamespaceRequest, DatasourceHeader, Embedding, VectorNamespace,
};
use tonic::Code;

use crate::client::Client;

/// Pieces of a text that are sent.
const PIECE_BYTES: usize = 256 << 10;

/// A datasource as the reference kept it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    id: String,
    namespace_id: String,
    candidate_id: String,
    candidate_role: String,
    name: String,
    metadata: Option<Value>,
    text: String,
    chunk_size: Option<i32>,
    chunk_overlap: Option<i32>,
}

/// Takes over every datasource below a folder's `nkv`; gives how many.
pub async fn import(client: &Client, folder: &Path, model: &str) -> Result<usize> {
    let mut records = BTreeMap::new();
    let nkv = folder.join("nkv");
    for file in files(&nkv)? {
        let Some(team) = team_of(&nkv, &file) else { continue };
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let record = Record::parse(&text).with_context(|| format!("{} is no datasource", file.display()))?;
        records.insert((record.namespace(&team), record.id.clone()), record);
    }
    for ((namespace, _), record) in &records {
        store(client, namespace, record, model).await.with_context(|| format!("datasource {}", record.id))?;
    }
    Ok(records.len())
}

async fn store(client: &Client, namespace: &str, record: &Record, model: &str) -> Result<()> {
    let embedding = Some(Embedding { model: model.to_owned(), ..Embedding::default() });
    let created = VectorNamespace { name: namespace.to_owned(), embedding, ..VectorNamespace::default() };
    let request = CreateVectorNamespaceRequest { namespace: Some(created), acl: None };
    match client.vectors().create_vector_namespace(request).await {
        Err(status) if status.code() != Code::AlreadyExists => return Err(status).context("its namespace"),
        _ => {}
    }
    let header = DatasourceHeader {
        name: format!("{namespace}/datasources/{}", record.id),
        label: record.name.clone(),
        metadata_json: record.metadata_json().into(),
        chunk_size: record.chunk_size.unwrap_or_default(),
        chunk_overlap: record.chunk_overlap,
        ..DatasourceHeader::default()
    };
    let mut parts = vec![Part::Header(header)];
    let mut rest = record.text.as_str();
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_BYTES));
        parts.push(Part::Text(piece.to_owned()));
        rest = after;
    }
    let messages = parts.into_iter().map(|part| CreateDatasourceRequest { part: Some(part) });
    client.vectors().create_datasource(tokio_stream::iter(messages.collect::<Vec<_>>())).await?;
    Ok(())
}

impl Record {
    /// A record, or its JSON text as a JSON string.
    fn parse(text: &str) -> Result<Self> {
        let value = match serde_json::from_str(text)? {
            Value::String(inner) => serde_json::from_str(&inner)?,
            value => value,
        };
        // A list would be read as the fields in their order.
        anyhow::ensure!(value.is_object(), "it is no JSON object");
        Ok(serde_json::from_value(value)?)
    }

    /// The metadata as an object: text that is none stands under `metadata`.
    fn metadata_json(&self) -> String {
        let read = |text: &str| serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
        match &self.metadata {
            None | Some(Value::Null) => json!({}),
            Some(Value::String(text)) if text.is_empty() => json!({}),
            Some(Value::String(text)) => read(text).unwrap_or_else(|| json!({"metadata": text})),
            Some(value) if value.is_object() => value.clone(),
            Some(value) => json!({"metadata": value}),
        }
        .to_string()
    }

    /// What the namespace is called here: its backend's name without what told whose it was.
    fn namespace(&self, team: &str) -> String {
        let id = &self.candidate_id;
        let letter = self.candidate_role.chars().next().unwrap_or('t');
        let digest = Sha256::digest(format!("{letter}_{id}"));
        let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let prefixes = [format!("c{short}_"), format!("{letter}_{id}_"), format!("{id}_")];
        let name = &self.namespace_id;
        let bare = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix.as_str())).unwrap_or(name);
        match self.candidate_role.as_str() {
            "agent" => format!("teams/{team}/agents/{id}/vectors/{bare}"),
            "user" => format!("teams/{team}/users/{id}/vectors/{bare}"),
            _ => format!("teams/{team}/vectors/{bare}"),
        }
    }
}

/// The team of a file below `team_<team>/vectorDB:<connector>:namespaces:<name>:datasources/`; none for other
/// values. Where a file system takes no colons, the parts are folders.
fn team_of(nkv: &Path, file: &Path) -> Option<String> {
    let below = file.strip_prefix(nkv).ok()?.to_str()?.replace(':', "/");
    let parts: Vec<&str> = below.split('/').collect();
    match parts.as_slice() {
        [team, "vectorDB", _, "namespaces", _, "datasources", _, ..] => {
            team.strip_prefix("team_").map(str::to_owned)
        }
        _ => None,
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(role: &str, id: &str, namespace: &str) -> Record {
        Record {
            candidate_role: role.into(),
            candidate_id: id.into(),
            namespace_id: namespace.into(),
            ..Record::default()
        }
    }

    /// services.md §3.2.2: the names that the reference gave its backends.
    #[test]
    fn namespaces_are_called_as_they_were() {
        for (role, id, namespace, name) in [
            ("user", "u1", "u_u1_my_docs", "teams/t/users/u1/vectors/my_docs"),
            ("user", "u1", "c87104c6f_my_docs", "teams/t/users/u1/vectors/my_docs"),
            ("team", "default", "c8a039f97_docs", "teams/t/vectors/docs"),
            ("team", "default", "default_docs", "teams/t/vectors/docs"),
            ("agent", "agent1", "c2de470f1_docs", "teams/t/agents/agent1/vectors/docs"),
            ("agent", "agent1", "other", "teams/t/agents/agent1/vectors/other"),
        ] {
            assert_eq!(record(role, id, namespace).namespace("t"), name);
        }
    }

    #[test]
    fn records_are_read_in_both_forms() {
        let text = r#"{"id":"d","namespaceId":"n","candidateId":"a","candidateRole":"agent","name":"N",
            "metadata":"{\"k\":1}","text":"x","vectorIds":["v"],"chunkSize":1000,"chunkOverlap":200}"#;
        let read = Record::parse(text).unwrap();
        assert_eq!(Record::parse(&Value::String(text.to_owned()).to_string()).unwrap(), read);
        assert_eq!((read.chunk_size, read.metadata_json().as_str()), (Some(1000), r#"{"k":1}"#));
        let plain = Record { metadata: Some(json!("plain")), ..Record::default() };
        assert_eq!(plain.metadata_json(), r#"{"metadata":"plain"}"#);
        assert!(Record::parse("[]").is_err());
    }

    #[test]
    fn only_datasources_are_taken() {
        let nkv = Path::new("/x/nkv");
        let team = |path: &str| team_of(nkv, &nkv.join(path));
        assert_eq!(team("team_t/vectorDB:milvus:namespaces:c1_docs:datasources/d").as_deref(), Some("t"));
        assert_eq!(team("team_t/vectorDB/pinecone/namespaces/n/datasources/d").as_deref(), Some("t"));
        assert_eq!(team("team_t/settings/d"), None);
        assert_eq!(team("team_t/vectorDB:namespaces/d"), None);
    }
}
