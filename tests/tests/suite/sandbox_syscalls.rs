//! The list of system calls: what a process that runs code really makes, and what becomes of any other.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::json;
use sre_sandbox::Limits;
use sre_sandbox::jail::syscalls::LIST;
use sre_sandbox::protocol::{self, CallFrame, FromWorker, HttpAnswer, Outcome, ToWorker};

use crate::harness::process::binary;

/// Code that uses what there is: memory, numbers, texts, dates, timers, logs, a request, errors, a limit.
const SOURCES: &[&str] = &[
    "async function main() { return Array.from({length: 1e5}, (_, i) => ({i})).length }",
    "async function main() { const b = []; for (let i = 0; i < 40; i++) b.push(new ArrayBuffer(1 << 20)); return b.length }",
    "async function main() { return [new Date().toString(), new Date(2026, 6, 1).getTimezoneOffset(), Math.random() < 1, Date.now() > 0] }",
    "async function main() { return [(1.5).toLocaleString(), 'ä'.localeCompare('b'), 'İ'.toLowerCase(), 'x'.normalize('NFD')] }",
    "async function main() { await new Promise((done) => setTimeout(done, 5)); console.log('x'.repeat(1e4)); return 1 }",
    "async function main() { const answer = await fetch('http://h/'); return answer.status }",
    "async function main() { null.x }",
    "async function main() { return (await import('fs')).x }",
    "async function main() { return 'x'.repeat(1e6) }",
    "async function main() { return [...'a'.repeat(1e5)].sort().reverse().join('').replace(/a/g, 'bb').length }",
    "syntax error",
    "async function main() { const a = []; for (;;) a.push('x'.repeat(1e5) + a.length) }",
];

/// Runs the sources under `strace`, and compares what the process calls once it reads code with the list.
#[test]
fn no_other_system_call_is_made_than_those_of_the_list() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        assert!(
            std::env::var_os("SRE_TEST_REQUIRE").is_none(),
            "strace is missing: install Debian's package"
        );
        eprintln!("skipped: there is no strace");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("calls");
    let mut child = Command::new("strace")
        .args(["-f", "-qq", "-s", "8", "-o"])
        .arg(&log)
        .arg(binary())
        .arg(sre_sandbox::worker::COMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut hear = || protocol::read::<FromWorker>(&mut from).unwrap();
    // Two processes say these, in either order.
    for _ in 0..2 {
        assert!(matches!(hear(), Some(FromWorker::Started { .. } | FromWorker::Ready)));
    }
    let mut ended = Vec::new();
    for source in SOURCES {
        let call = CallFrame {
            program: sre_sandbox::protocol::Program::Script((*source).to_owned()),
            arguments: json!({"x": 1}).to_string(),
            limits: Limits::DEFAULT,
            http_requests: 1,
        };
        protocol::write(&mut to, &ToWorker::Call(Box::new(call))).unwrap();
        let outcome = loop {
            match hear() {
                Some(FromWorker::Http(_)) => {
                    let answer = HttpAnswer::Failed("not here".to_owned());
                    protocol::write(&mut to, &ToWorker::Http(answer)).unwrap();
                }
                Some(FromWorker::Log { .. }) => {}
                Some(FromWorker::Done { outcome, .. }) => break outcome,
                other => panic!("{source}: {other:?}"),
            }
        };
        ended.push(outcome);
    }
    assert!(matches!(ended.last(), Some(Outcome::Exceeded(_))));
    assert!(
        ended.iter().filter(|outcome| matches!(outcome, Outcome::Returned(Some(_)))).count() >= 7,
        "{ended:?}"
    );
    drop(to);
    child.wait().unwrap();

    let text = std::fs::read_to_string(&log).unwrap();
    // The filter is the last thing that is installed: what its process calls afterwards is what code can cause.
    let (before, after) =
        text.split_once("SECCOMP_SET_MODE_FILTER").or_else(|| text.split_once("PR_SET_SECCOMP")).unwrap();
    let process = before.rsplit('\n').next().unwrap().split_whitespace().next().unwrap();
    let made: BTreeSet<&str> = after
        .lines()
        .skip(1)
        .filter_map(|line| line.trim_start().strip_prefix(process))
        .filter_map(|line| line.trim_start().split_once('('))
        .map(|(call, _)| call)
        .filter(|call| !call.starts_with(['+', '-', '<']))
        .collect();
    let listed: BTreeSet<&str> = LIST.iter().map(|call| call.name).collect();
    let others: Vec<_> = made.difference(&listed).collect();
    assert!(others.is_empty(), "{others:?} are not listed; {made:?} were made");
    for needed in ["read", "write"] {
        assert!(made.contains(needed), "{made:?}");
    }
}
