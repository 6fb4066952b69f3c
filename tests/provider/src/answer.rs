//! One request as the server understood it, and the answer it is to render.

use serde_json::Value;

use crate::scenario::{Order, Scenario, Step, ToolCall, Tools, Usage, UsageStyle};

/// What is asked, whatever the format.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The place of the request among all: ids are made of it.
    pub number: u64,
    /// The first part of the path before the format's own: `groq`, `xai`, or empty.
    pub flavour: String,
    /// The model.
    pub model: String,
    /// Whether the answer comes in pieces.
    pub streams: bool,
    /// The body.
    pub body: Value,
}

/// An answer to be rendered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked.
    pub asked: Asked,
    /// Its pieces: no usage and no finish among them.
    pub steps: Vec<Step>,
    /// What it used.
    pub usage: Usage,
    /// Where a stream says so.
    pub usage_style: UsageStyle,
    /// Why it ends: a word of [`Step::Finish`].
    pub finish: String,
    /// How its bytes are cut and dressed.
    pub scenario: Scenario,
}

impl Answer {
    /// The answer of a scenario to a request.
    pub fn of(asked: Asked, scenario: Scenario) -> Self {
        let mut steps = scenario.steps.clone();
        let mut usage = None;
        let mut finish = None;
        steps.retain(|step| match step {
            Step::Usage(used) => {
                usage = Some(*used);
                false
            }
            Step::Finish(word) => {
                finish = Some(word.clone());
                false
            }
            _ => true,
        });
        if steps.is_empty() && finish.as_deref() != Some("blocked") {
            steps = usual(&asked);
        }
        for step in &mut steps {
            if let Step::Tools(tools) = step {
                for (place, call) in tools.calls.iter_mut().enumerate().filter(|(_, call)| call.id.is_empty())
                {
                    call.id = format!("call_{}_{place}", asked.number);
                }
            }
        }
        let calls = steps.iter().any(|step| matches!(step, Step::Tools(_)));
        let usage = usage.unwrap_or_else(|| counted(&asked, &steps));
        let finish = finish.unwrap_or_else(|| if calls { "tool_calls" } else { "stop" }.to_owned());
        Self { asked, steps, usage, usage_style: scenario.usage, finish, scenario }
    }

    /// All text.
    pub fn text(&self) -> String {
        self.gather(|step| match step {
            Step::Text(text) => Some(text),
            _ => None,
        })
    }

    /// All thinking.
    pub fn thinking(&self) -> String {
        self.gather(|step| match step {
            Step::Think(text) => Some(text),
            _ => None,
        })
    }

    /// The words of a refusal.
    pub fn refusal(&self) -> String {
        self.gather(|step| match step {
            Step::Refusal(text) => Some(text),
            _ => None,
        })
    }

    /// All calls.
    pub fn calls(&self) -> Vec<&ToolCall> {
        let tools = self.steps.iter().filter_map(|step| match step {
            Step::Tools(tools) => Some(&tools.calls),
            _ => None,
        });
        tools.flatten().collect()
    }

    /// All sources.
    pub fn cites(&self) -> Vec<&crate::scenario::Cite> {
        let cites = self.steps.iter().filter_map(|step| match step {
            Step::Cite(cite) => Some(cite),
            _ => None,
        });
        cites.collect()
    }

    /// Whether an answer in one piece fails with an error instead.
    pub fn error(&self) -> Option<&crate::scenario::Refuse> {
        self.steps.iter().find_map(|step| match step {
            Step::Error(error) => Some(error),
            _ => None,
        })
    }

    /// An id of this answer.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}{:08}", self.asked.number)
    }

    fn gather<'a>(&'a self, of: impl Fn(&'a Step) -> Option<&'a String>) -> String {
        self.steps.iter().filter_map(of).map(String::as_str).collect()
    }
}

/// A piece of a call, as formats with fragments send it.
#[derive(Debug, Clone)]
pub struct ToolPiece<'a> {
    /// The call's place in its step.
    pub place: usize,
    /// The call, in its first piece.
    pub head: Option<&'a ToolCall>,
    /// More of its arguments.
    pub fragment: String,
}

/// The pieces of calls: what is in one list comes in one chunk.
pub fn tool_pieces(tools: &Tools) -> Vec<Vec<ToolPiece<'_>>> {
    let head = |(place, call)| ToolPiece { place, head: Some(call), fragment: String::new() };
    let heads = tools.calls.iter().enumerate().map(head);
    if tools.order == Order::Together {
        let whole = heads.map(|piece| ToolPiece {
            fragment: piece.head.map(|call| call.arguments.clone()).unwrap_or_default(),
            ..piece
        });
        return vec![whole.collect()];
    }
    let mut by_call: Vec<Vec<ToolPiece<'_>>> = heads
        .map(|head| {
            let place = head.place;
            let fragments = head.head.map(|call| fragments(&call.arguments)).unwrap_or_default();
            let rest = fragments.into_iter().map(|fragment| ToolPiece { place, head: None, fragment });
            std::iter::once(head).chain(rest).collect()
        })
        .collect();
    if tools.order == Order::Sequential {
        return by_call.into_iter().flatten().map(|piece| vec![piece]).collect();
    }
    let longest = by_call.iter().map(Vec::len).max().unwrap_or(0);
    let mut turns = Vec::new();
    for _ in 0..longest {
        for pieces in by_call.iter_mut().filter(|pieces| !pieces.is_empty()) {
            turns.push(vec![pieces.remove(0)]);
        }
    }
    turns
}

/// A text in pieces of a few characters.
fn fragments(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(6).map(|piece| piece.iter().collect()).collect()
}

/// The usual answer: what was asked, said back word by word; the same each time.
fn usual(asked: &Asked) -> Vec<Step> {
    let text = format!("You said: {}", last_text(&asked.body));
    text.split_inclusive(' ').map(|word| Step::Text(word.to_owned())).collect()
}

/// Words of the request and of the answer stand for tokens.
fn counted(asked: &Asked, steps: &[Step]) -> Usage {
    let mut input = 0;
    each_text(&asked.body, &mut |text| input += text.split_whitespace().count() as u64);
    let words = |text: &String| text.split_whitespace().count() as u64;
    let output = steps.iter().map(|step| match step {
        Step::Text(text) | Step::Think(text) | Step::Refusal(text) => words(text),
        Step::Tools(tools) => tools.calls.iter().map(|call| 2 + words(&call.arguments)).sum(),
        _ => 0,
    });
    let thought = steps.iter().map(|step| match step {
        Step::Think(text) => words(text),
        _ => 0,
    });
    Usage { input: input.max(1), output: output.sum(), reasoning: thought.sum(), ..Usage::default() }
}

/// The texts of the last message, in the words of any format.
pub fn last_text(body: &Value) -> String {
    let lists = ["messages", "contents", "input", "instances"];
    let last = lists.iter().find_map(|name| match &body[*name] {
        Value::Array(items) => items.last(),
        Value::String(_) => Some(&body[*name]),
        _ => None,
    });
    let mut texts = Vec::new();
    match last {
        Some(Value::String(text)) => texts.push(text.clone()),
        Some(message) => each_text(message, &mut |text| texts.push(text.to_owned())),
        None => {}
    }
    texts.join(" ")
}

/// Every text that a person or model wrote.
fn each_text(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("text" | "content" | "input" | "output" | "prompt" | "system", Value::String(text)) => {
                        found(text)
                    }
                    (_, Value::Object(_) | Value::Array(_)) => each_text(value, found),
                    _ => {}
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| each_text(item, found)),
        _ => {}
    }
}
