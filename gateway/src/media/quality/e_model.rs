//! What listening and waiting are worth: the E-model. ITU-T G.107.
//!
//! It reckons with figures that can be counted while a call lasts, so that operators see which calls are bad; how well it agrees with what
//! was heard stands in docs/quality.md.

/// R of a call with nothing wrong: G.107 with its usual values.
const NO_FAULT: f32 = 93.2;
/// The share of lost sound, in percent, at which half of what a codec has to give is gone, where one is lost for itself (G.113 appendix
/// I: 25.1 for G.711 with concealment). That of Opus is fitted to PESQ.
const ROBUSTNESS: [(&str, f32); 3] = [("opus", 15.0), ("pcmu", 25.1), ("pcma", 25.1)];
/// Of a codec that is not known: G.711 without concealment is at 4.3.
const USUAL_ROBUSTNESS: f32 = 10.0;

/// What is known of one direction of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// The share of sound that had to be made up, 0 to 1.
    pub made_up: f32,
    /// How many packets are made up in a row, on average; 1 and more.
    pub in_a_row: f32,
    /// From mouth to ear.
    pub delay_ms: f32,
}

/// Mean opinion score of a conversation, 1 to 4.4. `codec`: its SDP name, in whatever case.
#[must_use]
pub fn mos(codec: &str, heard: Heard) -> f32 {
    let known = ROBUSTNESS.iter().find(|(name, _)| name.eq_ignore_ascii_case(codec));
    let robustness = known.map_or(USUAL_ROBUSTNESS, |(_, robustness)| *robustness);
    let share = heard.made_up.clamp(0.0, 1.0);
    // BurstR: how much longer losses are than by chance.
    let burst = (heard.in_a_row * (1.0 - share)).max(1.0);
    let percent = share * 100.0;
    let loss = 95.0 * percent / (percent / burst + robustness);
    opinion(NO_FAULT - loss - delay_impairment(heard.delay_ms))
}

/// G.107 annex B.
fn opinion(r: f32) -> f32 {
    if r <= 0.0 {
        return 1.0;
    }
    let r = r.min(100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0)
}

/// Points of R lost to a one-way delay. ITU-T G.107 §7.3, Idd.
pub(crate) fn delay_impairment(ms: f32) -> f32 {
    if ms <= 100.0 {
        return 0.0;
    }
    let x = (ms / 100.0).log2();
    let root = |x: f32| (1.0 + x.powi(6)).powf(1.0 / 6.0);
    25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_impairment_is_that_of_the_standard() {
        assert_eq!(delay_impairment(80.0), 0.0);
        assert!(
            (delay_impairment(400.0) - 24.6).abs() < 1.5,
            "{}",
            delay_impairment(400.0)
        );
        assert!(delay_impairment(200.0) < delay_impairment(300.0));
    }

    #[test]
    fn opinions_are_those_of_the_standard() {
        // G.107 table B.1: R 90 is MOS 4.34, 80 is 4.03, 70 is 3.60, 60 is 3.10, 50 is 2.58.
        for (r, wanted) in [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)] {
            assert!((opinion(r) - wanted).abs() < 0.01, "{r}: {}", opinion(r));
        }
        assert_eq!(opinion(-5.0), 1.0);
        assert!(opinion(1_000.0) <= 4.5);
    }

    #[test]
    fn loss_bursts_and_delay_cost() {
        let heard = |made_up, in_a_row, delay_ms| Heard {
            made_up,
            in_a_row,
            delay_ms,
        };
        let best = mos("PCMU", heard(0.0, 0.0, 80.0));
        assert!((4.3..4.5).contains(&best), "{best}");
        let some = mos("PCMU", heard(0.05, 1.0, 80.0));
        assert!(some < best && mos("PCMU", heard(0.05, 4.0, 80.0)) < some);
        assert!(mos("PCMU", heard(0.05, 1.0, 500.0)) < some);
        assert!(mos("x", heard(0.05, 1.0, 80.0)) < some);
        for (made_up, in_a_row, delay_ms) in [(9.0, 1e9, 1e9), (f32::NAN, f32::NAN, f32::NAN)] {
            let worst = mos("opus", heard(made_up, in_a_row, delay_ms));
            assert!((1.0..=4.5).contains(&worst) || worst.is_nan(), "{worst}");
        }
    }
}
