//! A fixed set of small numbers.

/// A set of numbers below a bound, one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// The empty set of numbers below `bound`.
    pub fn new(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)])
    }

    /// Adds a number; true if it was not there.
    pub fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = (number as usize / 64, 1u64 << (number % 64));
        let Some(slot) = self.0.get_mut(word) else { return false };
        let fresh = *slot & bit == 0;
        *slot |= bit;
        fresh
    }

    /// Removes a number.
    pub fn remove(&mut self, number: u32) {
        if let Some(slot) = self.0.get_mut(number as usize / 64) {
            *slot &= !(1u64 << (number % 64));
        }
    }

    /// True if the number is in the set.
    pub fn contains(&self, number: u32) -> bool {
        self.0.get(number as usize / 64).is_some_and(|word| word & (1u64 << (number % 64)) != 0)
    }

    /// Adds all numbers of another set; true if any was new.
    pub fn union(&mut self, other: &Self) -> bool {
        let mut fresh = false;
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            fresh |= theirs & !*mine != 0;
            *mine |= theirs;
        }
        fresh
    }

    /// The numbers in both sets, ascending.
    pub fn common<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        self.0.iter().zip(&other.0).enumerate().flat_map(|(word, (a, b))| ones(word, a & b))
    }

    /// The numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().enumerate().flat_map(|(word, bits)| ones(word, *bits))
    }

    /// Removes all numbers.
    pub fn clear(&mut self) {
        self.0.fill(0);
    }
}

fn ones(word: usize, mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        if bits == 0 {
            return None;
        }
        let bit = bits.trailing_zeros();
        bits &= bits - 1;
        Some(word as u32 * 64 + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_behave() {
        let mut a = Bits::new(130);
        for number in [0, 63, 64, 129] {
            assert!(a.insert(number));
        }
        assert!(!a.insert(64));
        a.remove(63);
        assert_eq!(a.iter().collect::<Vec<_>>(), [0, 64, 129]);
        let mut b = Bits::new(130);
        b.insert(64);
        assert_eq!(a.common(&b).collect::<Vec<_>>(), [64]);
        assert!(b.union(&a) && !b.union(&a));
        assert!(b.contains(129));
    }
}
