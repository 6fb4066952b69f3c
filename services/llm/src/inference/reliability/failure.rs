//! Why an attempt failed, in one word that does not depend on the provider.

use crate::inference::error::{InferenceError, Refusal};

/// What went wrong. The words travel as `failure`: in the metadata of errors, in attempts, in conditions of fallbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The key is missing or wrong.
    Auth,
    /// The key may not do this.
    Permission,
    /// The provider has no such model.
    NotFound,
    /// The request is wrong.
    InvalidRequest,
    /// The request is longer than the model takes.
    ContextLength,
    /// Too many calls in a short time.
    RateLimit,
    /// The account has nothing left.
    Quota,
    /// The provider has no place at the moment.
    Overloaded,
    /// Nothing came in time.
    Timeout,
    /// The provider's filter refused.
    ContentFilter,
    /// The provider failed inside.
    Upstream5xx,
    /// The answer broke off, or was none.
    StreamBroken,
    /// Nothing built in speaks with it, or it cannot do this.
    Unsupported,
    /// There was no connection.
    Unreachable,
    /// Too much was spent.
    Budget,
    /// A service of the suite failed.
    Service,
}

impl Failure {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::InvalidRequest => "invalid_request",
            Self::ContextLength => "context_length",
            Self::RateLimit => "rate_limit",
            Self::Quota => "quota",
            Self::Overloaded => "overloaded",
            Self::Timeout => "timeout",
            Self::ContentFilter => "content_filter",
            Self::Upstream5xx => "upstream_5xx",
            Self::StreamBroken => "stream_broken",
            Self::Unsupported => "unsupported",
            Self::Unreachable => "unreachable",
            Self::Budget => "budget",
            Self::Service => "service",
        }
    }

    /// What an error is.
    pub fn of(error: &InferenceError) -> Self {
        match error {
            InferenceError::UnknownModel { .. } => Self::NotFound,
            InferenceError::Invalid { .. } | InferenceError::Egress { .. } => Self::InvalidRequest,
            InferenceError::UnknownProvider(_) => Self::Unsupported,
            InferenceError::KeyMissing { .. } => Self::Auth,
            InferenceError::Refused(refusal) => of_refusal(refusal),
            InferenceError::Unreachable { .. } => Self::Unreachable,
            InferenceError::Silent { .. } => Self::Timeout,
            InferenceError::Broken { .. } => Self::StreamBroken,
            InferenceError::Resting { .. } => Self::Overloaded,
            InferenceError::Service(_) => Self::Service,
        }
    }

    /// Whether the same request may succeed at the same model in a moment.
    pub fn is_retriable(self) -> bool {
        matches!(
            self,
            Self::RateLimit | Self::Overloaded | Self::Timeout | Self::Upstream5xx | Self::Unreachable
        )
    }

    /// Whether it says something about the place that was asked, and not about the request.
    pub fn is_of_the_place(self) -> bool {
        self.is_retriable() || matches!(self, Self::StreamBroken)
    }

    /// Whether another model may have an answer, where an entry does not say after what.
    pub fn may_fall_back(self) -> bool {
        self.is_of_the_place()
            || matches!(
                self,
                Self::Auth | Self::Permission | Self::NotFound | Self::Quota | Self::Unsupported
            )
    }

    /// Whether it is one of these words; `any` is every one that the provider's side gave.
    pub fn is_among(self, words: &[String]) -> bool {
        if words.is_empty() {
            return self.may_fall_back();
        }
        let hit = |word: &String| word == self.as_str() || word == "any";
        self != Self::Budget && words.iter().any(hit)
    }
}

fn of_refusal(refusal: &Refusal) -> Failure {
    let code = refusal.code.to_ascii_lowercase();
    let words = refusal.message.to_ascii_lowercase();
    let says = |texts: &[&str]| texts.iter().any(|text| words.contains(text) || code.contains(text));
    match refusal.status {
        401 => Failure::Auth,
        402 => Failure::Quota,
        403 => Failure::Permission,
        404 => Failure::NotFound,
        408 | 504 => Failure::Timeout,
        413 => Failure::ContextLength,
        429 if says(&["insufficient_quota", "billing", "credit balance"]) => Failure::Quota,
        429 => Failure::RateLimit,
        503 | 529 => Failure::Overloaded,
        500..=599 if code == "overloaded_error" => Failure::Overloaded,
        409 | 500..=599 => Failure::Upstream5xx,
        _ if says(&[
            "context_length",
            "context length",
            "context window",
            "prompt is too long",
            "input is too long",
            "too many tokens",
            "maximum number of tokens",
        ]) =>
        {
            Failure::ContextLength
        }
        _ if says(&["content_filter", "content_policy", "content management policy", "moderation"]) => {
            Failure::ContentFilter
        }
        400 if says(&["invalid_api_key", "api key not valid"]) => Failure::Auth,
        400 if says(&["credit balance"]) => Failure::Quota,
        _ => Failure::InvalidRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str, message: &str) -> Failure {
        Failure::of(&InferenceError::Refused(Box::new(Refusal {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
            ..Refusal::default()
        })))
    }

    #[test]
    fn refusals_of_every_provider_have_one_word() {
        for (status, code, message, expected) in [
            (401, "invalid_api_key", "", Failure::Auth),
            (402, "", "Insufficient Balance", Failure::Quota),
            (403, "permission_error", "", Failure::Permission),
            (404, "model_not_found", "", Failure::NotFound),
            (408, "", "", Failure::Timeout),
            (409, "", "", Failure::Upstream5xx),
            (413, "request_too_large", "", Failure::ContextLength),
            (400, "context_length_exceeded", "", Failure::ContextLength),
            (
                400,
                "invalid_request_error",
                "prompt is too long: 9 tokens > 8 maximum",
                Failure::ContextLength,
            ),
            (400, "content_filter", "", Failure::ContentFilter),
            (400, "INVALID_ARGUMENT", "API key not valid.", Failure::Auth),
            (400, "invalid_request_error", "Your credit balance is too low", Failure::Quota),
            (400, "", "temperature", Failure::InvalidRequest),
            (422, "", "", Failure::InvalidRequest),
            (429, "rate_limit_exceeded", "", Failure::RateLimit),
            (429, "insufficient_quota", "", Failure::Quota),
            (500, "", "", Failure::Upstream5xx),
            (503, "", "", Failure::Overloaded),
            (504, "", "", Failure::Timeout),
            (529, "overloaded_error", "", Failure::Overloaded),
        ] {
            assert_eq!(refused(status, code, message), expected, "{status} {code} {message}");
        }
    }

    #[test]
    fn what_is_asked_again_and_what_is_not() {
        for status in [408, 409, 429, 500, 502, 503, 504, 529] {
            assert!(refused(status, "", "").is_retriable(), "{status}");
        }
        for status in [400, 401, 403, 404, 422] {
            assert!(!refused(status, "", "").is_retriable(), "{status}");
        }
        assert!(!refused(429, "insufficient_quota", "").is_retriable());
    }

    #[test]
    fn conditions_name_failures() {
        let on = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(Failure::RateLimit.is_among(&[]) && Failure::Quota.is_among(&[]));
        assert!(!Failure::InvalidRequest.is_among(&[]) && !Failure::ContentFilter.is_among(&[]));
        assert!(Failure::ContentFilter.is_among(&on(&["content_filter"])));
        assert!(!Failure::RateLimit.is_among(&on(&["content_filter"])));
        assert!(Failure::InvalidRequest.is_among(&on(&["any"])) && !Failure::Budget.is_among(&on(&["any"])));
    }
}
