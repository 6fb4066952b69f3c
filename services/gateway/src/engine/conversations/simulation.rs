//! Random turns, aborts, failures, crashes, concurrent writers, limits, compaction and provider switches over the pure
//! machine and window builder: no user text is lost, and whoever looks on sees everything that a model would be sent.
//! For tests: here against the grammar of all providers, in `tests` against that of each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc, reason = "it is a test")]

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sre_proto::gateway::v1::ModelRequested;
use sre_proto::llm::v1::{ChatMessage, FinishReason, GenerateResponse, Part, Thinking, Tool, ToolCall, part};
use sre_proto::memory::v1::StoredMessage;

use super::history::{Asked, Item, Kept};
use super::machine::{End, Limits, Next, Turn};
use super::steps::{Entry, Mark, Step};
use super::tools::Declared;
use super::window::{self, Weighed};
use super::wire::{self, Target};

/// What looks on: the messages of a request, and the text of the prompt that they answer.
pub type OnSent<'a> = &'a mut dyn FnMut(&[ChatMessage], &str);

/// A store that commits a step with its messages, or neither.
#[derive(Default)]
struct Store {
    /// The messages, as they are read back.
    log: Vec<Weighed>,
    steps: Vec<Step>,
}

impl Store {
    fn commit(&mut self, turn: &mut Turn, entries: Vec<Entry>) {
        for entry in entries {
            turn.apply(&entry.step);
            self.steps.push(entry.step);
            entry.messages.into_iter().for_each(|message| self.add(message));
        }
    }

    fn add(&mut self, message: StoredMessage) {
        let sequence = self.log.len() as i64 + 1;
        let stored = StoredMessage { sequence, ..message };
        self.log.push(weigh(Kept::read(&stored).expect("it wrote it")));
    }

    /// Another owner folds what the journal says.
    fn refold(&self, limits: &Limits) -> Turn {
        let mut turn = Turn::new("00-run", limits.clone());
        self.steps.iter().for_each(|step| turn.apply(step));
        turn
    }
}

fn tokens(text: &str) -> i64 {
    text.len() as i64 / 4 + 1
}

fn weigh(kept: Kept) -> Weighed {
    let tokens = 4 + match &kept.item {
        Item::Tools(turn) => {
            let calls = turn.calls.iter().map(|called| tokens(&called.arguments) + tokens(&called.result));
            tokens(&turn.said.text) + calls.sum::<i64>()
        }
        other => tokens(other.text()),
    };
    Weighed { kept, tokens }
}

struct World<'a> {
    rng: StdRng,
    store: Store,
    users: usize,
    sent: usize,
    too_long: usize,
    on_sent: OnSent<'a>,
}

impl World<'_> {
    fn text(&mut self, longest: usize) -> String {
        let piece = if self.rng.random() { "é" } else { "xy" };
        piece.repeat(self.rng.random_range(0..longest / 2))
    }

    fn limits(&mut self) -> Limits {
        Limits {
            tool_calls: self.rng.random_range(1..9),
            rounds: self.rng.random_range(1..6),
            repeated: self.rng.random_range(1..4),
            result_bytes: self.rng.random_range(100..3000),
        }
    }

    fn declared(&mut self) -> Vec<Declared> {
        let tool = |name: &str| Declared {
            tool: Tool { name: name.into(), ..Tool::default() },
            status: format!("Calling {name}"),
        };
        ["a", "b"].into_iter().map(tool).collect()
    }

    fn answer(&mut self, tools: bool) -> GenerateResponse {
        let calls = if self.rng.random_range(0..3) > 0 && (tools || self.rng.random_range(0..9) == 0) {
            self.rng.random_range(1..5)
        } else {
            0
        };
        let ids = ["", "call_1", "call_2", "same", "same"];
        let names = ["a", "b", "nowhere"];
        let arguments = ["{}", r#"{"error":"x"}"#, "not json", r#"{"q": 1}"#, "", "[1"];
        let tool_calls = (0..calls)
            .map(|_| ToolCall {
                id: ids[self.rng.random_range(0..ids.len())].into(),
                name: names[self.rng.random_range(0..names.len())].into(),
                arguments_json: arguments[self.rng.random_range(0..arguments.len())].into(),
                signature: b"sig".as_slice().into(),
            })
            .collect();
        let thinking = Thinking { text: "t".into(), signature: "s".into(), redacted: String::new() };
        let (provider, model_id) = if self.rng.random() { ("P", "p1") } else { ("Q", "q1") };
        let reasons =
            [FinishReason::Stop, FinishReason::Length, FinishReason::ToolCalls, FinishReason::ContentFilter];
        GenerateResponse {
            text: self.text(200),
            tool_calls,
            finish_reason: reasons[self.rng.random_range(0..reasons.len())].into(),
            provider: provider.into(),
            model_id: model_id.into(),
            parts: if self.rng.random() {
                vec![Part { part: Some(part::Part::Thinking(thinking)) }]
            } else {
                Vec::new()
            },
            ..GenerateResponse::default()
        }
    }

    /// What the model would be sent, checked. False where the turn itself is too long for it.
    fn send(&mut self, turn: &mut Turn) -> bool {
        let log = &self.store.log;
        let budget = self.rng.random_range(100..4000);
        let built = match window::build(log, turn.from, budget, &tokens) {
            Ok(built) => built,
            Err(too_long) => {
                assert!(too_long.needed > budget);
                self.too_long += 1;
                return false;
            }
        };
        turn.window_from = built.from;
        assert!(built.tokens <= budget, "{} of {budget}", built.tokens);
        let target = match self.rng.random_range(0..3) {
            0 => Target { provider: "P".into(), model_id: "p1".into() },
            1 => Target { provider: "Q".into(), model_id: "q1".into() },
            _ => Target::default(),
        };
        let messages = wire::messages("system", &built.kept, &target);
        for message in &messages {
            let foreign = message.tool_calls.iter().any(|call| !call.signature.is_empty());
            assert!(!foreign || !target.provider.is_empty(), "a signature went elsewhere");
        }
        // What the user asked in this turn is there, whole.
        let asked = &self.store.log[usize::try_from(turn.from - 1).unwrap()].kept;
        assert!(messages.iter().any(|message| message.text.contains(asked.item.text())));
        (self.on_sent)(&messages, asked.item.text());
        self.sent += 1;
        true
    }

    fn one_turn(&mut self) {
        self.store.steps.clear();
        let limits = self.limits();
        let declared = self.declared();
        let mut turn = Turn::new("00-run", limits.clone());
        loop {
            if self.rng.random_range(0..12) == 0 {
                // The owner dies; whoever comes next folds.
                turn = self.store.refold(&limits);
            }
            if self.rng.random_range(0..40) == 0 && !matches!(turn.next(), Next::Over(_)) {
                let entries = if self.rng.random() { turn.abort("enough") } else { turn.fail("X", "broke") };
                self.store.commit(&mut turn, entries);
            }
            let entries = match turn.next() {
                Next::Enter => {
                    self.users += 1;
                    let text = format!("[{}] ", self.users) + &self.text(300);
                    let asked = Asked { text, ..Asked::default() };
                    turn.begin(self.store.log.len() as i64, &format!("msg_{}", self.users), asked, None)
                }
                Next::Ask { tools, .. } => {
                    if !self.send(&mut turn) {
                        let failed = turn.fail("CONTEXT_LENGTH", "too long");
                        self.store.commit(&mut turn, failed);
                        continue;
                    }
                    let request_id = format!("{:016x}", self.rng.random::<u64>());
                    let asked = turn.ask(ModelRequested { request_id, ..ModelRequested::default() });
                    self.store.commit(&mut turn, asked);
                    if self.rng.random_range(0..10) == 0 {
                        continue;
                    }
                    let answer = self.answer(tools);
                    turn.answered(answer, "m")
                }
                Next::Plan => turn.plan(&declared),
                Next::RunTools(open) => {
                    let index = open[self.rng.random_range(0..open.len())];
                    if turn.calls()[index].run.is_empty() {
                        turn.started(index, "00-child")
                    } else {
                        let result = self.text(6000);
                        turn.finished(index, &result, self.rng.random())
                    }
                }
                Next::CloseRound => turn.close_round(),
                Next::Finish => turn.finish(),
                Next::Over(end) => {
                    assert!(matches!(end, End::Done | End::Failed { .. } | End::Cancelled { .. }));
                    break;
                }
            };
            self.store.commit(&mut turn, entries);
        }
        let ends = self.store.steps.iter().filter(|step| step.mark() == Mark::Over).count();
        assert_eq!(ends, 1, "exactly one end");
        assert!(turn.rounds <= limits.rounds + 1, "{} of {}", turn.rounds, limits.rounds);
    }

    /// Between turns: a summary of what was, or another writer's message.
    fn between(&mut self) {
        match self.rng.random_range(0..12) {
            0 => {
                let up_to = self.store.log.len() as i64;
                let item = Item::Summary { up_to, text: self.text(60) };
                self.store.add(item.stored("s", ""));
            }
            1 => {
                self.users += 1;
                let text = format!("[{}] imported", self.users);
                let item = Item::User(Asked { text, ..Asked::default() });
                self.store.add(item.stored("i", ""));
            }
            _ => {}
        }
    }

    /// Every prompt is in the log, once and in order.
    fn assert_nothing_is_lost(&self, seed: u64) {
        let kept = self.store.log.iter().map(|weighed| &weighed.kept);
        let texts: Vec<&str> = kept
            .filter(|kept| matches!(&kept.item, Item::User(asked) if !asked.internal))
            .map(|kept| kept.item.text())
            .collect();
        for number in 1..=self.users {
            let mark = format!("[{number}] ");
            assert_eq!(texts.iter().filter(|text| text.starts_with(&mark)).count(), 1, "seed {seed}: {mark}");
        }
        assert!(texts.is_sorted_by_key(|text| {
            text[1..].split(']').next().unwrap_or_default().parse::<usize>().unwrap_or_default()
        }));
    }
}

/// Plays the worlds from this seed on until so many histories were sent; panics where a text is lost.
pub fn play(first_seed: u64, least: usize, on_sent: OnSent<'_>) {
    let mut sent = 0;
    let mut seed = first_seed;
    let mut too_long = 0;
    while sent < least {
        let mut world = World {
            rng: StdRng::seed_from_u64(seed),
            store: Store::default(),
            users: 0,
            sent: 0,
            too_long: 0,
            on_sent: &mut *on_sent,
        };
        for _ in 0..12 {
            world.one_turn();
            world.between();
        }
        world.assert_nothing_is_lost(seed);
        sent += world.sent;
        too_long += world.too_long;
        seed += 1;
    }
    assert!(too_long > 0, "the case that does not fit came up");
}

#[cfg(test)]
#[test]
fn whatever_happens_what_is_sent_is_valid_and_no_user_text_is_lost() {
    play(0, 20_000, &mut |messages, _| {
        if let Some(wrong) = wire::wrong(messages) {
            panic!("{wrong}: {messages:#?}");
        }
    });
}
