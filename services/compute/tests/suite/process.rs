//! Processes of the sandbox: whose they are, when they end, what they have given up.

use serde_json::json;
use sre_compute::workers::process::{Broken, Worker};
use sre_compute::workers::{Silent, Workers};
use sre_sandbox::Limits;
use sre_sandbox::limits::Limit;
use sre_sandbox::protocol::ToWorker;
use sre_service::config::Compute;

use super::support::{Kept, Said, call, frame, owner, program, said, settings, workers};

const ONE: &str = "async function main() { return 1 }";

#[tokio::test]
async fn a_process_is_one_agents_and_is_used_again() {
    let workers = workers();
    let (a, b) = (owner("red", "a"), owner("red", "b"));
    assert_eq!(call(&workers, &a, ONE, json!({})).await, Said::Gave(json!(1)));
    let first = workers.idle_pid(&a).expect("it is kept");
    assert_eq!(workers.idle_pid(&b), None);
    assert_eq!(workers.idle_pid(&owner("blue", "a")), None, "the same id in another team is somebody else");
    call(&workers, &b, ONE, json!({})).await;
    call(&workers, &a, ONE, json!({})).await;
    assert_eq!(workers.idle_pid(&a), Some(first));
    assert_ne!(workers.idle_pid(&b), Some(first));
    // One that was stopped in the middle is not used again.
    assert_eq!(
        call(&workers, &a, "async function main() { for (;;); }", json!({})).await,
        Said::Exceeded(Limit::Cpu)
    );
    assert_eq!(workers.idle_pid(&a), None);
    assert_eq!(call(&workers, &a, ONE, json!({})).await, Said::Gave(json!(1)));
}

#[tokio::test]
async fn a_process_is_replaced_after_so_many_calls_and_for_others() {
    let workers = Workers::new(&Compute { max_workers: 2, calls_per_worker: 2, ..settings() }).unwrap();
    let a = owner("red", "a");
    call(&workers, &a, ONE, json!({})).await;
    assert!(workers.idle_pid(&a).is_some());
    call(&workers, &a, ONE, json!({})).await;
    assert_eq!(workers.idle_pid(&a), None, "two calls are all of one");
    call(&workers, &a, ONE, json!({})).await;
    // There are two places: the third agent takes that of the first.
    for agent in ["b", "c"] {
        call(&workers, &owner("red", agent), ONE, json!({})).await;
    }
    assert_eq!(workers.idle_pid(&a), None);
    assert!(workers.idle_pid(&owner("red", "c")).is_some());
}

#[tokio::test]
async fn one_that_died_while_idle_is_not_noticed() {
    let workers = workers();
    let a = owner("red", "a");
    call(&workers, &a, ONE, json!({})).await;
    let pid = workers.idle_pid(&a).unwrap();
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    while std::path::Path::new(&format!("/proc/{pid}/stat")).exists() {
        tokio::task::yield_now().await;
    }
    // The first of the two processes ends with the second; wait until that is so.
    let gave = loop {
        match workers.call(&a, frame(ONE, &json!({})), &mut Silent).await {
            Err(sre_compute::error::CodeError::Limit(Limit::Heap)) => {}
            other => break said(other),
        }
    };
    assert_eq!(gave, Said::Gave(json!(1)));
}

#[tokio::test]
async fn what_is_stuck_in_a_built_in_function_is_ended_from_outside() {
    // The interpreter looks at no clock in there; the parent does. Minutes on any machine, and little memory.
    let stuck = "async function main() { return 'a'.repeat(4e6).indexOf('a'.repeat(2e6) + 'b') }";
    let mut worker = Worker::start(&program()).await.unwrap();
    let mut call = frame(stuck, &json!({}));
    call.limits = Limits { wall_ms: 800, cpu_ms: 300, heap_bytes: 256 << 20, ..Limits::DEFAULT };
    let limits = call.limits;
    let ended = worker.ask(&ToWorker::Call(Box::new(call)), &limits, &mut Silent).await;
    assert!(
        matches!(ended, Err(Broken::Limit(Limit::Cpu | Limit::Wall)))
            || matches!(&ended, Ok(answer) if format!("{answer:?}").contains("Exceeded")),
        "{ended:?}"
    );
    let pid = worker.pid();
    drop(worker);
    while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn logs_come_while_it_runs_in_order() {
    let workers = workers();
    let mut kept = Kept::default();
    let source = "async function main() { console.log('a'); console.error('b', {c: 1}); return 2 }";
    let ended = workers.call(&owner("red", "a"), frame(source, &json!({})), &mut kept).await;
    assert_eq!(said(ended), Said::Gave(json!(2)));
    assert_eq!(kept.0, ["log: a", "error: b {\"c\":1}"]);
}

#[tokio::test]
async fn what_is_no_worker_is_told() {
    for program in ["/bin/true", "/nowhere/at/all"] {
        let broken = Worker::start(program.as_ref()).await.err().unwrap();
        assert!(matches!(broken, Broken::Failed(_)), "{broken}");
    }
}

/// What the kernel says of a process that runs code.
#[tokio::test]
async fn it_has_given_everything_up() {
    let workers = workers();
    let a = owner("red", "a");
    call(&workers, &a, ONE, json!({})).await;
    let pid = workers.idle_pid(&a).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line =
            status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {status}"));
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    assert_eq!(field("Threads:"), "1");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    // The first process of its own namespace.
    assert_eq!(field("NSpid:").split(' ').next_back(), Some("1"));
    let namespace = |of: &str, kind: &str| std::fs::read_link(format!("/proc/{of}/ns/{kind}")).unwrap();
    for kind in ["user", "net", "mnt", "pid", "ipc", "uts"] {
        assert_ne!(namespace(&pid.to_string(), kind), namespace("self", kind), "{kind}");
    }
    let open: Vec<_> =
        std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(open.len(), 2, "two pipes");
    for entry in open {
        assert!(std::fs::read_link(entry.path()).unwrap().to_string_lossy().starts_with("pipe:"));
    }
    let root = format!("/proc/{pid}/root/");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "its root is empty");
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    let lines: Vec<_> = mounts.lines().collect();
    assert_eq!(lines.len(), 1, "{mounts}");
    let options = lines[0].split(' ').nth(3).unwrap();
    assert!(options.split(',').any(|option| option == "ro"), "{mounts}");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert_eq!(environment, b"TZ=UTC0\0");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for (name, value) in [("Max open files", "2"), ("Max file size", "0"), ("Max core file size", "0")] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line[name.len()..].split_whitespace().next(), Some(value), "{line}");
    }
}

/// What one tries who has broken into the interpreter.
fn probe(jail: &str, what: &str) -> Option<i32> {
    let ended = std::process::Command::new(program()).args(["probe", jail, what]).env_clear().status();
    ended.unwrap().code()
}

/// SIGSYS, as shells tell it.
const KILLED_BY_THE_FILTER: i32 = 128 + 31;

#[test]
fn a_call_that_is_not_listed_ends_the_process() {
    assert_eq!(probe("whole", "nothing"), Some(0));
    for what in ["read", "list", "write", "folder", "connect", "listen", "send", "spawn", "thread", "link"] {
        assert_eq!(probe("whole", what), Some(KILLED_BY_THE_FILTER), "{what}");
    }
}

#[test]
fn behind_the_filter_stand_other_walls() {
    for what in ["nothing", "read", "list", "write", "folder", "connect", "listen", "send", "spawn", "link"] {
        assert_eq!(probe("but-calls", what), Some(0), "{what}");
    }
}
