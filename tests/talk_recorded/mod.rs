//! What a recorded talk sounds like to whoever packs it; shared by tests and benches.

/// Two seconds of the citizen, two of the agent, in turn: a tone with harmonics that swells and fades like syllables, on a hiss.
pub fn talk(seconds: f64) -> Vec<[i16; 2]> {
    let mut dice = 1u32;
    let mut hiss = move || {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(dice >> 16) / 65_536.0 * 60.0 - 30.0
    };
    let voice = |at: f64, pitch: f64| {
        let swell = 0.6 + 0.4 * (at * 4.0 * std::f64::consts::TAU).sin();
        let wave: f64 = (1..8).map(|n| (at * pitch * f64::from(n) * std::f64::consts::TAU).sin() / f64::from(n)).sum();
        wave * swell * 5000.0
    };
    let frame = |n: usize| {
        let at = n as f64 / 8000.0;
        let citizen = ((at / 2.0) as u64).is_multiple_of(2);
        let [left, right] = if citizen { [voice(at, 180.0), 0.0] } else { [0.0, voice(at, 130.0)] };
        [(left + hiss()) as i16, (right + hiss()) as i16]
    };
    let mut frame = frame;
    (0..(seconds * 8000.0) as usize).map(&mut frame).collect()
}
