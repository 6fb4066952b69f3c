//! What a model gives.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sre_engine::data::binary as binaries;
use sre_engine::value::{Map, Value};

use crate::context::Call;
use crate::egress::Response;
use crate::page;

/// The answer as a value; files are stored.
pub(super) async fn value(call: Call<'_>, answer: Response) -> Result<Value, String> {
    let media = page::media_type(&answer.headers);
    if media == "application/json" || media.ends_with("+json") {
        let json: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| "Error from Hugging Face: \nthe answer is no JSON".to_owned())?;
        return with_files(call, json).await;
    }
    if media.starts_with("text/") {
        return Ok(Value::from(page::decode(&answer.headers, &answer.body)));
    }
    let told = Some(media.as_str()).filter(|media| !media.is_empty());
    store(call, told, answer.body.to_vec()).await
}

/// Items of a list may hold bytes under `blob`.
async fn with_files(call: Call<'_>, json: Value) -> Result<Value, String> {
    let Some(items) = json.as_array() else { return Ok(json) };
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        let blob = item.get("blob").and_then(Value::as_str).and_then(|text| STANDARD.decode(text).ok());
        let (Some(bytes), Some(members)) = (blob, item.as_object()) else {
            out.push(item.clone());
            continue;
        };
        let told = ["content-type", "content_type"].iter().find_map(|name| item.get(name)?.as_str());
        let mut members: Map = members.clone();
        members.insert("blob".into(), store(call, told, bytes).await?);
        out.push(Value::object(members));
    }
    Ok(Value::array(out))
}

async fn store(call: Call<'_>, told: Option<&str>, bytes: Vec<u8>) -> Result<Value, String> {
    let name = format!("{}-huggingface", sre_proto::ids::new_id());
    let binary = binaries::binary(&name, told, bytes.into());
    call.context.store_temp(&binary).await.map_err(|error| error.message)
}
