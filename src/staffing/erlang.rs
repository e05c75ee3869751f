//! Waits of a queue in balance, by formula: Erlang C (callers who never give up) and Erlang A (callers with patience).
//!
//! Erlang C: A. K. Erlang, Solution of some problems in the theory of probabilities of significance in automatic telephone exchanges,
//! 1917. Erlang A: C. Palm, Research on telephone traffic carried by full availability groups, Tele 1957; in the form used here
//! S. Zeltyn and A. Mandelbaum, Call centers with impatient customers: many-server asymptotics of the M/M/n + G queue, Queueing
//! Systems 51, 2005, and O. Garnett, A. Mandelbaum, M. Reiman, Designing a call center with impatient customers, MSOM 4(3), 2002.

/// Poisson arrivals, exponential talks and patience. Times in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    pub calls_per_s: f64,
    pub service_mean: f64,
    pub patience_mean: f64,
}

impl Load {
    /// Offered load in Erlang: agents who would be busy if nobody waited.
    pub fn erlangs(&self) -> f64 {
        self.calls_per_s * self.service_mean
    }
}

/// What callers meet. Means and shares are over all callers, those who give up included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Queue {
    pub mean_wait_s: f64,
    /// Share of callers who do not get through at once.
    pub waits_share: f64,
    pub abandoned_share: f64,
    /// Share of callers who are answered within the time asked for.
    pub within_share: f64,
    /// Share of their time that agents talk.
    pub occupancy: f64,
}

const NOBODY: Queue = Queue { mean_wait_s: 0.0, waits_share: 0.0, abandoned_share: 0.0, within_share: 1.0, occupancy: 0.0 };

/// Steps of Simpson's rule; the integrands are smooth and the range is cut where they vanish.
const STEPS: usize = 240;
/// e⁻⁴⁰ is nothing beside 1.
const VANISHED: f64 = 40.0;

/// `None` if the agents cannot keep up: without patience the queue grows for ever. `within` as for the service level, s.
pub fn erlang_c(load: &Load, agents: u32, within: f64) -> Option<Queue> {
    let (offered, n) = (load.erlangs(), f64::from(agents));
    if offered <= 0.0 {
        return Some(NOBODY);
    }
    if offered >= n {
        return None;
    }
    // B of n agents from B of n − 1: 1/B(n) = 1 + n/a · 1/B(n − 1). C = nB / (n − a(1 − B)).
    let blocked = 1.0 / inverse_blocking(offered, agents);
    let waits_share = n * blocked / (n - offered * (1.0 - blocked));
    // An answered caller frees the queue at rate nμ − λ.
    let rate = (n - offered) / load.service_mean;
    Some(Queue {
        mean_wait_s: waits_share / rate,
        waits_share,
        abandoned_share: 0.0,
        within_share: 1.0 - waits_share * (-rate * within).exp(),
        occupancy: offered / n,
    })
}

/// The wait offered to a caller with endless patience has, beside an atom at 0, the density λ·exp(λH(x) − nμx)/(E + λJ), where
/// H(x) = (1 − e^(−θx))/θ, J is the integral of the exponential, and E = 1/B(n − 1) (Zeltyn and Mandelbaum 2005, section 4).
pub fn erlang_a(load: &Load, agents: u32, within: f64) -> Queue {
    let (arrivals, n, theta) = (load.calls_per_s, f64::from(agents), 1.0 / load.patience_mean);
    if arrivals <= 0.0 {
        return NOBODY;
    }
    if agents == 0 {
        return Queue {
            mean_wait_s: load.patience_mean,
            waits_share: 1.0,
            abandoned_share: 1.0,
            within_share: 0.0,
            occupancy: 1.0,
        };
    }
    let rate = n / load.service_mean;
    let exponent = |x: f64| arrivals / theta * -(-theta * x).exp_m1() - rate * x;
    // Under overload the exponent grows until the patience of callers balances the agents; everything is taken relative to there.
    let peak = ((arrivals / rate).ln() / theta).max(0.0);
    let (highest, mut end) = (exponent(peak), peak + 1.0);
    while highest - exponent(end) < VANISHED {
        end = peak + (end - peak) * 1.5;
    }
    let density = |x: f64| arrivals * (exponent(x) - highest).exp();
    let at_once = (inverse_blocking(load.erlangs(), agents - 1).ln() - highest).exp();
    let waiting = integral(density, end);
    let whole = at_once + waiting;
    let abandoned = integral(|x| -(-theta * x).exp_m1() * density(x), end) / whole;
    let answered_in_time = integral(|x| (-theta * x).exp() * density(x), within.min(end)) / whole;
    Queue {
        // Everybody waits min(offered wait, patience); with exponential patience θ·E[W] = P(abandons).
        mean_wait_s: abandoned / theta,
        waits_share: waiting / whole,
        abandoned_share: abandoned,
        within_share: at_once / whole + answered_in_time,
        occupancy: load.erlangs() * (1.0 - abandoned) / n,
    }
}

/// The fewest agents with which `good` holds; `good` holds for all above, too.
pub fn agents_for(load: &Load, good: impl Fn(u32) -> bool) -> u32 {
    // Twice the load and a few more is plenty for any goal that makes sense; what is asked beyond gets that.
    let most = (2.0 * load.erlangs()).ceil() as u32 + 10;
    (0..most).find(|agents| good(*agents)).unwrap_or(most)
}

fn inverse_blocking(offered: f64, agents: u32) -> f64 {
    (1..=agents).fold(1.0, |inverse, n| 1.0 + f64::from(n) / offered * inverse)
}

/// Simpson's rule from 0 to `end`.
fn integral(of: impl Fn(f64) -> f64, end: f64) -> f64 {
    if end <= 0.0 {
        return 0.0;
    }
    let step = end / STEPS as f64;
    let weight = |no: usize| match no {
        0 | STEPS => 1.0,
        no if no % 2 == 1 => 4.0,
        _ => 2.0,
    };
    (0..=STEPS).map(|no| weight(no) * of(no as f64 * step)).sum::<f64>() * step / 3.0
}
