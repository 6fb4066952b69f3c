//! Echo: answers with what it is asked. Agents are tested with it, without key, cost or network.

use async_trait::async_trait;
use futures::stream;
use sre_proto::llm::v1 as pb;

use super::{Call, Piece, Pieces, Provider};
use crate::inference::error::InferenceError;

/// The provider of the model `Echo`. Tools, files, formats and limits do not concern it.
#[derive(Debug, Clone, Copy)]
pub struct Echo;

#[async_trait]
impl Provider for Echo {
    /// The text of the first message.
    async fn generate(&self, call: Call) -> Result<pb::GenerateResponse, InferenceError> {
        let text = call.request.messages.first().map(|message| message.text.clone()).unwrap_or_default();
        Ok(answer(&call, text))
    }

    /// The text of the last message of a user, word by word; a single empty piece where there is none.
    async fn stream(&self, call: Call) -> Result<Pieces, InferenceError> {
        let is_user = |message: &&pb::ChatMessage| message.role() == pb::ChatRole::User;
        let text = call.request.messages.iter().rfind(is_user).map(|message| message.text.clone());
        let text = text.unwrap_or_default();
        let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
        let words = if words.is_empty() { vec![String::new()] } else { words };
        let end = Piece::Finished(Box::new(answer(&call, text)));
        let pieces = words.into_iter().map(Piece::Text).chain([end]).map(Ok);
        Ok(Box::pin(stream::iter(pieces)))
    }
}

fn answer(call: &Call, text: String) -> pb::GenerateResponse {
    pb::GenerateResponse {
        text,
        finish_reason: pb::FinishReason::Stop as i32,
        model_id: call.model.model_id.clone(),
        provider: call.model.provider.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;
    use crate::models::{Mode, Table};

    fn call(messages: &[(pb::ChatRole, &str)]) -> Call {
        let table = Table::new(Default::default(), Mode::Merge);
        let messages = messages.iter().map(|(role, text)| pb::ChatMessage {
            role: *role as i32,
            text: (*text).to_owned(),
            ..Default::default()
        });
        let request = pb::GenerateRequest { messages: messages.collect(), ..Default::default() };
        Call { model: table.resolve("Echo").unwrap(), request, base_url: None, key: None }
    }

    async fn streamed(messages: &[(pb::ChatRole, &str)]) -> Vec<Piece> {
        let pieces: Vec<_> = Echo.stream(call(messages)).await.unwrap().collect().await;
        pieces.into_iter().map(Result::unwrap).collect()
    }

    use pb::ChatRole::{Assistant, System, User};

    #[tokio::test]
    async fn a_call_answers_with_the_first_message() {
        let echo = async |messages: &[(pb::ChatRole, &str)]| Echo.generate(call(messages)).await.unwrap();
        let answer = echo(&[(System, "be kind"), (User, "hello")]).await;
        assert_eq!((answer.text.as_str(), answer.finish_reason()), ("be kind", pb::FinishReason::Stop));
        assert!(answer.usage.is_none());
        assert_eq!(echo(&[(User, r#"{"a": 1}"#)]).await.text, r#"{"a": 1}"#);
        assert_eq!(echo(&[]).await.text, "");
    }

    #[tokio::test]
    async fn a_stream_answers_with_the_last_user_message_word_by_word() {
        let pieces = streamed(&[(User, "no"), (User, "one  two é"), (Assistant, "x")]).await;
        let words: Vec<_> = pieces[..pieces.len() - 1].to_vec();
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(words, [text("one "), text(" "), text("two "), text("é")]);
        let Some(Piece::Finished(answer)) = pieces.last() else { panic!("{pieces:?}") };
        assert_eq!(answer.text, "one  two é");
        let nobody = streamed(&[(System, "x")]).await;
        assert_eq!(nobody[0], text(""));
        assert_eq!(nobody.len(), 2);
    }
}
