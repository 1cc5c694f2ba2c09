//! How much work the decoder does: its networks for what is missing, and for what is left when much is.

use crate::plugins::{Decoder, Setting};

/// The decoder makes up what is missing with a network. Where nothing is missing that costs nothing.
const CONCEAL: i64 = 5;
/// It makes what came sound better as well: with holes around it that is worth 0.4 % of a core.
const ENHANCE: i64 = 7;
/// Below this there is no room for what that adds.
const MIN_RATE: u32 = 16_000;
/// From this share of lost packets on, and until there is less than that again.
const LOSSY: f32 = 0.01;
const CALM: f32 = 0.003;

/// What the decoder was told.
pub(super) struct Effort {
    may_enhance: bool,
    enhances: bool,
}

impl Effort {
    /// Tells a new decoder of that rate. One without such a setting refuses, which is no fault.
    pub(super) fn new(decoder: &mut Decoder, rate: u32) -> Self {
        let may_enhance = decoder.set(Setting::Complexity, CONCEAL).is_ok() && rate >= MIN_RATE;
        Self {
            may_enhance,
            enhances: false,
        }
    }

    /// `loss`: the share of packets that do not come by themselves.
    pub(super) fn follow(&mut self, decoder: &mut Decoder, loss: f32) {
        let enhances = loss >= if self.enhances { CALM } else { LOSSY };
        if self.may_enhance && enhances != self.enhances {
            self.enhances = enhances;
            let _ = decoder.set(Setting::Complexity, if enhances { ENHANCE } else { CONCEAL });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::testing::{decoder_of, product};

    #[test]
    fn a_network_more_when_packets_are_lost_and_less_when_none_are() {
        let mut opus = decoder_of(&product(), "opus", 16_000);
        let mut effort = Effort::new(&mut opus, 16_000);
        for (loss, enhances) in [
            (0.0, false),
            (0.009, false),
            (0.01, true),
            (0.004, true),
            (0.002, false),
            (0.004, false),
        ] {
            effort.follow(&mut opus, loss);
            assert_eq!(effort.enhances, enhances, "{loss}");
        }
    }

    #[test]
    fn none_where_it_has_no_room_or_the_codec_no_network() {
        for (codec, rate) in [("opus", 8_000), ("PCMU", 8_000)] {
            let mut decoder = decoder_of(&product(), codec, rate);
            let mut effort = Effort::new(&mut decoder, rate);
            effort.follow(&mut decoder, 0.5);
            assert!(!effort.enhances, "{codec}");
        }
    }
}
