//! What a call used, for the ledger: whoever asked may leave, what the provider counts counts.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use prost::Message as _;
use sre_identity::{Caller, Candidate, Role};
use sre_proto::llm::v1 as pb;
use sre_proto::observability::v1::usage_event::Use;
use sre_proto::observability::v1::{ModelUse, RecordUsageRequest, UsageEvent};
use sre_service::Granted;

use crate::models::{Charge, Resolved};

/// Who pays for a call; nobody where the caller has no team.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payer {
    /// The team.
    pub team: String,
    /// The agent's id, where one acts.
    pub agent: String,
    /// Who is at the beginning of the chain.
    pub user: String,
    /// The runs that its run was started from, outermost first.
    pub outer_runs: Vec<String>,
}

impl Payer {
    /// Who pays for a call that was granted.
    pub fn of(caller: &Caller, granted: &Granted) -> Self {
        let acting = caller.candidate().filter(|candidate| candidate.role() == Role::Agent);
        let root = caller.root().strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
        let root = root.and_then(|(_, name)| name.parse::<Candidate>().ok());
        Self {
            team: granted.memberships().home.as_ref().map(ToString::to_string).unwrap_or_default(),
            agent: acting.map(|agent| agent.id().to_owned()).unwrap_or_default(),
            user: root.or_else(|| caller.candidate().cloned()).map(|who| who.to_string()).unwrap_or_default(),
            outer_runs: caller.runs().split_last().map(|(_, outer)| outer.to_vec()).unwrap_or_default(),
        }
    }
}

/// A call under way.
pub struct Metered {
    payer: Payer,
    model: Arc<Resolved>,
    charge: Charge,
    run_id: String,
    step: String,
    idempotency_key: String,
    operation: &'static str,
    time: SystemTime,
    began: Instant,
}

impl Metered {
    /// A call that begins now.
    pub fn call(payer: Payer, model: &Arc<Resolved>, request: &pb::GenerateRequest) -> Self {
        let kept = request.prompt_caching.as_ref().is_some_and(|caching| caching.time_to_live == "1h");
        Self {
            charge: Charge { kept_for_an_hour: kept, images: 0 },
            run_id: request.run_id.clone(),
            step: request.step.clone(),
            idempotency_key: request.idempotency_key.clone(),
            ..Self::new(payer, model, "chat")
        }
    }

    /// An embedding that begins now.
    pub fn embedding(payer: Payer, model: &Arc<Resolved>, run_id: &str) -> Self {
        Self { run_id: run_id.to_owned(), ..Self::new(payer, model, "embeddings") }
    }

    /// Images that are made from now on.
    pub fn images(payer: Payer, model: &Arc<Resolved>, request: &pb::GenerateImageRequest) -> Self {
        Self {
            charge: Charge { images: u64::from(request.count.max(1).unsigned_abs()), ..Charge::default() },
            run_id: request.run_id.clone(),
            step: request.step.clone(),
            idempotency_key: request.idempotency_key.clone(),
            ..Self::new(payer, model, "image_generation")
        }
    }

    fn new(payer: Payer, model: &Arc<Resolved>, operation: &'static str) -> Self {
        Self {
            payer,
            model: Arc::clone(model),
            charge: Charge::default(),
            run_id: String::new(),
            step: String::new(),
            idempotency_key: String::new(),
            operation,
            time: SystemTime::now(),
            began: Instant::now(),
        }
    }

    /// The call was answered: the answer gets its price and its event in the ledger. None where nobody pays.
    pub fn answered(&self, answer: &mut pb::GenerateResponse) -> Option<UsageEvent> {
        let usage = answer.usage.unwrap_or_default();
        answer.cost_micros = self.cost(&usage);
        let event = self.event(self.id(&answer.response_id), answer.usage.as_ref(), false)?;
        answer.usage_event = RecordUsageRequest { events: vec![event.clone()] }.encode_to_vec().into();
        Some(event)
    }

    /// Texts were embedded.
    pub fn embedded(&self, usage: Option<&pb::TokenUsage>) -> Option<UsageEvent> {
        self.event(self.id(""), usage, false)
    }

    /// The call was not heard to its end, so the provider did not say what it used: what was seen of it is the best
    /// that can be said (D49).
    pub fn cut_off(&self, seen: &pb::TokenUsage) -> Option<UsageEvent> {
        self.event(self.id(""), Some(seen), true)
    }

    /// The entry of the catalogue.
    pub fn entry(&self) -> &str {
        &self.model.entry
    }

    /// Whether what it uses is counted: Echo uses nothing.
    pub fn is_paid(&self) -> bool {
        self.model.provider != FREE
    }

    /// The model.
    pub fn model(&self) -> &Resolved {
        &self.model
    }

    /// How long it took so far.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn cost(&self, usage: &pb::TokenUsage) -> i64 {
        let prices = self.model.prices_at(self.time);
        prices.map(|prices| prices.cost_micros(usage, self.charge)).unwrap_or_default()
    }

    /// An answer that the provider gives again, for the same key, is the same one; another answer is another.
    fn id(&self, response_id: &str) -> String {
        if response_id.is_empty() {
            return format!("llm/{}", sre_proto::ids::new_uuid());
        }
        let mut digest = blake3::Hasher::new();
        for part in [&self.payer.team, &self.model.provider, &self.idempotency_key, response_id] {
            digest.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        format!("llm/{}", &digest.finalize().to_hex()[..32])
    }

    fn event(&self, id: String, usage: Option<&pb::TokenUsage>, unheard: bool) -> Option<UsageEvent> {
        if self.payer.team.is_empty() {
            return None;
        }
        let cost_micros = usage.map(|usage| self.cost(usage)).unwrap_or_default();
        let metered = usage.copied().unwrap_or_default();
        Some(UsageEvent {
            id,
            team: self.payer.team.clone(),
            agent: self.payer.agent.clone(),
            user: self.payer.user.clone(),
            run_id: self.run_id.clone(),
            step: self.step.clone(),
            time: Some(self.time.into()),
            duration_micros: i64::try_from(self.elapsed().as_micros()).unwrap_or(i64::MAX),
            failed: unheard,
            outer_runs: self.payer.outer_runs.clone(),
            r#use: Some(Use::Model(ModelUse {
                model: self.model.entry.clone(),
                provider: self.model.provider.clone(),
                input_tokens: metered.input_tokens,
                output_tokens: metered.output_tokens,
                cached_input_tokens: metered.cached_input_tokens,
                reasoning_tokens: metered.reasoning_tokens,
                cost_micros,
                operation: self.operation.to_owned(),
                unmetered: usage.is_none_or(|usage| usage.estimated) && self.is_paid(),
            })),
        })
    }
}

/// Echo uses nothing, so it says nothing.
const FREE: &str = "Echo";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Mode, Table};

    fn metered(key: &str) -> Metered {
        let table = Table::new(Default::default(), Mode::Merge);
        let request =
            pb::GenerateRequest { idempotency_key: key.into(), run_id: "r".into(), ..Default::default() };
        let payer = Payer {
            team: "red".into(),
            agent: "a".into(),
            user: "user/alice".into(),
            outer_runs: vec!["red/outer".into()],
        };
        Metered::call(payer, &table.resolve("gpt-4o").unwrap(), &request)
    }

    fn answer(id: &str) -> pb::GenerateResponse {
        let usage = pb::TokenUsage { input_tokens: 1_000, output_tokens: 100, ..Default::default() };
        pb::GenerateResponse { response_id: id.into(), usage: Some(usage), ..Default::default() }
    }

    #[test]
    fn a_repeated_answer_is_one_event_and_another_answer_is_another() {
        let id = |key: &str, response: &str| metered(key).answered(&mut answer(response)).unwrap().id;
        assert_eq!(id("k", "chatcmpl-1"), id("k", "chatcmpl-1"));
        assert_ne!(id("k", "chatcmpl-1"), id("k", "chatcmpl-2"), "charged twice");
        assert_ne!(id("k", "chatcmpl-1"), id("other", "chatcmpl-1"));
        assert_ne!(id("k", ""), id("k", ""), "without the provider's id nothing can be known of repeats");
    }

    #[test]
    fn an_answer_tells_its_price_and_its_event() {
        let mut answered = answer("chatcmpl-1");
        let event = metered("k").answered(&mut answered).unwrap();
        assert_eq!(answered.cost_micros, 3_500);
        let told = RecordUsageRequest::decode(answered.usage_event).unwrap();
        assert_eq!(told.events, std::slice::from_ref(&event), "the caller can record the same");
        assert_eq!(
            (event.team.as_str(), event.run_id.as_str(), event.user.as_str()),
            ("red", "r", "user/alice")
        );
        assert_eq!(event.outer_runs, ["red/outer"]);
        let Some(Use::Model(used)) = event.r#use else { panic!("a model's use") };
        assert_eq!((used.input_tokens, used.output_tokens, used.cost_micros), (1_000, 100, 3_500));
        assert!(!used.unmetered);
    }

    #[test]
    fn d49_what_was_cut_off_is_estimated_and_says_so() {
        let seen =
            pb::TokenUsage { input_tokens: 1_000, output_tokens: 10, estimated: true, ..Default::default() };
        let event = metered("k").cut_off(&seen).unwrap();
        let Some(Use::Model(used)) = event.r#use else { panic!("a model's use") };
        assert!(event.failed && used.unmetered);
        assert_eq!((used.input_tokens, used.output_tokens, used.cost_micros), (1_000, 10, 2_600));
    }

    #[test]
    fn nobody_pays_where_there_is_no_team() {
        let mut nobody = metered("k");
        nobody.payer = Payer::default();
        assert_eq!(nobody.answered(&mut answer("x")), None);
    }
}
