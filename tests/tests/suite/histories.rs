//! What conversations send is what every provider takes: the random conversations of the gateway against the message
//! grammar of each provider, through the adapter that would send them.

use serde_json::Value;
use sre_gateway::engine::conversations::simulation;
use sre_llm::inference::grammar::Grammar;
use sre_proto::llm::v1::{ChatMessage, GenerateRequest};

/// Histories that are sent to every provider.
const SENT: usize = 100_000;

/// As many threads as CI has cores; each plays worlds of its own.
const THREADS: usize = 2;

fn says(body: &Value, text: &str) -> bool {
    match body {
        Value::String(said) => said.contains(text),
        Value::Array(members) => members.iter().any(|member| says(member, text)),
        Value::Object(members) => members.values().any(|member| says(member, text)),
        _ => false,
    }
}

fn check(messages: &[ChatMessage], asked: &str) {
    let request =
        GenerateRequest { messages: messages.to_vec(), max_tokens: Some(100), ..GenerateRequest::default() };
    for grammar in Grammar::ALL {
        let body = grammar.body(request.clone()).unwrap();
        if let Err(wrong) = grammar.check(&body) {
            panic!("{grammar:?}: {wrong}\n{body:#}\nof {messages:#?}");
        }
        assert!(says(&body, asked.trim()), "{grammar:?} lost {asked:?}\n{body:#}");
    }
}

#[test]
fn every_provider_takes_whatever_a_conversation_sends() {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let first_seed = thread as u64 * 1_000_000;
                simulation::play(first_seed, SENT / THREADS, &mut check);
            });
        }
    });
}
