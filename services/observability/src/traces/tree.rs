//! Events of a run as a tree: the run, its components, their models.

use std::collections::{HashMap, HashSet};

use prost_types::Timestamp;
use sre_proto::observability::v1::usage_event::Use;
use sre_proto::observability::v1::{Trace, TraceSpan, UsageEvent};

/// The root's id.
const ROOT: &str = "run";

/// Builds the tree. Events come in any order; a component that goes on has no event yet, so that its models' answers
/// hang at the root.
pub fn build(name: &str, events: &[UsageEvent]) -> Trace {
    let mut trace = Trace { name: name.to_owned(), ..Trace::default() };
    let mut root = TraceSpan {
        id: ROOT.to_owned(),
        name: "Agent.Skill".to_owned(),
        running: true,
        ..TraceSpan::default()
    };
    let mut spans = Vec::with_capacity(events.len());
    let mut end = None;
    let steps: HashSet<&str> = events
        .iter()
        .filter(|event| matches!(event.r#use, Some(Use::Component(_))))
        .map(|event| event.step.as_str())
        .collect();
    for event in events {
        match &event.r#use {
            Some(Use::Run(run)) => {
                if !run.trace_id.is_empty() {
                    trace.trace_id.clone_from(&run.trace_id);
                }
                if !run.skill.is_empty() {
                    root.title.clone_from(&run.skill);
                }
                if run.state.is_empty() {
                    root.start_time = event.time;
                } else {
                    end = event.time;
                    root.failed = event.failed;
                    root.running = false;
                }
            }
            Some(Use::Component(component)) => spans.push(TraceSpan {
                id: event.step.clone(),
                parent_id: ROOT.to_owned(),
                name: format!("Component.{}", component.r#type),
                title: component.name.clone(),
                ..span_of(event)
            }),
            Some(Use::Model(model)) => {
                let under = steps.get(event.step.as_str()).filter(|step| !step.is_empty());
                spans.push(TraceSpan {
                    id: event.id.clone(),
                    parent_id: under.map_or(ROOT, |step| *step).to_owned(),
                    name: format!("{} {}", model.operation, model.model),
                    title: model.provider.clone(),
                    input_tokens: model.input_tokens,
                    output_tokens: model.output_tokens,
                    cost_micros: model.cost_micros,
                    ..span_of(event)
                });
            }
            Some(Use::Service(service)) => {
                let under = steps.get(event.step.as_str()).filter(|step| !step.is_empty());
                spans.push(TraceSpan {
                    id: event.id.clone(),
                    parent_id: under.map_or(ROOT, |step| *step).to_owned(),
                    name: service.source.clone(),
                    title: service.provider.clone(),
                    cost_micros: service.cost_micros,
                    ..span_of(event)
                });
            }
            // The ledger gives what an event holds, one by one.
            Some(Use::Storage(_) | Use::LightRuns(_) | Use::Together(_)) | None => {}
        }
    }
    if root.start_time.is_none() {
        root.start_time = spans.iter().filter_map(|span| span.start_time).min_by_key(moment);
    }
    if let (Some(start), Some(end)) = (&root.start_time, &end) {
        root.duration_micros = (micros(end) - micros(start)).max(0);
    }
    trace.spans = in_order(root, spans);
    trace
}

fn span_of(event: &UsageEvent) -> TraceSpan {
    TraceSpan {
        start_time: event.time,
        duration_micros: event.duration_micros,
        failed: event.failed,
        ..TraceSpan::default()
    }
}

fn micros(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1_000)
}

fn moment(time: &Timestamp) -> (i64, i32) {
    (time.seconds, time.nanos)
}

/// A parent before its children, siblings by their beginning.
fn in_order(root: TraceSpan, spans: Vec<TraceSpan>) -> Vec<TraceSpan> {
    let mut children: HashMap<String, Vec<TraceSpan>> = HashMap::new();
    for span in spans {
        children.entry(span.parent_id.clone()).or_default().push(span);
    }
    let mut ordered = Vec::new();
    let mut next = vec![root];
    while let Some(span) = next.pop() {
        let mut below = children.remove(&span.id).unwrap_or_default();
        below.sort_by_key(|span| std::cmp::Reverse((span.start_time.as_ref().map(moment), span.id.clone())));
        next.extend(below);
        ordered.push(span);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use sre_proto::observability::v1::{ComponentUse, ModelUse, RunUse};

    fn event(id: &str, step: &str, seconds: i64, r#use: Use) -> UsageEvent {
        UsageEvent {
            id: id.into(),
            step: step.into(),
            time: Some(Timestamp { seconds, nanos: 0 }),
            duration_micros: 10,
            r#use: Some(r#use),
            ..UsageEvent::default()
        }
    }

    fn component(step: &str, seconds: i64) -> UsageEvent {
        let used = ComponentUse { r#type: "GenAILLM".into(), name: "Ask".into() };
        event(&format!("r/{step}"), step, seconds, Use::Component(used))
    }

    fn model(id: &str, step: &str, seconds: i64) -> UsageEvent {
        let used = ModelUse {
            model: "gpt-4o".into(),
            operation: "chat".into(),
            cost_micros: 7,
            ..ModelUse::default()
        };
        event(id, step, seconds, Use::Model(used))
    }

    fn run(state: &str, seconds: i64) -> UsageEvent {
        event(
            "r",
            "",
            seconds,
            Use::Run(RunUse { skill: "ask".into(), state: state.into(), ..RunUse::default() }),
        )
    }

    fn told(trace: &Trace) -> Vec<(&str, &str, &str)> {
        trace.spans.iter().map(|s| (s.id.as_str(), s.parent_id.as_str(), s.name.as_str())).collect()
    }

    #[test]
    fn parents_come_before_children_and_siblings_by_time() {
        let events =
            [model("llm/1", "B@2", 6), component("B@2", 5), run("", 1), component("A@1", 2), run("done", 8)];
        let trace = build("n", &events);
        let expected = [
            ("run", "", "Agent.Skill"),
            ("A@1", "run", "Component.GenAILLM"),
            ("B@2", "run", "Component.GenAILLM"),
            ("llm/1", "B@2", "chat gpt-4o"),
        ];
        assert_eq!(told(&trace), expected);
        let root = &trace.spans[0];
        assert!(!root.running && root.title == "ask" && root.duration_micros == 7_000_000);
        assert_eq!(trace.spans[3].cost_micros, 7);
    }

    #[test]
    fn a_run_that_goes_on_has_its_spans_so_far() {
        let trace = build("n", &[run("", 1), model("llm/1", "A@1", 3)]);
        assert_eq!(told(&trace), [("run", "", "Agent.Skill"), ("llm/1", "run", "chat gpt-4o")]);
        assert!(trace.spans[0].running);
        assert_eq!(trace.spans[0].start_time, Some(Timestamp { seconds: 1, nanos: 0 }));
    }
}
