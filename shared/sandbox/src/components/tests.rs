//! Components by themselves, written as text. What the jail adds is tested with the worker process.

use std::sync::{Arc, Mutex};

use super::*;
use crate::protocol::{HttpAnswer, HttpAsk, Program};

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl Outside for Kept {
    fn log(&self, level: &str, text: &str) {
        self.0.lock().unwrap().push(format!("{level}: {text}"));
    }

    fn http(&self, ask: HttpAsk) -> HttpAnswer {
        HttpAnswer::Failed(ask.url)
    }
}

/// A component around the text of `main`, which gets `$at` and `$length` of its arguments and gives the place of its
/// result.
fn component(main: &str) -> Vec<u8> {
    wat::parse_str(include_str!("test_component.wat").replace(";; MAIN", main)).unwrap()
}

fn ended(main: &str, arguments: &str, limits: Limits) -> (Outcome, Vec<String>) {
    let component = component(main);
    let frame = CallFrame {
        program: Program::Component(component.clone()),
        arguments: arguments.to_owned(),
        limits,
        http_requests: 0,
    };
    let kept = Kept::default();
    let outcome = call(&mut Compiled::default(), &component, &frame, Box::new(kept.clone())).outcome;
    let lines = kept.0.lock().unwrap().clone();
    (outcome, lines)
}

/// On a busy machine the processor's time runs out long after the clock's.
const LIMITS: Limits = Limits { wall_ms: 60_000, cpu_ms: 20_000, ..Limits::DEFAULT };

fn outcome(main: &str, arguments: &str) -> Outcome {
    ended(main, arguments, LIMITS).0
}

const ECHO: &str = "(call $ok (local.get $at) (local.get $length))";

#[test]
fn main_gets_text_and_gives_text() {
    let arguments = r#"{"a":[1,"ä"]}"#;
    assert_eq!(outcome(ECHO, arguments), Outcome::Returned(Some(arguments.to_owned())));
    let thrown = outcome("(call $err (local.get $at) (i32.const 3))", "boom");
    assert!(matches!(&thrown, Outcome::Threw(it) if it.message == "boo"), "{thrown:?}");
    let no_json = outcome(ECHO, "{a");
    assert!(matches!(&no_json, Outcome::Threw(it) if it.name == "TypeError"), "{no_json:?}");
    assert_eq!(outcome("(call $ok (local.get $at) (i32.const 0))", "{}"), Outcome::Returned(None));
}

#[test]
fn it_logs_and_each_call_is_fresh() {
    let main = "(call $log (i32.const 8) (i32.const 4) (local.get $at) (local.get $length))
        (i32.store8 (i32.const 300) (i32.add (i32.load8_u (i32.const 300)) (i32.const 49)))
        (call $ok (i32.const 300) (i32.const 1))";
    let component = component(main);
    let mut compiled = Compiled::default();
    let kept = Kept::default();
    for _ in 0..3 {
        let frame = CallFrame {
            program: Program::Component(component.clone()),
            arguments: "{}".to_owned(),
            limits: LIMITS,
            http_requests: 0,
        };
        let ended = call(&mut compiled, &component, &frame, Box::new(kept.clone()));
        // A second call in the same memory would give "b".
        assert_eq!(ended.outcome, Outcome::Returned(Some("1".to_owned())));
        assert!(!ended.spent);
    }
    assert_eq!(*kept.0.lock().unwrap(), ["warn: {}", "warn: {}", "warn: {}"]);
}

#[test]
fn every_limit_stops_it_by_name() {
    let endless = "(loop $again (br $again)) (unreachable)";
    let processor = Limits { cpu_ms: 200, ..LIMITS };
    assert_eq!(ended(endless, "{}", processor).0, Outcome::Exceeded(Limit::Cpu));
    let wall = Limits { wall_ms: 300, ..LIMITS };
    assert_eq!(ended(endless, "{}", wall).0, Outcome::Exceeded(Limit::Wall));
    let grow = "(drop (memory.grow (i32.const 2000))) (unreachable)";
    assert_eq!(outcome(grow, "{}"), Outcome::Exceeded(Limit::Heap));
    assert_eq!(outcome("(call $deep) (unreachable)", "{}"), Outcome::Exceeded(Limit::Stack));
    let much = "(loop $again
          (call $log (i32.const 8) (i32.const 4) (i32.const 0) (i32.const 60000)) (br $again))
        (unreachable)";
    assert_eq!(outcome(much, "{}"), Outcome::Exceeded(Limit::Logs));
    let large = Limits { result_bytes: 1, ..LIMITS };
    assert_eq!(ended(ECHO, "{}", large).0, Outcome::Exceeded(Limit::Result));
}

#[test]
fn what_it_imports_beside_ends_the_call_that_calls_it() {
    let trapped = outcome("(call $stranger) (unreachable)", "{}");
    assert!(matches!(&trapped, Outcome::Threw(it) if it.message.contains("stranger")), "{trapped:?}");
    let trap = outcome("(unreachable)", "{}");
    assert!(matches!(&trap, Outcome::Threw(it) if it.name == "RuntimeError"), "{trap:?}");
}

#[test]
fn a_component_is_looked_at_without_running_it() {
    let mut compiled = Compiled::default();
    let outline = check(&mut compiled, &component("(unreachable)"), LIMITS).unwrap();
    assert_eq!(outline.parameters, ["[object]"]);
    let empty = wat::parse_str("(component)").unwrap();
    assert_eq!(check(&mut compiled, &empty, LIMITS), Err(Problem::NoMain));
    let module = wat::parse_str("(module)").unwrap();
    for bytes in [module.as_slice(), b"", b"async function main() {}", &[0, b'a', b's', b'm', 9, 9, 9, 9]] {
        let looked = check(&mut compiled, bytes, LIMITS);
        assert!(matches!(looked, Err(Problem::Component(_))), "{looked:?}");
    }
}
