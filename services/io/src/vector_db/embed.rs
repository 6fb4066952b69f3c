//! Texts as vectors, by the llm service, for the caller: with a token of the caller's for the next hop, so that the
//! key is the one of the caller's own team (H19).

use std::time::Duration;

use sre_identity::Caller;
use sre_proto::error::{Reason, status};
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_proto::llm::v1::{EmbedRequest, EmbedResponse, EmbedUnkeyedRequest};
use sre_service::{ExchangeKey, Host, Link, Role};
use tonic::{Code, Request, Status};

use super::registry::Embedding;

const SCOPE: &str = "sre.llm.v1.Inference:read";
/// The longest wait for the vectors of one call.
const CALL: Duration = Duration::from_secs(120);
/// The most texts of one call,
const MOST_TEXTS: usize = 256;
/// of their bytes,
const MOST_TEXT_BYTES: usize = 2 << 20;
/// and of those of the answer.
const MOST_VECTOR_BYTES: usize = 2 << 20;

/// Embeds for one caller.
pub struct Embedder {
    host: Host,
    token: Option<String>,
    runs: Vec<String>,
    client: Option<InferenceClient<Link>>,
}

impl Embedder {
    /// For a caller. One that presented no token gets what needs no key of a team.
    pub fn of(host: &Host, caller: &Caller) -> Self {
        let token = caller.presented_token().map(|token| token.to_string());
        Self { host: host.clone(), token, runs: caller.runs().to_vec(), client: None }
    }

    /// The way to the llm service, asked for when there is something to embed: a token need not allow what is not
    /// done with it.
    async fn client(&mut self) -> Result<InferenceClient<Link>, Status> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        // What is embedded for a run counts for it.
        let mut link = self.host.link(Role::Llm).with_runs(&self.runs);
        if let Some(token) = &self.token {
            let key = ExchangeKey::next_hop(token.clone(), Role::Llm, &[SCOPE]);
            let token = self.host.tokens().exchange(key).await?;
            link = link.with_token(&token);
        }
        let client = InferenceClient::new(link);
        self.client = Some(client.clone());
        Ok(client)
    }

    /// The length of a model's vectors.
    pub async fn dimension(&mut self, model: &str) -> Result<usize, Status> {
        let request = EmbedRequest { model: model.to_owned(), ..EmbedRequest::default() };
        Ok(usize::try_from(self.call(request).await?.dimensions).unwrap_or_default())
    }

    /// How many texts, from the first on, fit into one call.
    pub fn fitting<T: AsRef<str>>(texts: &[T], dimension: usize) -> usize {
        let most = (MOST_VECTOR_BYTES / (dimension.max(1) * size_of::<f32>())).clamp(1, MOST_TEXTS);
        let mut bytes = 0;
        let within = texts.iter().take(most).take_while(|text| {
            bytes += text.as_ref().len();
            bytes <= MOST_TEXT_BYTES
        });
        within.count().max(1)
    }

    /// The vectors of texts that fit into one call, in order.
    pub async fn embed(
        &mut self,
        embedding: &Embedding,
        dimension: usize,
        texts: Vec<String>,
    ) -> Result<Vec<Vec<f32>>, Status> {
        let count = texts.len();
        let request = EmbedRequest {
            model: embedding.model.clone(),
            texts,
            dimensions: i32::try_from(dimension).unwrap_or_default(),
            batch_size: embedding.batch_size,
            strip_new_lines: Some(embedding.strip_new_lines),
        };
        let answer = self.call(request).await?;
        let vectors: Vec<Vec<f32>> = answer.embeddings.into_iter().map(|vector| vector.values).collect();
        if vectors.len() != count || vectors.iter().any(|vector| vector.len() != dimension) {
            let message = "the embedding service answered with other vectors than were asked for";
            return Err(status(Code::Unavailable, Reason::ProviderFailed, message));
        }
        Ok(vectors)
    }

    async fn call(&mut self, request: EmbedRequest) -> Result<EmbedResponse, Status> {
        let mut client = self.client().await?;
        let answer = if self.token.is_some() {
            let mut request = Request::new(request);
            request.set_timeout(CALL);
            client.embed(request).await
        } else {
            let mut request = Request::new(EmbedUnkeyedRequest { request: Some(request) });
            request.set_timeout(CALL);
            client.embed_unkeyed(request).await
        };
        Ok(answer?.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_bounded_by_texts_bytes_and_vectors() {
        let short = vec!["x"; 1000];
        assert_eq!(Embedder::fitting(&short, 4), 256);
        assert_eq!(Embedder::fitting(&short, 4096), 128);
        let long = vec!["y".repeat(1 << 20); 5];
        assert_eq!(Embedder::fitting(&long, 4), 2);
        let longer = vec!["z".repeat(3 << 20); 2];
        assert_eq!(Embedder::fitting(&longer, 4), 1);
    }
}
