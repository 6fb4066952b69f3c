//! What code may try, and what comes of it: contained, with the limit's name where one was reached, and nobody else
//! notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use sre_compute::workers::{Silent, Workers};
use sre_sandbox::Limits;
use sre_sandbox::limits::Limit::{self, Cpu, Heap, Logs, Result as ResultSize, Stack, Wall};

use super::support::{Said, call, frame, owner, said, workers};

/// What is expected of an attempt.
#[derive(Clone, Copy)]
enum Expected {
    /// One of these limits.
    Limit(&'static [Limit]),
    /// Any end that is no result but `"contained"`.
    Contained,
}
use Expected::{Contained, Limit as Reached};

/// Each attempt gives `"contained"` if it got nowhere, throws, or reaches a limit.
const CORPUS: &[(&str, &str, Expected)] = &[
    // Files.
    (
        "file: modules of Node",
        "const fs = require('fs'); return fs.readFileSync('/etc/passwd', 'utf8')",
        Contained,
    ),
    ("file: dynamic import", "return (await import('/etc/passwd')).default", Contained),
    ("file: import of a scheme", "return (await import('file:///etc/passwd')).default", Contained),
    ("file: modules of QuickJS", "return (await import('std')).loadFile('/etc/passwd')", Contained),
    ("file: globals of QuickJS", "return std.loadFile('/etc/passwd') + os.readdir('/')", Contained),
    // The network.
    ("network: fetch", "return (await fetch('http://127.0.0.1/')).status", Contained),
    ("network: sockets", "return new WebSocket('ws://127.0.0.1/') && new XMLHttpRequest()", Contained),
    ("network: modules", "return (await import('net')).connect(80)", Contained),
    // Processes.
    ("process: exit", "process.exit(1); return 1", Contained),
    ("process: exec", "return (await import('child_process')).execSync('id')", Contained),
    ("process: os of QuickJS", "return os.exec(['id'])", Contained),
    ("process: workers", "return new Worker('data:text/javascript,1')", Contained),
    ("process: wait", "return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)", Contained),
    // Memory.
    ("memory: array", "const a = []; for (;;) a.push(a.length + 'x'.repeat(1000))", Reached(&[Heap])),
    (
        "memory: caught",
        "const a = []; for (;;) try { for (;;) a.push(new Array(1000).fill(a)) } catch {}",
        Reached(&[Heap, Cpu, Wall]),
    ),
    ("memory: doubling text", "let s = 'ab'; for (;;) s += s + s.length", Contained),
    ("memory: buffer", "return new Uint8Array(2 ** 30).length", Reached(&[Heap])),
    ("memory: buffers", "const a = []; for (;;) a.push(new ArrayBuffer(1 << 20))", Reached(&[Heap])),
    ("memory: map", "const m = new Map(); for (let i = 0;; i++) m.set({}, 'x' + i)", Reached(&[Heap, Cpu])),
    ("memory: closures", "let f = null; for (;;) { const g = f; f = () => g }", Reached(&[Heap, Cpu])),
    ("memory: sparse", "const a = []; for (let i = 0;; i++) a[i * 7] = {i}", Reached(&[Heap, Cpu])),
    (
        "memory: shared",
        "const a = []; for (;;) a.push(new SharedArrayBuffer(1 << 24))",
        Reached(&[Heap, Cpu, Wall]),
    ),
    ("memory: promises", "const a = []; for (;;) a.push(new Promise(() => {}))", Reached(&[Heap, Cpu])),
    ("memory: timers", "for (;;) setTimeout(() => {}, 1e6)", Contained),
    // The processor.
    ("cpu: loop", "for (;;);", Reached(&[Cpu])),
    ("cpu: loop that catches", "for (;;) try { for (;;); } catch {} finally { continue }", Reached(&[Cpu])),
    ("cpu: jobs", "const f = () => Promise.resolve().then(f); await f()", Reached(&[Cpu, Heap])),
    (
        "cpu: recursion in timers",
        "const f = () => setTimeout(f, 0); f(); await new Promise(() => {})",
        Reached(&[Cpu, Wall]),
    ),
    ("cpu: generator", "for (const x of (function* () { for (;;) yield 1 })());", Reached(&[Cpu])),
    ("cpu: getter", "return {get x() { for (;;); }}", Reached(&[Cpu])),
    ("cpu: toJSON", "return {toJSON() { for (;;); }}", Reached(&[Cpu])),
    (
        "cpu: error",
        "throw {get message() { for (;;); }, toString() { for (;;); }, toJSON() { for (;;); }}",
        Reached(&[Cpu]),
    ),
    ("cpu: proxy", "const p = new Proxy({}, {get: () => { for (;;); }}); return p.x", Reached(&[Cpu])),
    ("cpu: sort", "return [1, 2, 3].sort(() => { for (;;); })", Reached(&[Cpu])),
    ("cpu: replace", "return 'a'.replace(/a/, () => { for (;;); })", Reached(&[Cpu])),
    ("cpu: built-in without a look", "return 3n ** 3000000n > 1n ? 'contained' : 0", Contained),
    ("cpu: join", "return new Array(2 ** 32 - 2).join(',').length", Reached(&[Heap, Cpu, Wall, Stack])),
    (
        "cpu: index",
        "const a = new Array(2 ** 31); return a.lastIndexOf(1) + a.indexOf(2) + a.includes(3)",
        Reached(&[Heap, Cpu, Wall]),
    ),
    ("wall: sleep", "await new Promise((done) => setTimeout(done, 1e6))", Reached(&[Wall])),
    ("wall: short sleeps", "for (;;) await new Promise((done) => setTimeout(done, 50))", Reached(&[Wall])),
    // Regular expressions.
    ("regex: nested repeat", "return /^(a+)+$/.test('a'.repeat(60) + '!')", Reached(&[Cpu])),
    ("regex: alternatives", "return /^(a|a)*$/.test('a'.repeat(60) + '!')", Reached(&[Cpu, Heap])),
    ("regex: look ahead", "return /^(?=(a+)+!$)/.test('a'.repeat(60))", Reached(&[Cpu, Heap])),
    ("regex: classes", "return /^(([a-z])+.)+[A-Z]([a-z])+$/.test('a'.repeat(60))", Reached(&[Cpu, Heap])),
    ("regex: nesting", "return new RegExp('('.repeat(1e5)).test('a')", Contained),
    (
        "regex: count",
        "new RegExp('a{1,65535}'.repeat(9)).test('a'.repeat(1e5)); return 'contained'",
        Contained,
    ),
    // Prototypes, and what else reaches for the host.
    (
        "prototype: global",
        "return typeof (() => {}).constructor('return this.process')() === 'undefined' ? 'contained' : 0",
        Contained,
    ),
    (
        "prototype: host functions",
        "return console.log.constructor('return typeof require + typeof process')() === 'undefinedundefined' ? 'contained' : 0",
        Contained,
    ),
    (
        "prototype: thenable",
        "Object.prototype.then = function (f) { f('taken') }; return 'contained'",
        Contained,
    ),
    (
        "prototype: pollution",
        "Object.prototype.limits = {wall_ms: 1e9}; Object.prototype.result = 1; for (;;);",
        Reached(&[Cpu]),
    ),
    (
        "prototype: JSON",
        "JSON.stringify = () => '\"taken\"'; JSON.parse = null; return 'contained'",
        Contained,
    ),
    (
        "prototype: text",
        "String.prototype.toString = Array.prototype.push = null; return 'contained'",
        Contained,
    ),
    (
        "prototype: species",
        "class A extends Array { static get [Symbol.species]() { for (;;); } } return new A(1).map((x) => x)",
        Reached(&[Cpu]),
    ),
    (
        "prototype: stack",
        "Error.prepareStackTrace = () => { for (;;); }; throw new Error('contained')",
        Contained,
    ),
    (
        "prototype: frozen host",
        "console.log = null; globalThis.setTimeout = null; Promise = null; return 'contained'",
        Contained,
    ),
    ("prototype: await of a getter", "return await {get then() { for (;;); }}", Reached(&[Cpu])),
    // Recursion.
    ("recursion: function", "const f = (n) => f(n + 1) + 1; return f(0)", Reached(&[Stack])),
    ("recursion: mutual", "const f = (x) => g(x), g = (x) => [f(x)]; return f(0)", Reached(&[Stack])),
    ("recursion: getter", "const o = {get x() { return this.x }}; return o.x", Reached(&[Stack])),
    (
        "recursion: JSON",
        "let o = {}; for (let i = 0; i < 1e6; i++) o = {o}; return o",
        Reached(&[Stack, Heap, Cpu]),
    ),
    ("recursion: parse", "return JSON.parse('['.repeat(1e6))", Reached(&[Stack])),
    ("recursion: eval", "return eval('('.repeat(1e6))", Contained),
    ("recursion: source", "return new Function('return ' + '['.repeat(1e5) + ']'.repeat(1e5))()", Contained),
    ("recursion: text", "let s = {toString() { return '' + s }}; return '' + s", Reached(&[Stack])),
    (
        "recursion: bound",
        "let f = () => 'contained'; for (let i = 0; i < 1e5; i++) f = f.bind(); return f()",
        Contained,
    ),
    // Sizes.
    ("size: result", "return 'x'.repeat(2 ** 20 + 1)", Reached(&[ResultSize])),
    ("size: result of escapes", "return '\\u0000'.repeat(200000)", Reached(&[ResultSize])),
    ("size: many members", "return Array.from({length: 400000}, (_, i) => i)", Reached(&[ResultSize])),
    ("size: logs", "for (;;) console.log('x'.repeat(10000))", Reached(&[Logs])),
    ("size: one log", "console.log('x'.repeat(2 ** 24)); return 1", Reached(&[Logs, Heap])),
    (
        "size: logs that are caught",
        "for (;;) try { console.log('x'.repeat(10000)) } catch {}",
        Reached(&[Logs]),
    ),
    ("size: error", "throw new Error('x'.repeat(2 ** 24))", Contained),
    (
        "size: name of an error",
        "const e = new Error('x'); e.name = e.stack = 'x'.repeat(2 ** 24); throw e",
        Contained,
    ),
];

/// Calls of another agent that go on meanwhile.
struct Neighbour {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Neighbour {
    fn start(workers: Workers) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&calls));
        let task = sre_service::task::spawn("neighbour", async move {
            let neighbour = owner("blue", "neighbour");
            while !stopped.load(Ordering::Acquire) {
                let n = counted.load(Ordering::Acquire);
                let source = "async function main(n) { return [n, typeof left, {}.polluted ?? null] }";
                let gave = call(&workers, &neighbour, source, json!({"n": n})).await;
                assert_eq!(gave, Said::Gave(json!([n, "undefined", null])));
                counted.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self { stop, calls, task }
    }

    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Release);
        self.task.await.expect("the neighbour noticed something");
        self.calls.load(Ordering::Acquire)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_gets_out_and_nobody_notices() {
    let workers = workers();
    let neighbour = Neighbour::start(workers.clone());
    let attacker = owner("red", "attacker");
    let mut wrong = Vec::new();
    for (name, body, expected) in CORPUS {
        let source =
            format!("globalThis.left = 1; Object.prototype.polluted = 1; async function main() {{ {body} }}");
        let mut call = frame(&source, &json!({}));
        // On a busy machine the processor's time runs out long after the clock's.
        let wall_ms = if name.starts_with("wall") { 700 } else { 40_000 };
        // On a slow machine it may run out before another limit is reached that has to be.
        let cpu_ms = match expected {
            Reached(limits) if !limits.contains(&Cpu) => 20_000,
            _ => 400,
        };
        call.limits = Limits { wall_ms, cpu_ms, heap_bytes: 32 << 20, ..Limits::DEFAULT };
        let said = said(workers.call(&attacker, call, &mut Silent).await);
        let right = match (&said, expected) {
            (Said::Exceeded(limit), Reached(limits)) => limits.contains(limit),
            (Said::Exceeded(_) | Said::Threw(_), Contained) => true,
            (Said::Gave(value), Contained) => value == "contained",
            _ => false,
        };
        if !right {
            wrong.push(format!("{name}: {}", format!("{said:?}").chars().take(300).collect::<String>()));
        }
        if let Said::Threw(text) = &said {
            assert!(text.len() < 20_000, "{name}: an error is cut");
        }
    }
    let calls = neighbour.stop().await;
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CORPUS.len(), wrong.join("\n"));
    assert!(calls > 0);
    // The attacker itself can go on.
    let gave = call(&workers, &attacker, "async function main(x) { return x }", json!({"x": 1})).await;
    assert_eq!(gave, Said::Gave(json!(1)));
}

#[tokio::test]
async fn a_source_that_is_an_attack_is_one_that_does_not_parse() {
    let (workers, red) = (workers(), owner("red", "parser"));
    for source in [
        "(".repeat(400_000),
        "[".repeat(400_000),
        "`${".repeat(100_000),
        format!("async function main() {{ return {}1 }}", "!".repeat(400_000)),
        format!("async function main() {{ {} }}", "{".repeat(200_000)),
        "async function main() {} }; escape(); {".to_owned(),
        "async function main() { return 1 } /*".to_owned(),
        "\u{0}".to_owned(),
    ] {
        let said = call(&workers, &red, &source, json!({})).await;
        let fine = match &said {
            Said::Refused(text) => text.starts_with("Failed to parse code: ") || text.starts_with("No main"),
            Said::Exceeded(limit) => matches!(limit, Stack | Heap | Cpu),
            // So many `!` are deep, not wrong.
            Said::Gave(_) | Said::Threw(_) => source.contains('!'),
        };
        assert!(fine, "{}: {said:?}", source.chars().take(40).collect::<String>());
    }
    let long = format!("async function main() {{}} //{}", "x".repeat(500_000));
    assert_eq!(call(&workers, &red, &long, json!({})).await, Said::Exceeded(Limit::Source));
    let huge = json!({"x": "x".repeat(5 << 20)});
    assert_eq!(
        call(&workers, &red, "async function main() {}", huge).await,
        Said::Exceeded(Limit::Arguments)
    );
}
