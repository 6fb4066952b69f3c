//! What a process took of the processor, as the kernel tells it.

use std::time::Duration;

/// The kernel counts in hundredths of a second, whatever its own clock.
const TICK: Duration = Duration::from_millis(10);

/// The processor time of a process in its life; none for one that is not there.
pub fn time_of(pid: u32) -> Duration {
    // The file is made when it is read: nothing is waited for.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().as_deref().and_then(parse).unwrap_or_default()
}

/// User and system time are the 14th and 15th field. The second is a name in parentheses that may hold anything.
fn parse(stat: &str) -> Option<Duration> {
    let (_, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * ticks()?.saturating_add(ticks()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) 9 (b c) S 1 7 7 0 -1 4194560 99 0 0 0 12 30 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse(stat), Some(Duration::from_millis(420)));
        assert_eq!(parse("7 (x) S 1"), None);
    }

    #[test]
    fn this_process_has_taken_some() {
        let before = time_of(std::process::id());
        let mut x: u64 = 1;
        while time_of(std::process::id()) <= before {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        assert_ne!(x, 0);
        assert_eq!(time_of(u32::MAX), Duration::ZERO);
    }
}
