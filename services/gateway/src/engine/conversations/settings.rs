//! How a conversation is led: what may be asked for, and what counts where nothing is.

use sre_proto::error::invalid_argument;
use sre_proto::gateway::v1::{CompactionPolicy, ConcurrencyPolicy, ConversationMode, ConversationSettings};
use tonic::Status;

use super::machine::Limits;

const TOOL_CALLS: (i32, i32) = (100, 1000);
const ROUNDS: (i32, i32) = (25, 200);
const REPEATED: (i32, i32) = (3, 100);
const PARALLEL: (i32, i32) = (4, 16);
const RESULT_BYTES: (i32, i32) = (32 << 10, 256 << 10);
/// The longest answer, where nothing is said.
const OUTPUT_TOKENS: i64 = 8192;
const SYSTEM_PROMPT_BYTES: usize = 32 << 10;
const NAME_BYTES: usize = 256;

/// How a turn is led.
#[derive(Clone, Debug)]
pub struct Led {
    /// The model; the agent's where empty.
    pub model: String,
    /// In place of the agent's behaviour.
    pub system_prompt: String,
    /// Tokens of the window at most; none where the model decides.
    pub context_tokens: Option<i64>,
    /// Tokens of an answer at most.
    pub output_tokens: i64,
    /// What bounds the turn.
    pub limits: Limits,
    /// Tools that run at once.
    pub parallel: usize,
    /// What happens to concurrent prompts.
    pub concurrency: ConcurrencyPolicy,
    /// Whether what has no room is summed up.
    pub summarize: bool,
    /// Whether tools are offered.
    pub with_tools: bool,
    /// Whether the model plans, with the tools for that.
    pub planner: bool,
    /// Randomness.
    pub temperature: Option<f64>,
    /// How much the model thinks.
    pub reasoning_effort: String,
}

/// Refuses what makes no sense.
pub fn check(settings: &ConversationSettings) -> Result<(), Status> {
    let within = |field: &str, value: i32, (_, most): (i32, i32)| match value {
        value if (0..=most).contains(&value) => Ok(()),
        _ => Err(invalid_argument(&format!("settings.{field}"), format!("it is between 0 and {most}"))),
    };
    within("max_tool_calls", settings.max_tool_calls, TOOL_CALLS)?;
    within("max_rounds", settings.max_rounds, ROUNDS)?;
    within("max_repeated_calls", settings.max_repeated_calls, REPEATED)?;
    within("parallel_tools", settings.parallel_tools, PARALLEL)?;
    within("max_tool_result_bytes", settings.max_tool_result_bytes, RESULT_BYTES)?;
    if settings.max_context_tokens < 0 || settings.max_output_tokens < 0 {
        return Err(invalid_argument("settings", "numbers of tokens cannot be negative"));
    }
    for (field, text, most) in [
        ("model", &settings.model, NAME_BYTES),
        ("reasoning_effort", &settings.reasoning_effort, NAME_BYTES),
        ("system_prompt", &settings.system_prompt, SYSTEM_PROMPT_BYTES),
    ] {
        if text.len() > most {
            return Err(invalid_argument(
                &format!("settings.{field}"),
                format!("it has {most} bytes at most"),
            ));
        }
    }
    if settings.temperature.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
        return Err(invalid_argument("settings.temperature", "it is between 0 and 2"));
    }
    Ok(())
}

/// What the settings mean, for a prompt with a wish of its own about concurrency.
pub fn led(settings: &ConversationSettings, asked: ConcurrencyPolicy) -> Led {
    let or = |value: i32, (usual, most): (i32, i32)| if value <= 0 { usual } else { value.min(most) };
    let count = |value: i32, bounds| u32::try_from(or(value, bounds)).unwrap_or(1);
    let size = |value: i32, bounds| usize::try_from(or(value, bounds)).unwrap_or(1);
    let concurrency = match (asked, settings.concurrency()) {
        (ConcurrencyPolicy::Unspecified, ConcurrencyPolicy::Unspecified) => ConcurrencyPolicy::Queue,
        (ConcurrencyPolicy::Unspecified, own) => own,
        (asked, _) => asked,
    };
    Led {
        model: settings.model.clone(),
        system_prompt: settings.system_prompt.clone(),
        context_tokens: Some(settings.max_context_tokens).filter(|tokens| *tokens > 0),
        output_tokens: match settings.max_output_tokens {
            0 => OUTPUT_TOKENS,
            tokens => tokens,
        },
        limits: Limits {
            tool_calls: count(settings.max_tool_calls, TOOL_CALLS),
            rounds: count(settings.max_rounds, ROUNDS),
            repeated: count(settings.max_repeated_calls, REPEATED),
            result_bytes: size(settings.max_tool_result_bytes, RESULT_BYTES).max(64),
        },
        parallel: size(settings.parallel_tools, PARALLEL),
        concurrency,
        summarize: settings.compaction() == CompactionPolicy::Summarize,
        with_tools: !settings.without_tools,
        planner: settings.mode() == ConversationMode::Planner && !settings.without_tools,
        temperature: settings.temperature,
        reasoning_effort: settings.reasoning_effort.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_finite_and_a_prompt_may_wish_otherwise() {
        let led_by = led(&ConversationSettings::default(), ConcurrencyPolicy::Unspecified);
        assert_eq!(led_by.limits, Limits::default());
        assert_eq!((led_by.parallel, led_by.concurrency), (4, ConcurrencyPolicy::Queue));
        let settings = ConversationSettings {
            concurrency: ConcurrencyPolicy::Reject.into(),
            parallel_tools: 2,
            ..ConversationSettings::default()
        };
        assert_eq!(led(&settings, ConcurrencyPolicy::Unspecified).concurrency, ConcurrencyPolicy::Reject);
        assert_eq!(led(&settings, ConcurrencyPolicy::Interrupt).concurrency, ConcurrencyPolicy::Interrupt);
        assert!(check(&settings).is_ok());
        let refused = check(&ConversationSettings { parallel_tools: 17, ..settings });
        assert!(refused.unwrap_err().message().contains("between 0 and 16"));
    }
}
