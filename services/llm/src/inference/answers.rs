//! Answers that are kept for exact repeats of a request, where its caller wants that.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use prost::Message as _;
use sre_proto::llm::v1 as pb;
use tokio::time::Instant;

use super::providers::Piece;
use crate::models::Resolved;

/// What all answers together may take.
const MOST_BYTES: u64 = 64 << 20;
/// A larger answer is not kept.
const LARGEST: usize = 1 << 20;
/// The oldest that anybody is given.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// Answers that are kept. Clones share them.
#[derive(Clone)]
pub struct Answers(Cache<[u8; 32], Arc<Answer>>);

struct Answer {
    answer: pb::GenerateResponse,
    since: Instant,
}

/// What a request wants of the answers that are kept.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    place: [u8; 32],
    read: bool,
    write: bool,
    max_age: Duration,
}

impl Wanted {
    /// Whether the answer is to be kept.
    pub fn writes(&self) -> bool {
        self.write
    }

    /// What a request wants; none where it wants nothing, or where the same request may be answered otherwise.
    pub fn of(request: &pb::GenerateRequest, model: &Resolved, team: &str) -> Option<Self> {
        let caching = request.response_caching.as_ref()?;
        if !(caching.read || caching.write)
            || model.version.is_empty()
            || team.is_empty()
            || request.web_search.is_some()
        {
            return None;
        }
        let asked = caching.max_age.and_then(|age| Duration::try_from(age).ok());
        Some(Self {
            place: place(request, model, team),
            read: caching.read,
            write: caching.write,
            max_age: asked.unwrap_or(MAX_AGE).min(MAX_AGE),
        })
    }
}

/// A request without what does not change its answer, of one team, for one version of an entry. Messages of this
/// contract have no maps, so that the same one is always written the same.
fn place(request: &pb::GenerateRequest, model: &Resolved, team: &str) -> [u8; 32] {
    let plain = pb::GenerateRequest {
        model: String::new(),
        idempotency_key: String::new(),
        first_token_timeout: None,
        idle_timeout: None,
        run_id: String::new(),
        step: String::new(),
        conversation_id: String::new(),
        prompt_caching: None,
        response_caching: None,
        no_fallback: false,
        ..request.clone()
    };
    let mut hasher = blake3::Hasher::new();
    let encoded = plain.encode_to_vec();
    for part in [team.as_bytes(), model.entry.as_bytes(), model.version.as_bytes(), &encoded] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    *hasher.finalize().as_bytes()
}

impl Default for Answers {
    fn default() -> Self {
        let weight = |_: &[u8; 32], answer: &Arc<Answer>| {
            u32::try_from(answer.answer.encoded_len() + 256).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().weigher(weight).max_capacity(MOST_BYTES).time_to_live(MAX_AGE).build())
    }
}

impl Answers {
    /// The answer that was kept. It says so, and used nothing.
    pub fn get(&self, wanted: &Wanted) -> Option<pb::GenerateResponse> {
        let found = wanted.read.then(|| self.0.get(&wanted.place)).flatten();
        let found = found.filter(|found| found.since.elapsed() <= wanted.max_age);
        let result = if found.is_some() { "hit" } else { "miss" };
        metrics::counter!("sre_llm_cached_answers_total", "result" => result).increment(1);
        found.map(|found| found.answer.clone())
    }

    /// Keeps an answer that came to its end. One of another model than asked for is not the answer to this request.
    pub fn put(&self, wanted: &Wanted, asked: &str, answer: &pb::GenerateResponse) {
        let ended = matches!(answer.finish_reason(), pb::FinishReason::Stop | pb::FinishReason::ToolCalls);
        if !wanted.write || !ended || answer.model != asked || answer.encoded_len() > LARGEST {
            return;
        }
        let answer = pb::GenerateResponse {
            usage: Some(pb::TokenUsage::default()),
            cost_micros: 0,
            usage_event: bytes::Bytes::new(),
            attempts: Vec::new(),
            from_cache: true,
            ..answer.clone()
        };
        self.0.insert(wanted.place, Arc::new(Answer { answer, since: Instant::now() }));
    }
}

/// An answer that was kept, as a stream.
pub fn replay(answer: pb::GenerateResponse) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if !answer.thinking.is_empty() {
        pieces.push(Piece::Thinking(answer.thinking.clone()));
    }
    pieces.extend(answer.text.split_inclusive(' ').map(|word| Piece::Text(word.to_owned())));
    for (index, call) in answer.tool_calls.iter().enumerate() {
        pieces.push(Piece::ToolCall(pb::ToolCallDelta {
            index: i32::try_from(index).unwrap_or(i32::MAX),
            id: call.id.clone(),
            name: call.name.clone(),
            arguments_fragment: String::from_utf8_lossy(&call.arguments_json).into_owned(),
        }));
    }
    pieces.push(Piece::Finished(Box::new(answer)));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str, caching: pb::ResponseCaching) -> pb::GenerateRequest {
        let message = pb::ChatMessage { text: text.into(), ..Default::default() };
        pb::GenerateRequest {
            messages: vec![message],
            response_caching: Some(caching),
            ..pb::GenerateRequest::default()
        }
    }

    fn model(version: &str) -> Resolved {
        Resolved { entry: "m".into(), version: version.into(), ..Resolved::default() }
    }

    const BOTH: pb::ResponseCaching = pb::ResponseCaching { read: true, write: true, max_age: None };

    fn answer() -> pb::GenerateResponse {
        pb::GenerateResponse {
            text: "one two".into(),
            model: "m".into(),
            finish_reason: pb::FinishReason::Stop as i32,
            cost_micros: 9,
            usage: Some(pb::TokenUsage { input_tokens: 3, ..Default::default() }),
            ..Default::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_same_request_of_the_same_team_and_version_finds_it() {
        let answers = Answers::default();
        let wanted = |request: &pb::GenerateRequest, version: &str, team: &str| {
            Wanted::of(request, &model(version), team).unwrap()
        };
        let asked = request("hi", BOTH);
        answers.put(&wanted(&asked, "1", "red"), "m", &answer());
        let again = pb::GenerateRequest { idempotency_key: "k".into(), run_id: "r".into(), ..asked.clone() };
        let found = answers.get(&wanted(&again, "1", "red")).unwrap();
        assert!(found.from_cache && found.cost_micros == 0);
        assert_eq!((found.text.as_str(), found.usage), ("one two", Some(pb::TokenUsage::default())));
        assert!(answers.get(&wanted(&asked, "2", "red")).is_none());
        assert!(answers.get(&wanted(&asked, "1", "blue")).is_none());
        assert!(answers.get(&wanted(&request("ho", BOTH), "1", "red")).is_none());
        let warm = pb::GenerateRequest { temperature: Some(0.1), ..asked.clone() };
        assert!(answers.get(&wanted(&warm, "1", "red")).is_none());
        tokio::time::advance(Duration::from_secs(10)).await;
        let age = |seconds| pb::ResponseCaching {
            max_age: Some(prost_types::Duration { seconds, nanos: 0 }),
            ..BOTH
        };
        assert!(answers.get(&wanted(&request("hi", age(9)), "1", "red")).is_none());
        assert!(answers.get(&wanted(&request("hi", age(11)), "1", "red")).is_some());
    }

    #[test]
    fn what_is_not_wanted_or_not_the_answer_is_not_kept() {
        let answers = Answers::default();
        let of = |caching| Wanted::of(&request("hi", caching), &model("1"), "red");
        assert!(of(pb::ResponseCaching { read: false, write: false, max_age: None }).is_none());
        assert!(Wanted::of(&request("hi", BOTH), &model(""), "red").is_none());
        let reads = of(pb::ResponseCaching { write: false, ..BOTH }).unwrap();
        let writes = of(pb::ResponseCaching { read: false, ..BOTH }).unwrap();
        answers.put(&reads, "m", &answer());
        assert!(answers.get(&reads).is_none());
        answers.put(&writes, "other", &answer());
        let cut = pb::GenerateResponse { finish_reason: pb::FinishReason::Length as i32, ..answer() };
        answers.put(&writes, "m", &cut);
        assert!(answers.get(&reads).is_none());
        answers.put(&writes, "m", &answer());
        assert!(answers.get(&reads).is_some() && answers.get(&writes).is_none());
    }

    #[test]
    fn a_stream_says_the_same() {
        let pieces = replay(answer());
        let text: String = pieces
            .iter()
            .filter_map(|piece| if let Piece::Text(text) = piece { Some(text.as_str()) } else { None })
            .collect();
        assert_eq!(text, "one two");
        assert!(matches!(pieces.last(), Some(Piece::Finished(_))));
    }
}
