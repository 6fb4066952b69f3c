//! How alike two vectors are: one definition that every backend's scores agree with.

/// How vectors are compared. A higher score is always more alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The cosine of the angle; 0 with a vector of length 0.
    Cosine,
    /// The inner product.
    Dot,
    /// `1 / (1 + d)` of the distance d.
    Euclidean,
}

impl Metric {
    /// The name under which stores keep it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclidean => "euclidean",
        }
    }

    /// Reads [`Self::name`].
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Cosine, Self::Dot, Self::Euclidean].into_iter().find(|metric| metric.name() == name)
    }

    /// The score of two vectors of one length.
    pub fn score(self, a: &[f32], b: &[f32]) -> f32 {
        match self {
            Self::Dot => dot(a, b),
            Self::Cosine => {
                let lengths = (dot(a, a) * dot(b, b)).sqrt();
                if lengths > 0.0 { (dot(a, b) / lengths).clamp(-1.0, 1.0) } else { 0.0 }
            }
            Self::Euclidean => of_distance(squared_distance(a, b).sqrt()),
        }
    }
}

/// The score of a euclidean distance.
pub fn of_distance(distance: f32) -> f32 {
    1.0 / (1.0 + distance)
}

/// Sums kept beside each other: enough for the widest registers, and the compiler needs no leave to reorder.
const LANES: usize = 16;

/// The inner product.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    folded(a, b, |a, b| a * b)
}

/// The square of the distance.
#[inline(always)]
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    folded(a, b, |a, b| (a - b) * (a - b))
}

#[inline(always)]
fn folded(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += term(*a, *b);
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| term(*a, *b)).sum();
    sums.iter().sum::<f32>() + rest
}

/// A vector of length 1 in the same direction; one of length 0 stays.
pub fn normalized(vector: &[f32]) -> Vec<f32> {
    let length = dot(vector, vector).sqrt();
    if length > 0.0 { vector.iter().map(|value| value / length).collect() } else { vector.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_what_they_are_said_to_be() {
        let (x, y, zero) = ([3.0, 4.0], [4.0, 3.0], [0.0, 0.0]);
        assert!((Metric::Cosine.score(&x, &y) - 0.96).abs() < 1e-6);
        assert_eq!(Metric::Cosine.score(&x, &zero), 0.0);
        assert_eq!(Metric::Dot.score(&x, &y), 24.0);
        assert_eq!(Metric::Euclidean.score(&x, &zero), 1.0 / 6.0);
        assert_eq!(normalized(&x), [0.6, 0.8]);
        assert_eq!(normalized(&zero), zero);
    }

    #[test]
    fn lanes_and_the_rest_are_summed() {
        for n in [0usize, 1, 15, 16, 17, 33] {
            let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let plain: f32 = a.iter().map(|value| value * value).sum();
            assert_eq!(dot(&a, &a), plain, "{n}");
        }
    }
}
