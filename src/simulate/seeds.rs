//! One figure over many seeds: its mean and how far that can be trusted.

/// Two-sided 97.5 % points of Student's t (1908) for 1 … 30 degrees of freedom; beyond, the normal's.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110,
    2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// A mean with its 95 % confidence interval, mean ± half.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    pub mean: f64,
    pub half: f64,
}

impl Interval {
    /// Of independent draws; one alone says nothing about its own spread.
    pub fn of(draws: &[f64]) -> Self {
        let n = draws.len() as f64;
        let mean = draws.iter().sum::<f64>() / n.max(1.0);
        if draws.len() < 2 {
            return Self { mean, half: f64::INFINITY };
        }
        let variance = draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let t = STUDENT.get(draws.len() - 2).copied().unwrap_or(1.96);
        Self { mean, half: t * (variance / n).sqrt() }
    }

    pub fn holds(&self, figure: f64) -> bool {
        (figure - self.mean).abs() <= self.half
    }
}
