//! `sre.llm.v1`: models are everybody's; only credentials can be wrong.

use anyhow::ensure;
use sre_proto::llm::v1::*;

use super::super::case::Case;

pub fn inference(method: &str) -> Option<Case> {
    let said = ChatMessage { role: ChatRole::User.into(), text: "hello".into(), ..ChatMessage::default() };
    let request =
        GenerateRequest { model: "Echo".into(), messages: vec![said], ..GenerateRequest::default() };
    match method {
        "Generate" => Some(Case::of(&request).open().answers(|answer: GenerateResponse| {
            ensure!(answer.text.contains("hello"), "{answer:?}");
            Ok(())
        })),
        "GenerateStream" => {
            let request = GenerateStreamRequest { request: Some(request) };
            Some(Case::of(&request).open().streams(|events: Vec<GenerateEvent>| {
                let last = events.last().and_then(|event| event.event.clone());
                let Some(generate_event::Event::Finished(answer)) = last else { anyhow::bail!("{events:?}") };
                ensure!(answer.text.contains("hello"), "{answer:?}");
                Ok(())
            }))
        }
        "Embed" => Some(Case::of(&embed()).open().answers(embedded)),
        "EmbedUnkeyed" => {
            let request = EmbedUnkeyedRequest { request: Some(embed()) };
            Some(Case::of(&request).services("io", "io").answers(embedded))
        }
        _ => None,
    }
}

fn embed() -> EmbedRequest {
    EmbedRequest { model: "hash-embedding".into(), texts: vec!["hello".into()], ..EmbedRequest::default() }
}

fn embedded(answer: EmbedResponse) -> anyhow::Result<()> {
    ensure!(answer.embeddings.len() == 1 && answer.embeddings[0].values.len() == 384, "{answer:?}");
    Ok(())
}

pub fn models(method: &str) -> Option<Case> {
    match method {
        "ListModels" => {
            Some(Case::of(&ListModelsRequest::default()).open().answers(|list: ListModelsResponse| {
                ensure!(list.models.iter().any(|model| model.name == "models/Echo"), "{list:?}");
                Ok(())
            }))
        }
        "GetModel" => {
            Some(Case::of(&GetModelRequest { name: "models/Echo".into() }).open().answers(|model: Model| {
                ensure!(model.usable, "{model:?}");
                Ok(())
            }))
        }
        _ => None,
    }
}
