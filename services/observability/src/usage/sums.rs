//! What an event adds.

use sre_proto::observability::v1::usage_event::Use;
use sre_proto::observability::v1::{UsageEvent, UsageRow};

/// The id of a component's event ends so where the engine settled it by itself: an endpoint, an output, an input that
/// no component takes. It is a span of its run's trace and counts as no execution.
const SETTLED: &str = "/settled";

/// Sums of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Runs that ended.
    pub runs: i64,
    /// Executions of components.
    pub executions: i64,
    /// Their time.
    pub component_micros: i64,
    /// Answers of models.
    pub model_calls: i64,
    /// Tokens of requests.
    pub input_tokens: i64,
    /// Tokens of answers.
    pub output_tokens: i64,
    /// Tokens of requests that were cached.
    pub cached_input_tokens: i64,
    /// Tokens of thinking.
    pub reasoning_tokens: i64,
    /// Millionths of a US dollar.
    pub cost_micros: i64,
    /// Bytes times hours.
    pub byte_hours: i64,
    /// Answers of which nobody knows what they used.
    pub unmetered_calls: i64,
    /// Uses of services outside.
    pub service_calls: i64,
    /// Credits that those charged.
    pub service_credits: i64,
}

impl Sums {
    /// What an event adds. Negative numbers are none: nothing takes away from the ledger.
    pub fn of(event: &UsageEvent) -> Self {
        let count = |number: i64| number.max(0);
        let time = count(event.duration_micros);
        match &event.r#use {
            Some(Use::Run(run)) => Self { runs: i64::from(!run.state.is_empty()), ..Self::default() },
            Some(Use::Component(_)) if event.id.ends_with(SETTLED) => Self::default(),
            Some(Use::Component(_)) => Self { executions: 1, component_micros: time, ..Self::default() },
            Some(Use::Model(model)) => Self {
                model_calls: 1,
                input_tokens: count(model.input_tokens),
                output_tokens: count(model.output_tokens),
                cached_input_tokens: count(model.cached_input_tokens),
                reasoning_tokens: count(model.reasoning_tokens),
                cost_micros: count(model.cost_micros),
                unmetered_calls: i64::from(model.unmetered),
                ..Self::default()
            },
            Some(Use::Storage(storage)) => Self { byte_hours: count(storage.byte_hours), ..Self::default() },
            Some(Use::LightRuns(light)) => Self {
                runs: count(light.runs),
                executions: count(light.executions),
                component_micros: time,
                ..Self::default()
            },
            Some(Use::Service(service)) => Self {
                service_calls: 1,
                service_credits: count(service.credits),
                cost_micros: count(service.cost_micros),
                ..Self::default()
            },
            // The ledger adds what it holds, one by one.
            Some(Use::Together(_)) | None => Self::default(),
        }
    }

    /// The numbers, in the order of the columns.
    pub fn columns(&self) -> [i64; 13] {
        [
            self.runs,
            self.executions,
            self.component_micros,
            self.model_calls,
            self.input_tokens,
            self.output_tokens,
            self.cached_input_tokens,
            self.reasoning_tokens,
            self.cost_micros,
            self.byte_hours,
            self.unmetered_calls,
            self.service_calls,
            self.service_credits,
        ]
    }

    /// Sums from the columns.
    pub fn of_columns(columns: [i64; 13]) -> Self {
        let [
            runs,
            executions,
            component_micros,
            model_calls,
            input_tokens,
            output_tokens,
            cached_input_tokens,
            reasoning_tokens,
            cost_micros,
            byte_hours,
            unmetered_calls,
            service_calls,
            service_credits,
        ] = columns;
        Self {
            runs,
            executions,
            component_micros,
            model_calls,
            input_tokens,
            output_tokens,
            cached_input_tokens,
            reasoning_tokens,
            cost_micros,
            byte_hours,
            unmetered_calls,
            service_calls,
            service_credits,
        }
    }

    /// Both together.
    pub fn plus(&self, other: &Self) -> Self {
        let mut columns = self.columns();
        for (mine, theirs) in columns.iter_mut().zip(other.columns()) {
            *mine = mine.saturating_add(theirs);
        }
        Self::of_columns(columns)
    }

    /// A row of an answer.
    pub fn row(&self, key: String) -> UsageRow {
        UsageRow {
            key,
            runs: self.runs,
            executions: self.executions,
            component_micros: self.component_micros,
            model_calls: self.model_calls,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cached_input_tokens: self.cached_input_tokens,
            reasoning_tokens: self.reasoning_tokens,
            cost_micros: self.cost_micros,
            storage_byte_hours: self.byte_hours,
            unmetered_calls: self.unmetered_calls,
            service_calls: self.service_calls,
            service_credits: self.service_credits,
        }
    }
}
