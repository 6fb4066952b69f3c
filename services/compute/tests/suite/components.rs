//! WebAssembly components in the sandbox's process: the same jail, the same limits.

use serde_json::json;
use sre_sandbox::limits::Limit;
use sre_sandbox::protocol::{CallFrame, Problem, Program};

use crate::support::{Kept, Said, frame, owner, said, workers};

const WORLD: &str = include_str!("../../../../shared/sandbox/src/components/test_component.wat");

fn component(main: &str) -> Program {
    Program::Component(wat::parse_str(WORLD.replace(";; MAIN", main)).unwrap())
}

/// Compiling takes long in a build without optimisation.
fn call_of(main: &str) -> CallFrame {
    let mut frame = CallFrame { program: component(main), ..frame("", &json!({"a": 1})) };
    frame.limits.cpu_ms = 20_000;
    frame
}

#[tokio::test]
async fn a_component_runs_in_the_jail_and_its_process_serves_on() {
    let (workers, owner) = (workers(), owner("red", "wasm"));
    let main = "(call $log (i32.const 8) (i32.const 4) (local.get $at) (local.get $length))
        (call $ok (local.get $at) (local.get $length))";
    let mut pids = Vec::new();
    for _ in 0..3 {
        let mut kept = Kept::default();
        let ended = workers.call(&owner, call_of(main), &mut kept).await;
        assert_eq!(said(ended), Said::Gave(json!({"a": 1})));
        assert_eq!(kept.0, ["warn: {\"a\":1}"]);
        pids.push(workers.idle_pid(&owner));
    }
    // One process: no call of it was ended for a system call that is not listed.
    assert!(pids[0].is_some() && pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
    // Scripts run in the same one.
    let script = frame("async function main(a) { return a + 1 }", &json!({"a": 1}));
    let ended = workers.call(&owner, script, &mut Kept::default()).await;
    assert_eq!(said(ended), Said::Gave(json!(2)));
    assert_eq!(workers.idle_pid(&owner), pids[0]);
}

#[tokio::test]
async fn limits_hold_and_leave_others_alone() {
    let (workers, owner) = (workers(), owner("red", "wasm"));
    let mut endless = call_of("(loop $again (br $again)) (unreachable)");
    endless.limits.cpu_ms = 5_000;
    let ended = workers.call(&owner, endless, &mut Kept::default()).await;
    assert_eq!(said(ended), Said::Exceeded(Limit::Cpu));
    let grow = call_of("(drop (memory.grow (i32.const 2000))) (unreachable)");
    assert_eq!(said(workers.call(&owner, grow, &mut Kept::default()).await), Said::Exceeded(Limit::Heap));
    let deep = call_of("(call $deep) (unreachable)");
    assert_eq!(said(workers.call(&owner, deep, &mut Kept::default()).await), Said::Exceeded(Limit::Stack));
    let well = call_of("(call $ok (local.get $at) (local.get $length))");
    assert_eq!(said(workers.call(&owner, well, &mut Kept::default()).await), Said::Gave(json!({"a": 1})));
}

#[tokio::test]
async fn what_is_no_component_is_refused_before_it_is_kept() {
    let (workers, owner) = (workers(), owner("red", "wasm"));
    let outline = workers.check(&owner, &component("(unreachable)")).await.unwrap();
    assert_eq!(outline.parameters, ["[object]"]);
    let broken = workers.check(&owner, &Program::Component(b"\0asm".to_vec())).await;
    assert!(
        matches!(&broken, Err(sre_compute::error::CodeError::Source(Problem::Component(_)))),
        "{broken:?}"
    );
}
