//! Calls of the model: what it is sent, and what it answers.

use sre_components::toolbox::About;
use sre_proto::error::{Reason, status, with_metadata};
use sre_proto::gateway::v1::turn_event::Event;
use sre_proto::gateway::v1::{ModelRequested, TurnContent};
use sre_proto::llm::v1::generate_event::Event as Generated;
use sre_proto::llm::v1::inference_client::InferenceClient;
use sre_proto::llm::v1::{GenerateRequest, GenerateResponse, GenerateStreamRequest, Model, ToolMode};
use sre_service::{Link, Role};
use tonic::{Code, Request, Status};

use super::attachments::Attachments;
use super::history::{Item, Kept};
use super::planner::{self, Plan};
use super::scope::TurnScope;
use super::trace::Called;
use super::window::{self, TooLong, Weighed, Window};
use super::wire::{self, Target};

/// A model's window, where the catalogue does not say.
const CONTEXT_TOKENS: i64 = 131_072;
/// What is kept free beside what is counted, in tokens.
const RESERVE: i64 = 64;

/// The model of a turn and the room it has.
pub struct Asking {
    /// Its name.
    pub name: String,
    /// What the catalogue says.
    pub model: Model,
    /// The way to it.
    pub link: Link,
    /// The longest answer asked for.
    pub output_tokens: i64,
    /// What a window may take, counted as here.
    pub budget: i64,
    /// The instructions.
    pub system: String,
}

/// A call that may be made.
pub struct Prepared {
    /// The request.
    pub request: GenerateRequest,
    /// What watchers hear of it.
    pub requested: ModelRequested,
    /// The window's first message.
    pub from: i64,
}

/// Finds the model of a turn, and what room there is.
pub async fn asking(scope: &TurnScope, plan: Option<&Plan>) -> Result<Asking, Status> {
    let led = &scope.led;
    let name = if led.model.is_empty() { scope.compiled.default_model.clone() } else { led.model.clone() };
    if name.is_empty() {
        return Err(status(
            Code::FailedPrecondition,
            Reason::ModelNotFound,
            "the agent names no model: set \"defaultModel\" in its document, or a model for the conversation",
        ));
    }
    let link = scope.link(Role::Llm).await?;
    let agent = &scope.version.agent;
    let model = scope.engine.models.get(agent, &name, link.clone(), scope.left()).await?;
    let mut system = system_prompt(scope);
    if scope.led.planner {
        // What the plan is when the turn begins, so that it stays the same for all calls of the turn.
        system = planner::instructed(&system, plan);
    }
    let known = |tokens: i64| Some(tokens).filter(|tokens| *tokens > 0);
    let context = known(model.context_tokens).unwrap_or(CONTEXT_TOKENS);
    let longest = known(model.output_tokens).unwrap_or(context);
    let output_tokens = led.output_tokens.min(longest).min(context / 2).max(1);
    let input = led.context_tokens.unwrap_or(context).min(context - output_tokens);
    let tools = scope.tools.iter().map(|known| {
        let schema = String::from_utf8_lossy(&known.tool.parameters_json);
        format!("{} {} {schema}", known.tool.name, known.tool.description)
    });
    let texts: Vec<String> = std::iter::once(system.clone()).chain(tools).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let weights = &scope.engine.conversations.weights;
    let beside = weights.count(&link, &name, &texts).await + RESERVE;
    let budget = counted_here(input, weights.factor(&name)) - beside;
    Ok(Asking { name, model, link, output_tokens, budget, system })
}

/// A number of the provider's tokens as a number of those counted here.
fn counted_here(tokens: i64, factor: f64) -> i64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "windows fit a double")]
    let counted = (tokens as f64 / factor) as i64;
    counted
}

/// What a turn's model is told first: the agent's behaviour, or what its own tools say of themselves.
fn system_prompt(scope: &TurnScope) -> String {
    match &scope.own_tools {
        Some(own) => told(&own.about(), &scope.led.system_prompt),
        None => instructions(&scope.compiled.plan, &scope.led.system_prompt),
    }
}

/// The agent's behaviour under its name, or what the conversation says in its place.
pub fn instructions(plan: &sre_engine::Plan, own: &str) -> String {
    let identity = plan.identity();
    told(&About { name: identity.name.clone(), description: identity.behavior.clone() }, own)
}

fn told(about: &About, own: &str) -> String {
    let text = if own.is_empty() { &about.description } else { own };
    match about.name.as_str() {
        "" => text.to_owned(),
        name => format!("Assistant Name : {name}\n\n{text}"),
    }
}

impl Asking {
    /// The next call of a turn that began at `turn_from`.
    pub async fn prepare(
        &self,
        scope: &TurnScope,
        log: &[Weighed],
        turn_from: i64,
        with_tools: bool,
        attachments: &mut Attachments,
    ) -> Result<Prepared, Status> {
        let estimate = super::weights::estimate;
        let window =
            window::build(log, turn_from, self.budget, &estimate).map_err(|long| self.too_long(long))?;
        let Window { kept, summary, from, tokens, .. } = window;
        let kept = attachments.read(scope, kept, turn_from).await;
        let mut system = self.system.clone();
        if let Some(summary) = summary {
            if !system.is_empty() {
                system.push_str("\n\n");
            }
            system.push_str("What was said earlier in this conversation, in short:\n");
            system.push_str(&summary);
        }
        let target = Target { provider: self.model.provider.clone(), model_id: self.model.model_id.clone() };
        let messages = wire::messages(&system, &kept, &target);
        let tools: Vec<_> = match with_tools {
            true => scope.tools.iter().map(|known| known.tool.clone()).collect(),
            false => Vec::new(),
        };
        let request_id = sre_proto::ids::new_uuid().to_string();
        let requested = ModelRequested {
            request_id: request_id.clone(),
            model: self.name.clone(),
            messages: i32::try_from(messages.len()).unwrap_or(i32::MAX),
            context_tokens: tokens,
            max_tokens: self.output_tokens,
            files: files(&kept),
            tools: i32::try_from(tools.len()).unwrap_or(i32::MAX),
        };
        let tool_mode = if tools.is_empty() { ToolMode::Unspecified } else { ToolMode::Auto };
        let request = GenerateRequest {
            model: self.name.clone(),
            messages,
            tools,
            tool_mode: tool_mode.into(),
            temperature: scope.led.temperature,
            max_tokens: Some(self.output_tokens),
            reasoning_effort: scope.led.reasoning_effort.clone(),
            ..self.named(scope, &request_id)
        };
        Ok(Prepared { request, requested, from })
    }

    fn named(&self, scope: &TurnScope, request_id: &str) -> GenerateRequest {
        GenerateRequest {
            idempotency_key: request_id.to_owned(),
            run_id: scope.id.clone(),
            step: format!("turn/{request_id}"),
            conversation_id: scope.asked.conversation.clone(),
            ..GenerateRequest::default()
        }
    }

    fn too_long(&self, long: TooLong) -> Status {
        let message = format!(
            "what the model {} must see takes {} tokens and it has room for {}: ask with less text, or choose a model \
             with a larger window",
            self.name,
            long.needed,
            self.budget.max(0)
        );
        let counts = [("needed", long.needed.to_string()), ("budget", self.budget.max(0).to_string())];
        with_metadata(Code::FailedPrecondition, Reason::ContextLength, message, counts)
    }
}

fn files(kept: &[Kept]) -> Vec<String> {
    let asked = kept.iter().filter_map(|kept| match &kept.item {
        Item::User(asked) => Some(&asked.files),
        _ => None,
    });
    asked.flatten().map(|file| file.name.clone()).collect()
}

/// Calls the model and passes on what it says as it says it.
pub async fn call(
    scope: &TurnScope,
    link: Link,
    request: GenerateRequest,
) -> Result<GenerateResponse, Status> {
    let mut called = Called::begin(scope, &request);
    let answered = answer(scope, link, request, &mut called).await;
    called.ended(&answered);
    answered
}

async fn answer(
    scope: &TurnScope,
    link: Link,
    request: GenerateRequest,
    called: &mut Called<'_>,
) -> Result<GenerateResponse, Status> {
    let request_id = request.idempotency_key.clone();
    let mut call = Request::new(GenerateStreamRequest { request: Some(request) });
    call.set_timeout(scope.left());
    let mut client = InferenceClient::new(link).max_decoding_message_size(8 << 20);
    let mut events = client.generate_stream(call).await?.into_inner();
    let content = |text: String| TurnContent { request_id: request_id.clone(), text, passed_through: false };
    while let Some(event) = events.message().await? {
        match event.event {
            Some(Generated::Text(text)) => {
                called.piece(text.len());
                scope.tell(|| Event::Content(content(text)));
            }
            Some(Generated::Thinking(text)) => {
                called.piece(text.len());
                scope.tell(|| Event::Thinking(content(text)));
            }
            Some(Generated::Finished(answer)) => return Ok(answer),
            // Calls come whole in the answer; who answers is in it, too.
            Some(Generated::ToolCall(_) | Generated::Fallback(_)) | None => {}
        }
    }
    Err(status(Code::Unavailable, Reason::ProviderFailed, "the model's answer broke off before its end"))
}
