//! The fuzz targets (`tests/fuzz`) over their seeds and what a few mutations make of them: no panic, no hang, no
//! memory without bound. `make fuzz` looks further, with coverage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may stop the test")]

#[path = "../../../tests/fuzz/src/lib.rs"]
#[allow(missing_docs, reason = "the crate of the fuzzer documents it")]
mod targets;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What all seeds of a target may take together, in a build without optimisation, on a busy machine.
const PER_INPUT: Duration = Duration::from_secs(20);
/// Mutations are made until so much time has gone.
const MUTATIONS: Duration = Duration::from_millis(1500);
/// The most memory that the process may ever have held.
const PEAK_KIB: u64 = 512 * 1024;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds").join(target);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "{target} has {} seeds", files.len());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

fn soak(target: &str, run: fn(&[u8])) {
    let seeds = seeds(target);
    let timed = |input: &[u8]| {
        let from = Instant::now();
        run(input);
        assert!(from.elapsed() < PER_INPUT, "{target} took {:?} for {input:?}", from.elapsed());
    };
    seeds.iter().for_each(|seed| timed(seed));
    let (mut random, from) = (0x5eed_u64, Instant::now());
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below.max(1)
    };
    while from.elapsed() < MUTATIONS {
        let mut input = seeds[next(seeds.len())].clone();
        for _ in 0..=next(8) {
            let at = next(input.len());
            match next(4) {
                0 if !input.is_empty() => input[at] = next(256) as u8,
                1 => input.truncate(at),
                2 => {
                    let other = &seeds[next(seeds.len())];
                    let (start, end) = (next(other.len()), next(other.len()));
                    input.splice(at..at, other[start.min(end)..start.max(end)].iter().copied());
                }
                _ => input.insert(at, b"{}[]\",:0\n"[next(9)]),
            }
        }
        timed(&input);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse().ok());
    assert!(peak.unwrap_or(0_u64) < PEAK_KIB, "{target}: {peak:?} KiB");
}

#[test]
fn documents() {
    soak("document", targets::document);
}

#[test]
fn templates() {
    soak("template", targets::template);
}

#[test]
fn runs() {
    soak("run", targets::run);
}
