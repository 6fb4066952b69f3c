//! The best of many.

/// The best `most` of what it is shown, best first.
#[derive(Debug)]
pub struct Top {
    most: usize,
    best: Vec<(f32, u32)>,
}

impl Top {
    pub fn new(most: usize) -> Self {
        Self { most, best: Vec::with_capacity(most + 1) }
    }

    /// Whether a score would be taken.
    #[inline]
    pub fn takes(&self, score: f32) -> bool {
        self.best.len() < self.most || self.best.last().is_some_and(|(worst, _)| score > *worst)
    }

    /// Takes one, if it is among the best.
    #[inline]
    pub fn push(&mut self, score: f32, slot: u32) {
        if self.takes(score) {
            let place = self.best.partition_point(|(other, _)| *other >= score);
            self.best.insert(place, (score, slot));
            self.best.truncate(self.most);
        }
    }

    pub fn len(&self) -> usize {
        self.best.len()
    }

    pub fn into_vec(self) -> Vec<(f32, u32)> {
        self.best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_in_order() {
        let mut top = Top::new(3);
        for (slot, score) in [0.1, 0.5, 0.3, 0.9, 0.3, 0.4].into_iter().enumerate() {
            top.push(score, slot as u32);
        }
        assert_eq!(top.into_vec(), [(0.9, 3), (0.5, 1), (0.4, 5)]);
    }
}
