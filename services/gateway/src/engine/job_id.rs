//! Job ids as agents see them: `<component id>-<characters>`, where the characters are the run's id. So any
//! engine finds the run of a job, and nothing has to remember which id names which run.

use uuid::Uuid;

/// 17 bytes (partition, UUID) in base 36.
const DIGITS: usize = 27;
const ALPHABET: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The job id of a run that a component started.
pub fn of_run(component: &str, run_id: &str) -> Option<String> {
    let (partition, uuid) = sre_proto::ids::parse(run_id)?;
    let partition = u8::from_str_radix(partition, 16).ok()?;
    // Base 36 of 136 bits: the partition does not fit a u128, so it is carried beside it.
    let mut number = Wide { high: partition, low: uuid.as_u128() };
    let mut digits = [0_u8; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[usize::from(number.divide_by_36())];
    }
    Some(format!("{component}-{}", std::str::from_utf8(&digits).ok()?))
}

/// The run of a job id; none for a text that is no job id.
pub fn to_run(job_id: &str) -> Option<String> {
    let (component, digits) = job_id.rsplit_once('-')?;
    if component.is_empty() || digits.len() != DIGITS {
        return None;
    }
    let mut number = Wide { high: 0, low: 0 };
    for digit in digits.bytes() {
        let value = ALPHABET.iter().position(|known| *known == digit)?;
        number = number.times_36_plus(u8::try_from(value).ok()?)?;
    }
    Some(format!("{:02x}-{}", number.high, Uuid::from_u128(number.low)))
}

/// A number of 136 bits.
#[derive(Clone, Copy)]
struct Wide {
    high: u8,
    low: u128,
}

impl Wide {
    /// Divides by 36 and returns the remainder.
    fn divide_by_36(&mut self) -> u8 {
        let mut rest = u32::from(self.high % 36);
        self.high /= 36;
        let mut low = 0_u128;
        for byte in self.low.to_be_bytes() {
            let part = rest << 8 | u32::from(byte);
            low = low << 8 | u128::from(part / 36);
            rest = part % 36;
        }
        self.low = low;
        // A remainder of 36 fits a byte.
        rest as u8
    }

    fn times_36_plus(self, digit: u8) -> Option<Self> {
        let mut carry = u32::from(digit);
        let mut low = [0_u8; 16];
        for (out, byte) in low.iter_mut().zip(self.low.to_be_bytes()).rev() {
            let part = u32::from(byte) * 36 + carry;
            *out = (part & 0xff) as u8;
            carry = part >> 8;
        }
        let high = u32::from(self.high) * 36 + carry;
        Some(Self { high: u8::try_from(high).ok()?, low: u128::from_be_bytes(low) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_names_its_run_and_back() {
        for run in [
            sre_proto::ids::new_id(),
            "00-00000000-0000-0000-0000-000000000000".to_owned(),
            "ff-ffffffff-ffff-ffff-ffff-ffffffffffff".to_owned(),
            "01-00000000-0000-0000-0000-000000000001".to_owned(),
        ] {
            let job = of_run("C-1", &run).unwrap();
            assert!(job.starts_with("C-1-"), "{job}");
            assert_eq!(job.len(), "C-1-".len() + DIGITS);
            assert_eq!(to_run(&job), Some(run));
        }
    }

    #[test]
    fn other_texts_name_no_run() {
        for text in
            ["nojob", "", "C-", "-0000000000000000000000000AB", "C-ZZZZZZZZZZZZZZZZZZZZZZZZZZZ", "C-abc"]
        {
            assert_eq!(to_run(text), None, "{text}");
        }
    }
}
