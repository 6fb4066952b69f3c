//! The interpreter by itself. What the jail adds is tested with the worker process.

use std::cell::RefCell;

use serde_json::{Value, json};

use super::*;
use crate::protocol::Program;

#[derive(Default)]
struct Kept(RefCell<Vec<String>>);

impl Outside for Kept {
    fn log(&self, level: &str, text: &str) {
        self.0.borrow_mut().push(format!("{level}: {text}"));
    }

    fn http(&self, ask: HttpAsk) -> HttpAnswer {
        HttpAnswer::Answered {
            status: 200,
            headers: vec![("x-method".to_owned(), ask.method)],
            body: ask.body.unwrap_or_default(),
            url: ask.url,
        }
    }
}

fn frame(source: &str, arguments: &Value) -> CallFrame {
    CallFrame {
        program: Program::Script(source.to_owned()),
        arguments: arguments.to_string(),
        // On a busy machine the processor's time runs out long after the clock's.
        limits: Limits { wall_ms: 60_000, cpu_ms: 1_000, ..Limits::DEFAULT },
        http_requests: 0,
    }
}

fn outcome(source: &str, arguments: Value) -> Outcome {
    call(source, &frame(source, &arguments), Rc::new(Kept::default())).outcome
}

fn result(source: &str, arguments: Value) -> Value {
    match outcome(source, arguments) {
        Outcome::Returned(json) => {
            json.map_or(Value::from("undefined"), |json| serde_json::from_str(&json).unwrap())
        }
        other => panic!("{source}: {other:?}"),
    }
}

fn thrown(source: &str) -> (String, String) {
    match outcome(source, json!({})) {
        Outcome::Threw(thrown) => (thrown.name, thrown.message),
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn arguments_are_values_by_name() {
    let both = "async function main(b, a, none = 7) { return [a, b, none] }";
    for value in
        [json!("it's\n\"x\"`${1}`"), json!({"k": [1, null]}), json!([1, [2]]), json!(null), json!(1.5)]
    {
        assert_eq!(result(both, json!({"a": value, "b": 1})), json!([value, 1, 7]));
    }
    assert_eq!(result("async function main({a, b}) { return a + b }", json!({"a": 1, "b": 2})), json!(3));
    assert_eq!(result("const main = async (toString) => typeof toString", json!({})), json!("undefined"));
    assert_eq!(result("async function main(a) {}", json!({"a": 1})), json!("undefined"));
    assert_eq!(result("async function main() { return 2n ** 3n + '' }", json!({})), json!("8"));
}

#[test]
fn the_contract_is_kept() {
    let refused = |source: &str| match outcome(source, json!({})) {
        Outcome::Refused(problem) => problem.to_string(),
        other => panic!("{source}: {other:?}"),
    };
    assert_eq!(refused(""), "No main function found at root level");
    assert_eq!(refused("function main() {}"), "Main function exists but is not async");
    assert!(refused("async function main( {").starts_with("Failed to parse code: "));
    assert!(refused("async function main() {} }").starts_with("Failed to parse code: "));
    // What is pasted behind a source does not complete it.
    assert!(refused("async function main() {} /*").starts_with("Failed to parse code: "));
    assert!(
        matches!(check("async function main(a) {}", Limits::DEFAULT), Ok(outline) if outline.parameters == ["a"])
    );
    assert_eq!(check("while (true) {} function main() {}", Limits::DEFAULT), Err(Problem::NotAsync));
}

#[test]
fn what_code_throws_is_told() {
    let throws = |what: &str| thrown(&format!("async function main() {{ throw {what} }}"));
    assert_eq!(throws("new TypeError('no')"), ("TypeError".to_owned(), "no".to_owned()));
    assert_eq!(throws("'text'"), ("Error".to_owned(), "text".to_owned()));
    assert_eq!(throws("{k: 1}"), ("Error".to_owned(), "{\"k\":1}".to_owned()));
    assert_eq!(thrown("async function main() { await new Promise(() => {}) }").0, "Error");
    assert!(thrown("require('fs'); async function main() {}").1.contains("require"));
    assert!(thrown("import 'fs'; async function main() {}").1.contains("fs"));
    assert!(thrown("async function main() { await import('fs') }").1.contains("fs"));
    assert!(check("import 'fs'; async function main() {}", Limits::DEFAULT).is_ok());
    assert_eq!(thrown("async function main() { const o = {}; o.o = o; return o }").0, "TypeError");
}

#[test]
fn limits_have_names() {
    for (source, limit) in [
        ("async function main() { while (true) {} }", Limit::Cpu),
        ("async function main() { while (true) { try { while (true) {} } catch {} } }", Limit::Cpu),
        ("async function main() { return /^(a+)+$/.test('a'.repeat(40) + 'b') }", Limit::Cpu),
        ("async function main() { for (;;) await null }", Limit::Cpu),
        ("while (true) {} async function main() {}", Limit::Cpu),
        ("async function main() { await new Promise((done) => setTimeout(done, 60000)) }", Limit::Wall),
        (
            "async function main() { const all = []; for (;;) all.push('x'.repeat(1e6) + all.length) }",
            Limit::Heap,
        ),
        ("async function main() { return new Uint8Array(1e9) }", Limit::Heap),
        (
            "async function main() { const m = new Map(); for (let i = 0;; i++) m.set(i, 'x'.repeat(1e4) + i) }",
            Limit::Heap,
        ),
        (
            "async function main() { let f = null; for (;;) { const g = f; f = [() => g, 'x'.repeat(1e4) + Math.random()] } }",
            Limit::Heap,
        ),
        ("async function main() { const f = () => f() + 1; return f() }", Limit::Stack),
        ("async function main() { for (;;) console.log('x'.repeat(1000)) }", Limit::Logs),
        ("async function main() { return 'x'.repeat(2 ** 20) }", Limit::Result),
        ("async function main() { try { throw 1 } catch { for (;;); } finally { for (;;); } }", Limit::Cpu),
        ("async function main() { return {get x() { for (;;); }} }", Limit::Cpu),
        ("async function main() { throw {toJSON() { for (;;); }} }", Limit::Cpu),
    ] {
        let mut frame = frame(source, &json!({}));
        match limit {
            Limit::Wall => frame.limits.wall_ms = 200,
            Limit::Cpu => {}
            // On a slow machine the processor's time may not run out before what is to be reached.
            _ => frame.limits.cpu_ms = 30_000,
        }
        let ended = call(source, &frame, Rc::new(Kept::default()));
        assert_eq!(ended.outcome, Outcome::Exceeded(limit), "{source}");
        assert!(ended.spent, "{source}");
    }
}

#[test]
fn a_call_leaves_nothing_for_the_next() {
    let spoil = "Object.prototype.toJSON = () => 'spoilt'; Array.prototype.map = null; globalThis.left = 1;
        JSON.parse = () => 'spoilt'; Promise.prototype.then = null; async function main(a) { return 1 }";
    outcome(spoil, json!({"a": {}}));
    let look = "async function main(a) { return [typeof left, [1].map((x) => x), JSON.parse('2'), a] }";
    assert_eq!(result(look, json!({"a": {"k": 1}})), json!(["undefined", [1], 2, {"k": 1}]));
}

#[test]
fn nothing_of_a_machine_is_there() {
    let names =
        ["fetch", "process", "require", "Deno", "Bun", "XMLHttpRequest", "WebAssembly", "std", "os", "print"];
    for name in names {
        assert_eq!(
            result(&format!("async function main() {{ return typeof {name} }}"), json!({})),
            json!("undefined")
        );
    }
}

#[test]
fn timers_and_logs_come_in_order() {
    let source = "async function main() {
        const said = [];
        const wait = (ms, what) => new Promise((done) => setTimeout((x) => { said.push(x); done() }, ms, what));
        const all = Promise.all([wait(20, 'b'), wait(1, 'a')]);
        let ticks = 0;
        const every = setInterval(() => { ticks += 1; if (ticks === 3) clearInterval(every) }, 1);
        clearTimeout(setTimeout(() => said.push('never'), 2));
        await all;
        console.log('x', {k: 1}, [2], undefined, new Error('e'));
        console.error('\\ud800');
        return [said, ticks];
    }";
    let kept = Rc::new(Kept::default());
    let ended = call(source, &frame(source, &json!({})), kept.clone());
    assert_eq!(ended.outcome, Outcome::Returned(Some("[[\"a\",\"b\"],3]".to_owned())));
    assert_eq!(*kept.0.borrow(), ["log: x {\"k\":1} [2] undefined Error: e", "error: \u{fffd}"]);
}

#[test]
fn requests_are_counted_and_answered() {
    let source = "async function main(n) {
        let last;
        for (let i = 0; i < n; i++) {
            const answer = await fetch('http://h/', {method: 'post', headers: {A: 1}, body: '{\"i\":1}'});
            last = [answer.ok, answer.headers.get('X-Method'), (await answer.json()).i, answer.url];
        }
        return last;
    }";
    let asked = |n: u32| {
        let frame = CallFrame { http_requests: 2, ..frame(source, &json!({"n": n})) };
        call(source, &frame, Rc::new(Kept::default())).outcome
    };
    assert_eq!(asked(2), Outcome::Returned(Some("[true,\"POST\",1,\"http://h/\"]".to_owned())));
    assert_eq!(asked(3), Outcome::Exceeded(Limit::Http));
}
