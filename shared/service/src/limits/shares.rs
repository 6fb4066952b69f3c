//! Places of a role, shared between teams.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The places of a role for one kind of work. A team may have its share of them; while more than half are taken,
/// no team may have more than an equal part, so that who asks for little finds a place whatever others do.
#[derive(Debug)]
pub(super) struct Shares {
    places: usize,
    share: usize,
    taken: AtomicUsize,
    /// Teams that have a place.
    teams: AtomicUsize,
}

/// What one team has.
#[derive(Debug, Default)]
pub(super) struct Held(AtomicUsize);

impl Shares {
    pub(super) fn new(places: usize, percent: u8) -> Self {
        // Rounded up: a role with one place has it for whoever comes.
        let share = places.saturating_mul(percent.into()).div_ceil(100).max(1);
        Self { places, share, taken: AtomicUsize::new(0), teams: AtomicUsize::new(0) }
    }

    /// Takes a place for a team that may have `at_most`. The error is how many it may have now.
    pub(super) fn enter(&self, held: &Held, at_most: u64) -> Result<(), usize> {
        let own = held.0.fetch_add(1, Ordering::AcqRel) + 1;
        if own == 1 {
            self.teams.fetch_add(1, Ordering::AcqRel);
        }
        let taken = self.taken.fetch_add(1, Ordering::AcqRel) + 1;
        let mut may = self.share.min(usize::try_from(at_most).unwrap_or(usize::MAX));
        let teams = self.teams.load(Ordering::Acquire).max(1);
        if teams > 1 && taken > self.places / 2 {
            may = may.min((self.places / teams).max(1));
        }
        if own > may {
            self.leave(held);
            return Err(may);
        }
        Ok(())
    }

    pub(super) fn leave(&self, held: &Held) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
        if held.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.teams.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_team_has_all_places() {
        let shares = Shares::new(100, 75);
        let (greedy, modest) = (Held::default(), Held::default());
        let got = (0..200).take_while(|_| shares.enter(&greedy, u64::MAX).is_ok()).count();
        assert_eq!(got, 75);
        // Another one finds a place, and from now on the first has no more than half.
        assert_eq!(shares.enter(&modest, u64::MAX), Ok(()));
        shares.leave(&greedy);
        assert_eq!(shares.enter(&greedy, u64::MAX), Err(50));
        for _ in 0..74 {
            shares.leave(&greedy);
        }
        assert_eq!(shares.enter(&greedy, u64::MAX), Ok(()));
        assert_eq!(shares.taken.load(Ordering::Acquire), 2);
        assert_eq!(shares.teams.load(Ordering::Acquire), 2);
    }

    #[test]
    fn a_team_may_be_given_less() {
        let (shares, held) = (Shares::new(100, 75), Held::default());
        assert_eq!(shares.enter(&held, 1), Ok(()));
        assert_eq!(shares.enter(&held, 1), Err(1));
        assert_eq!(Shares::new(1, 75).enter(&Held::default(), u64::MAX), Ok(()));
    }
}
