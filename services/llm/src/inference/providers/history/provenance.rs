//! Whose signature something bears. What a provider signed is told apart by a mark in front of the signature that this
//! service writes, so that a history can go to another provider or model: that one never sees it.

use sre_proto::llm::v1 as pb;
use sre_proto::llm::v1::part::Part as Kind;

use crate::models::Resolved;

/// Between provider, model and signature. Signatures are base64, so the last one ends the mark.
const MARK: char = '|';

/// A signature with the mark of the model that made it.
pub fn seal(model: &Resolved, signature: &str) -> String {
    format!("{}{MARK}{}{MARK}{signature}", model.provider, model.model_id)
}

/// The signature, where this model made it.
pub fn unseal<'s>(model: &Resolved, sealed: &'s str) -> Option<&'s str> {
    let (maker, signature) = sealed.rsplit_once(MARK)?;
    let (provider, model_id) = maker.split_once(MARK)?;
    let is_own = provider.eq_ignore_ascii_case(&model.provider) && model_id == model.model_id;
    (is_own && !signature.is_empty()).then_some(signature)
}

/// A message without what another provider or model signed.
pub fn own(mut message: pb::ChatMessage, model: &Resolved) -> pb::ChatMessage {
    message.parts.retain(|part| match &part.part {
        Some(Kind::Thinking(thinking)) => {
            let marks = [&thinking.signature, &thinking.redacted];
            let mut marks = marks.into_iter().filter(|mark| !mark.is_empty());
            marks.all(|mark| unseal(model, mark).is_some())
        }
        Some(Kind::ProviderItem(item)) => {
            item.provider.eq_ignore_ascii_case(&model.provider) && item.model_id == model.model_id
        }
        Some(Kind::Text(text)) => !text.is_empty(),
        Some(Kind::Media(_)) => true,
        None => false,
    });
    for call in &mut message.tool_calls {
        let is_own =
            std::str::from_utf8(&call.signature).ok().and_then(|sealed| unseal(model, sealed)).is_some();
        if !is_own {
            call.signature.clear();
        }
    }
    message
}
