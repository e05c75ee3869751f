//! Chance by seed: the same numbers for the same seed on every machine.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        // A step away from zero, so that neighbouring seeds begin far apart.
        let mut dice = Self(seed);
        dice.word();
        Self(dice.word())
    }

    /// A stream of its own for a part of the whole: what one part draws changes nothing in another.
    pub fn fork(&self, part: u64) -> Self {
        Self::new(self.0 ^ part.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform, never 0 or 1.
    pub fn unit(&mut self) -> f64 {
        ((self.word() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.word() % end.max(1)
    }

    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    /// Box and Muller 1958.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Log-normal by its mean and coefficient of variation: σ² = ln(1 + cv²), μ = ln(mean) − σ²/2.
    pub fn log_normal(&mut self, mean: f64, cv: f64) -> f64 {
        let variance = (cv * cv).ln_1p();
        (mean.ln() - variance / 2.0 + variance.sqrt() * self.normal()).exp()
    }
}
