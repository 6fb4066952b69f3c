//! One request on its way through places, repeats and fallbacks. It decides and does nothing: whoever asks providers
//! tells it what happened. All its state is its own, so that requests never change each other (D48).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sre_proto::llm::v1 as pb;
use tokio::time::Instant;

use super::Reliability;
use super::failure::Failure;
use super::places::Visit;
use super::retry::count_retry;
use crate::inference::error::InferenceError;
use crate::models::{Fallback, Resolved, Table};

/// Models that a request goes through at most.
const MOST_FALLBACKS: usize = 8;

/// One request on its way.
pub struct Chain {
    reliability: Reliability,
    table: Arc<Table>,
    request: pb::GenerateRequest,
    model: Arc<Resolved>,
    plain: bool,
    left: VecDeque<Fallback>,
    /// Of the current model.
    tried: Vec<String>,
    tries: u32,
    visit: Option<Visit>,
    place: Option<Arc<Resolved>>,
    began: Instant,
    attempts: Vec<pb::Attempt>,
    first_error: Option<InferenceError>,
}

/// What to do after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The same model once more, after a wait.
    Again(Duration),
    /// Another model.
    Fallback(pb::ModelFallback),
    /// Nothing: [`Chain::error`] says why.
    GiveUp,
}

impl Chain {
    /// A request for a model.
    pub fn new(
        reliability: Reliability,
        table: Arc<Table>,
        model: Arc<Resolved>,
        request: pb::GenerateRequest,
    ) -> Self {
        let left = if request.no_fallback { VecDeque::new() } else { model.fallbacks.clone().into() };
        Self {
            reliability,
            table,
            request,
            model,
            plain: false,
            left: left.into_iter().take(MOST_FALLBACKS).collect(),
            tried: Vec::new(),
            tries: 0,
            visit: None,
            place: None,
            began: Instant::now(),
            attempts: Vec::new(),
            first_error: None,
        }
    }

    /// The models that may answer, the one that was asked for first.
    pub fn models(&self) -> impl Iterator<Item = Arc<Resolved>> + '_ {
        let others = self.left.iter().filter_map(|next| self.table.resolve(&next.model));
        std::iter::once(Arc::clone(&self.model)).chain(others)
    }

    /// What the caller asked for.
    pub fn asked(&self) -> &pb::GenerateRequest {
        &self.request
    }

    /// The model in the place where the next attempt goes.
    pub fn begin(&mut self) -> Result<Arc<Resolved>, InferenceError> {
        self.began = Instant::now();
        self.tries += 1;
        let chosen = self.reliability.places.choose(&self.model, &self.request.conversation_id, &self.tried);
        let (place, visit) = chosen?;
        if self.tries == 1 {
            self.reliability.retries.earn(&place.provider);
        }
        self.visit = Some(visit);
        self.place = Some(Arc::clone(&place));
        Ok(place)
    }

    /// The request for the current model. After the reference's fallback only what every model takes is left.
    pub fn request(&self) -> pb::GenerateRequest {
        if !self.plain {
            return self.request.clone();
        }
        let asked = &self.request;
        pb::GenerateRequest {
            model: self.model.entry.clone(),
            messages: asked.messages.clone(),
            max_tokens: asked.max_tokens,
            idempotency_key: asked.idempotency_key.clone(),
            run_id: asked.run_id.clone(),
            step: asked.step.clone(),
            conversation_id: asked.conversation_id.clone(),
            ..pb::GenerateRequest::default()
        }
    }

    /// The attempt failed before anything of an answer was seen.
    pub fn failed(&mut self, error: &InferenceError) -> Next {
        let failure = Failure::of(error);
        // A place fails a request once, however often it is repeated there: a request that nobody can answer must not
        // close the place to everybody else.
        let repeated = self.place.as_ref().is_some_and(|place| self.tried.contains(&place.deployment));
        if let Some(mut visit) = self.visit.take()
            && failure.is_of_the_place()
            && !repeated
        {
            visit.failed(error.retry_after());
        }
        self.note(failure.as_str());
        self.first_error.get_or_insert_with(|| error.clone());
        let provider = self.place.take().map_or_else(
            || self.model.provider.clone(),
            |place| {
                self.tried.push(place.deployment.clone());
                place.provider.clone()
            },
        );
        let elsewhere =
            failure.is_retriable() && self.reliability.places.has_another(&self.model, &self.tried);
        let wait = match self.reliability.retries.wait(error, self.tries) {
            // Another place is asked at once.
            Some(_) if elsewhere => Some(Duration::ZERO),
            None if elsewhere && self.tries < self.reliability.attempts => Some(Duration::ZERO),
            wait => wait,
        };
        if let Some(wait) = wait
            && !self.falls_back_sooner(failure, wait)
            && self.reliability.retries.spend(&provider)
        {
            count_retry(&provider);
            return Next::Again(wait);
        }
        self.fall_back(failure)
    }

    /// A long wait is not worth it where another model may answer.
    fn falls_back_sooner(&self, failure: Failure, wait: Duration) -> bool {
        wait > self.reliability.longest_wait_before_fallback
            && self.left.front().is_some_and(|next| failure.is_among(&next.on))
    }

    fn fall_back(&mut self, failure: Failure) -> Next {
        while let Some(next) = self.left.pop_front() {
            if !failure.is_among(&next.on) {
                continue;
            }
            let Some(model) = self.table.resolve(&next.model) else {
                tracing::warn!(model = next.model, "a fallback is not in the catalogue and is passed over");
                continue;
            };
            let from = std::mem::replace(&mut self.model, model);
            self.plain = next.plain;
            self.tried.clear();
            self.tries = 0;
            let provider = from.provider.to_lowercase();
            metrics::counter!("sre_llm_fallbacks_total", "provider" => provider).increment(1);
            return Next::Fallback(pb::ModelFallback {
                from_model: from.entry.clone(),
                to_model: self.model.entry.clone(),
                failure: failure.as_str().to_owned(),
            });
        }
        Next::GiveUp
    }

    /// The answer is whole: what was attempted, with the tokens that it took.
    pub fn answered(&mut self, tokens: i64) -> Vec<pb::Attempt> {
        if let Some(visit) = &mut self.visit {
            visit.succeeded(tokens);
        }
        self.visit = None;
        self.note("");
        std::mem::take(&mut self.attempts)
    }

    /// The answer broke off after some of it was seen: nothing can take its place.
    pub fn broke_off(&mut self, error: &InferenceError) {
        if let Some(mut visit) = self.visit.take()
            && Failure::of(error).is_of_the_place()
        {
            visit.failed(error.retry_after());
        }
    }

    /// Why nobody answered: what went wrong first, as the caller asked for that model.
    pub fn error(&mut self, last: InferenceError) -> InferenceError {
        self.first_error.take().unwrap_or(last)
    }

    fn note(&mut self, failure: &str) {
        let place = self.place.as_ref().unwrap_or(&self.model);
        let duration = self.began.elapsed();
        self.attempts.push(pb::Attempt {
            model: place.entry.clone(),
            provider: place.provider.clone(),
            deployment: place.deployment.clone(),
            failure: failure.to_owned(),
            duration: duration.try_into().ok(),
        });
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
