//! Resident memory of processes, as the kernel counts it.

/// Megabytes that a process holds.
pub fn resident_mb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kilobytes: f64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
    kilobytes / 1024.0
}

/// Prints the memory of each process after load.
pub fn show(processes: &[(String, u32)]) {
    println!();
    for (name, pid) in processes {
        println!("- resident after load, {name}: {:.0} MB", resident_mb(*pid));
    }
}
