//! The span of a model's answer, by OpenTelemetry's conventions for generative AI, and its metrics. No content: what
//! was asked and answered is shown by the engine, for teams that want it.

use std::time::Instant;

use sre_proto::llm::v1 as pb;
use sre_service::telemetry::spans::{Attributes, SpanKind, TraceParent, WorkSpan};
use url::Url;

use super::embeddings;
use super::error::InferenceError;
use super::providers::Call;
use crate::models::Resolved;

/// A model's answer as telemetry sees it.
pub struct Observed {
    span: Option<WorkSpan>,
    provider: String,
    began: Instant,
    first: Option<Instant>,
}

impl Observed {
    /// An attempt that begins now, below whoever asked.
    pub fn begin(call: &Call, parent: &TraceParent) -> Self {
        let name = || format!("chat {}", call.model.model_id);
        let span = WorkSpan::begin(name, SpanKind::Client, parent);
        if let Some(span) = &span {
            ask(span, call);
        }
        Self { span, provider: known(&call.model.provider), began: Instant::now(), first: None }
    }

    /// The span, where there is one.
    pub fn span(&self) -> Option<&WorkSpan> {
        self.span.as_ref()
    }

    /// A piece came.
    pub fn piece(&mut self) {
        if self.first.is_some() {
            return;
        }
        self.first = Some(Instant::now());
        let waited = self.began.elapsed();
        metrics::histogram!("sre_llm_first_piece_seconds", "provider" => self.provider.clone())
            .record(waited.as_secs_f64());
        if let Some(span) = &self.span {
            span.exemplar("sre_llm_first_piece_seconds", &[("provider", &self.provider)], waited);
            span.set("gen_ai.response.time_to_first_chunk", waited.as_secs_f64());
            span.event("llm.first.byte.received", |_| {});
        }
    }

    /// The answer is whole.
    pub fn answered(&self, answer: &pb::GenerateResponse) {
        let usage = answer.usage.unwrap_or_default();
        self.count("ok");
        for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
            let tokens = u64::try_from(tokens).unwrap_or_default();
            metrics::counter!("sre_llm_tokens_total", "provider" => self.provider.clone(), "kind" => kind)
                .increment(tokens);
        }
        let cost = u64::try_from(answer.cost_micros).unwrap_or_default();
        metrics::counter!("sre_llm_cost_micros_total", "provider" => self.provider.clone()).increment(cost);
        let Some(span) = &self.span else { return };
        let reason = answer.finish_reason().as_str_name().trim_start_matches("FINISH_REASON_").to_lowercase();
        span.write(|to| {
            to.text("gen_ai.response.id", &answer.response_id);
            to.text("gen_ai.response.model", &answer.model_id);
            to.texts("gen_ai.response.finish_reasons", std::iter::once(reason.as_str()));
            if answer.usage.is_some() {
                to.int("gen_ai.usage.input_tokens", usage.input_tokens);
                to.int("gen_ai.usage.output_tokens", usage.output_tokens);
                to.int("gen_ai.usage.cache_read.input_tokens", usage.cached_input_tokens);
                to.int("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens);
                to.int("sre.usage.cost_micros", answer.cost_micros);
            }
        });
        span.succeeded();
    }

    /// There is no answer.
    pub fn failed(&self, error: &InferenceError) {
        let kind = error.kind();
        self.count(kind);
        if let Some(span) = &self.span {
            span.failed(kind, kind);
        }
    }

    /// Whoever listened has gone, and the answer was not read to its end.
    pub fn abandoned(&self) {
        self.count("abandoned");
        if let Some(span) = &self.span {
            span.failed("abandoned", "abandoned");
        }
    }

    fn count(&self, result: &'static str) {
        let took = self.began.elapsed();
        metrics::histogram!("sre_llm_call_seconds", "provider" => self.provider.clone(), "result" => result)
            .record(took.as_secs_f64());
        if let Some(span) = &self.span {
            let labels = [("provider", &*self.provider), ("result", result)];
            span.exemplar("sre_llm_call_seconds", &labels, took);
        }
    }
}

/// Texts become vectors, `work`, below whoever asked.
pub async fn embedding(
    call: embeddings::Call,
    texts: usize,
    work: impl AsyncFnOnce(embeddings::Call) -> Result<pb::EmbedResponse, InferenceError>,
) -> Result<pb::EmbedResponse, InferenceError> {
    let name = || format!("embeddings {}", call.model.model_id);
    // What is reckoned here is nobody else's work.
    let kind = if call.base_url.is_some() { SpanKind::Client } else { SpanKind::Internal };
    let Some(span) = WorkSpan::begin(name, kind, &TraceParent::default()) else {
        return work(call).await;
    };
    span.write(|to| {
        to.text("gen_ai.operation.name", "embeddings");
        asked_of(to, &call.model, call.base_url.as_ref());
        to.int("gen_ai.embeddings.dimension.count", i64::from(call.dimensions));
        to.int("texts", i64::try_from(texts).unwrap_or(i64::MAX));
    });
    let answered = span.around(work(call)).await;
    match &answered {
        Ok(answer) => {
            if let Some(usage) = &answer.usage {
                span.set("gen_ai.usage.input_tokens", usage.input_tokens);
            }
            span.succeeded();
        }
        Err(error) => span.failed(error.kind(), error.kind()),
    }
    answered
}

/// Which model is asked, and where.
fn asked_of(to: &mut Attributes<'_>, model: &Resolved, base_url: Option<&Url>) {
    to.text("gen_ai.provider.name", &known(&model.provider));
    to.text("gen_ai.request.model", &model.model_id).text("llm.model", &model.entry);
    if let Some(url) = base_url {
        to.text("server.address", url.host_str().unwrap_or_default());
        to.int("server.port", i64::from(url.port_or_known_default().unwrap_or_default()));
    }
}

/// A provider's name as labels and attributes have it: names of the catalogue, in lower case.
fn known(provider: &str) -> String {
    provider.to_lowercase()
}

fn ask(span: &WorkSpan, call: &Call) {
    let request = &call.request;
    span.write(|to| {
        to.text("gen_ai.operation.name", "chat");
        asked_of(to, &call.model, call.base_url.as_ref());
        to.text("process.id", &request.run_id).text("event.id", &request.step);
        if let Some(limit) = request.max_tokens {
            to.int("gen_ai.request.max_tokens", limit);
        }
        for (key, value) in [
            ("gen_ai.request.temperature", request.temperature),
            ("gen_ai.request.top_p", request.top_p),
            ("gen_ai.request.frequency_penalty", request.frequency_penalty),
            ("gen_ai.request.presence_penalty", request.presence_penalty),
        ] {
            if let Some(value) = value {
                to.float(key, value);
            }
        }
    });
    span.event("llm.requested", |to| {
        to.int("messages", i64::try_from(request.messages.len()).unwrap_or(i64::MAX));
    });
}
