//! The sandbox's process by itself, for tests: the same as `sre code-worker`. Told `probe`, it tries in the jail what
//! code of an interpreter that was broken into would try.

use std::fs::{self, File};
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Stdio};

use sre_sandbox::jail;

/// What a probe ends with that got somewhere, and one that could not begin.
const ESCAPED: u8 = 3;
const NO_JAIL: u8 = 4;

fn main() -> ExitCode {
    if let Some(ended) = sre_compute::worker::run_if_asked() {
        return ended;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["probe", jail, what] => outside(jail, what),
        ["inside", "whole", what] => inside(jail::inner, what),
        ["inside", "but-calls", what] => inside(jail::all_but_calls, what),
        _ => ExitCode::from(2),
    }
}

fn outside(jail: &str, what: &str) -> ExitCode {
    let run = || -> io::Result<Option<i32>> {
        jail::outer().map_err(io::Error::other)?;
        let mut command = Command::new(std::env::current_exe()?);
        let status = command.args(["inside", jail, what]).env_clear().stderr(Stdio::null()).status()?;
        Ok(status.signal().map(|signal| 128 + signal).or(status.code()))
    };
    let code = run().ok().flatten().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(NO_JAIL))
}

fn inside(give_up: fn() -> Result<(), sre_sandbox::protocol::Refusal>, what: &str) -> ExitCode {
    if give_up().is_err() {
        return ExitCode::from(NO_JAIL);
    }
    let refused = match what {
        "read" => File::open("/etc/passwd").is_err(),
        "list" => fs::read_dir("/").is_err(),
        "write" => File::create("/left").is_err() && File::create("left").is_err(),
        "folder" => fs::create_dir("/left").is_err(),
        "connect" => TcpStream::connect("127.0.0.1:22").is_err(),
        "listen" => TcpListener::bind("127.0.0.1:0").is_err(),
        "send" => {
            UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"x", "127.0.0.1:9")).is_err()
        }
        "spawn" => Command::new("/bin/true").spawn().is_err(),
        "thread" => std::thread::Builder::new().spawn(|| {}).is_err(),
        "link" => std::os::unix::fs::symlink("/etc", "/left").is_err(),
        // Allowed: that the probe itself works.
        "nothing" => true,
        _ => return ExitCode::from(2),
    };
    ExitCode::from(if refused { 0 } else { ESCAPED })
}
