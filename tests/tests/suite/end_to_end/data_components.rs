//! Components that remember, publish and find, in a running suite: as their agent, with what their plans declare.

use reqwest::StatusCode;
use serde_json::{Value, json};
use sre_proto::io::v1::{ListFilesRequest, WriteFileHeader, WriteFileRequest, write_file_request::Part};
use sre_proto::memory::v1::GetEntryRequest;

use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::clients::Client;
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(data_components);

const AGENT: &str = "teams/default/agents/keeper";
const OTHER: &str = "teams/default/agents/other";

async fn data_components(mode: Mode) {
    let suite = Suite::start("data-components", mode, Options::default()).await;
    let dev = suite.client("user/dev");
    dev.put(AGENT, &keeper("keeper")).await.unwrap();
    dev.put(OTHER, &keeper("other")).await.unwrap();
    // What an agent keeps is its own to see.
    let itself = suite.client("agent/keeper");
    remembers(&dev, &itself).await;
    publishes(&dev, &itself).await;
    finds(&dev).await;
    d49_reads_as_itself(&dev).await;
    suite.stop().await;
}

fn keeper(id: &str) -> Value {
    let memory = json!({"memoryName": "notes", "key": "{{key}}", "value": "{{value}}"});
    let typed = |id: &str, kind: &str, type_name: &str, input: &str, out: &str| {
        let mut record = component(id, kind, json!({}), &[input], &[out]);
        record["inputs"][0]["type"] = json!(type_name);
        record
    };
    let index = json!({"namespace": "default_my_docs", "id": "{{id}}", "name": "Manual", "chunkSize": 60,
        "chunkOverlap": 0, "metadata": "{\"kind\":\"manual\"}"});
    let look = json!({"namespace": "my_docs", "topK": 1, "includeMetadata": true, "includeCitations": true});
    let mut components = vec![
        endpoint("write", "POST", &[("key", "Text"), ("value", "Any")]),
        component("remember", "MemoryWriteKeyVal", memory.clone(), &["key", "value"], &["Key"]),
        endpoint("read", "POST", &[("key", "Text")]),
        component("recall", "MemoryReadKeyVal", memory, &["key"], &["Value"]),
        endpoint("publish", "POST", &[("text", "Any")]),
        component("store", "FileStore", json!({"name": "note", "ttl": 60}), &["Data"], &["Url"]),
        endpoint("index", "POST", &[("text", "Any"), ("id", "Text")]),
        component("keep", "DataSourceIndexer", index, &["Source", "id"], &["Success"]),
        // Not `query`: an endpoint has an output of that name, the request's own.
        endpoint("look", "POST", &[("wanted", "Text")]),
        component("find", "DataSourceLookup", look, &["Query"], &["Results"]),
        endpoint("clean", "POST", &[("id", "Text")]),
        component(
            "forget",
            "DataSourceCleaner",
            json!({"namespaceId": "my_docs", "id": "{{id}}"}),
            &["id"],
            &["Success"],
        ),
        endpoint("extract", "POST", &[("file", "Any")]),
        typed("doc", "DocumentExtractor", "Binary", "Document", "Text"),
        endpoint("host", "POST", &[("text", "Any")]),
        component("hosting", "ComponentHost", json!({"_component": "FileStore"}), &["Data"], &["Url"]),
    ];
    let mut connections = vec![
        "write.key > remember.key",
        "write.value > remember.value",
        "read.key > recall.key",
        "publish.text > store.Data",
        "index.text > keep.Source",
        "index.id > keep.id",
        "look.wanted > find.Query",
        "clean.id > forget.id",
        "extract.file > doc.Document",
        "host.text > hosting.Data",
    ];
    // Inputs of each type that may stand for a file.
    let kinds = ["Text", "String", "Binary", "Image", "Audio", "Video"];
    let names: Vec<[String; 4]> = kinds
        .iter()
        .map(|kind| {
            [format!("as-{kind}"), format!("out{kind}"), format!("as-{kind}.f > out{kind}.f"), (*kind).into()]
        })
        .collect();
    for [skill, out, link, kind] in &names {
        let mut answer = output(out, &["f"]);
        answer["inputs"][0]["type"] = json!(kind);
        components.extend([endpoint(skill, "POST", &[("f", "Any")]), answer]);
        connections.push(link);
    }
    document(id, json!({}), &components, &connections)
}

async fn remembers(dev: &Client, itself: &Client) {
    for value in [json!({"a": [1, "x"]}), json!(5), json!("he said \"hi\"")] {
        let wrote = dev.answer(AGENT, "write", &json!({"key": "k", "value": value})).await.unwrap();
        assert_eq!(wrote["result"], json!({"Key": "k"}), "{wrote}");
        let read = dev.answer(AGENT, "read", &json!({"key": "k"})).await.unwrap();
        assert_eq!(read["result"], json!({"Value": value}));
    }
    // Another agent's memory is another one, and the entry is the agent's own.
    let other = dev.answer(OTHER, "read", &json!({"key": "k"})).await.unwrap();
    assert_eq!(other["result"], json!({"_warning": "key not found"}));
    let request =
        GetEntryRequest { name: format!("{AGENT}/cache/memory/agent/notes/k"), ..Default::default() };
    let entry = itself.cache().get_entry(request).await.unwrap().into_inner();
    let left = entry.ttl_ms.unwrap();
    assert!(entry.found && (10_700_000..=10_800_000).contains(&left), "{left}");
}

async fn publishes(dev: &Client, itself: &Client) {
    for skill in ["publish", "host"] {
        let answer = dev.answer(AGENT, skill, &json!({"text": "hello"})).await.unwrap();
        let url = answer["result"]["Url"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let fetched = reqwest::get(url).await.unwrap();
        assert_eq!((fetched.status(), fetched.text().await.unwrap().as_str()), (StatusCode::OK, "hello"));
    }
    // Nothing but the files themselves is kept, and they end.
    let request = ListFilesRequest { parent: format!("{AGENT}/files"), ..Default::default() };
    let files = itself.storage().list_files(request).await.unwrap().into_inner().files;
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files.iter().all(|file| file.name.contains("/components_data/") && file.expire_time.is_some()));
}

async fn finds(dev: &Client) {
    let unknown = dev.answer(AGENT, "look", &json!({"wanted": "x"})).await.unwrap();
    assert_eq!(unknown["result"]["_error"], "Namespace my_docs does not exist", "{unknown}");
    let text = "The pump must be primed before use.\n\nBatteries are charged over night.";
    for _ in 0..2 {
        let done = dev.answer(AGENT, "index", &json!({"text": text, "id": "manual"})).await.unwrap();
        assert_eq!(done["result"]["Success"], json!({"result": true, "id": "manual"}), "{done}");
    }
    let found = dev.answer(AGENT, "look", &json!({"wanted": "how are batteries charged"})).await.unwrap();
    let place = json!({"id": "manual", "source": "Manual", "page": null, "start": 37, "end": 70});
    let hit = json!({"content": "Batteries are charged over night.", "metadata": {"kind": "manual"}, "citation": place});
    assert_eq!(found["result"]["Results"], json!([hit]), "{found}");
    // The namespace is the team's: another agent finds the same, and forgets it.
    let pdf = include_bytes!("../../../../shared/documents/tests/fixtures/two-pages.pdf");
    write(dev, AGENT, "two.pdf", "application/pdf", pdf).await;
    let file = "smythfs://keeper.agent/two.pdf";
    let done = dev.answer(AGENT, "index", &json!({"text": file, "id": "manual"})).await.unwrap();
    assert_eq!(done["result"]["Success"]["result"], true, "{done}");
    let found = dev.answer(OTHER, "look", &json!({"wanted": "The second page."})).await.unwrap();
    let hit = &found["result"]["Results"][0];
    assert_eq!((&hit["citation"]["page"], &hit["citation"]["source"]), (&json!(2), &json!(file)), "{found}");
    let forgot = dev.answer(OTHER, "clean", &json!({"id": "manual"})).await.unwrap();
    assert_eq!(forgot["result"], json!({"Success": true}), "{forgot}");
    let found = dev.answer(AGENT, "look", &json!({"wanted": "The second page."})).await.unwrap();
    assert_eq!(found["result"], json!({"Results": []}));
}

/// A file of another agent, whatever it is given as, is not the running agent's to read.
async fn d49_reads_as_itself(dev: &Client) {
    write(dev, OTHER, "secret.txt", "text/plain", b"not yours").await;
    let address = "smythfs://other.agent/secret.txt";
    let object = json!({"url": address, "mimetype": "text/plain", "size": 9, "name": "secret.txt"});
    for kind in ["Binary", "Image", "Audio", "Video"] {
        let answer = dev.answer(AGENT, &format!("as-{kind}"), &json!({"f": address})).await.unwrap();
        assert!(answer.to_string().contains("Access Denied"), "{kind}: {answer}");
        let own = dev.answer(OTHER, &format!("as-{kind}"), &json!({"f": address})).await.unwrap();
        assert!(!own.to_string().contains("Access Denied"), "{kind}: {own}");
    }
    for kind in ["Text", "String"] {
        let answer = dev.answer(AGENT, &format!("as-{kind}"), &json!({"f": object})).await.unwrap();
        assert!(answer.to_string().contains("Access Denied"), "{kind}: {answer}");
        let own = dev.answer(OTHER, &format!("as-{kind}"), &json!({"f": object})).await.unwrap();
        assert!(own.to_string().contains("data:text/plain;base64,"), "{kind}: {own}");
    }
    for skill in ["publish", "extract", "index"] {
        for given in [
            json!(address),
            object.clone(),
            json!("smythfs://nobody.agent/x"),
            json!("smythfs://default.team/other/_temp/x"),
        ] {
            let field = if skill == "extract" { "file" } else { "text" };
            let answer = dev.answer(AGENT, skill, &json!({field: given, "id": "x"})).await.unwrap();
            assert!(answer.to_string().contains("Access Denied"), "{skill} {given}: {answer}");
            assert!(!answer.to_string().contains("not yours"), "{skill} {given}: {answer}");
        }
    }
    let own = dev.answer(OTHER, "extract", &json!({"file": address})).await.unwrap();
    assert_eq!(own["result"]["Text"], "not yours", "{own}");
}

async fn write(dev: &Client, agent: &str, name: &str, mimetype: &str, data: &[u8]) {
    let header = WriteFileHeader {
        name: format!("{agent}/files/{name}"),
        mimetype: mimetype.into(),
        ..WriteFileHeader::default()
    };
    let parts = [Part::Header(header), Part::Data(data.to_vec().into())];
    let parts: Vec<WriteFileRequest> = parts.map(|part| WriteFileRequest { part: Some(part) }).into();
    dev.storage().write_file(tokio_stream::iter(parts)).await.unwrap();
}
