//! Keys pressed, as telephone events in RTP. RFC 4733 §2.
//!
//! Tones inside the audio, and SIP INFO, are not of this file.

/// Longest duration that one event packet can state; longer events continue under a new timestamp. RFC 4733 §2.5.1.3.
const MAX_DURATION: u16 = 0xFFFF;
/// How far back a late packet may lie, in ticks: 10 s at 8000 Hz.
const LATEST: u32 = 80_000;
/// How often the end of an event is sent. RFC 4733 §2.5.1.4.
const ENDS: u8 = 3;

/// The event code of a key: `0`..`9`, `*`, `#`, `A`..`D`. RFC 4733 §3.2.
#[must_use]
pub fn code(digit: char) -> Option<u8> {
    match digit {
        '0'..='9' => Some(digit as u8 - b'0'),
        '*' => Some(10),
        '#' => Some(11),
        'A'..='D' => Some(digit as u8 - b'A' + 12),
        'a'..='d' => Some(digit as u8 - b'a' + 12),
        _ => None,
    }
}

/// The key of an event code, if the event is a key.
#[must_use]
pub fn digit(code: u8) -> Option<char> {
    b"0123456789*#ABCD".get(usize::from(code)).map(|key| char::from(*key))
}

/// Turns the packets of telephone events into one key per press.
///
/// A key is reported with the first packet of its event that arrives, whichever that is; the rest of the event is
/// recognised by its timestamp and code, which count for one SSRC: another one begins anew. Some phones give several keys one
/// timestamp.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    last: Option<Heard>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    ssrc: u32,
    timestamp: u32,
    code: u8,
    duration: u16,
    ended: bool,
    /// The events heard under this timestamp, a bit each; those that are no keys share one.
    codes: u32,
}

impl Heard {
    fn bit(&self) -> u32 {
        1 << self.code.min(31)
    }
}

impl Receiver {
    /// A receiver that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one packet of the telephone-event payload type; a key if it begins a press. Broken payloads yield none.
    pub fn receive(&mut self, ssrc: u32, timestamp: u32, payload: &[u8]) -> Option<char> {
        let [code, flags, high, low, ..] = *payload else {
            return None;
        };
        let mut heard = Heard {
            ssrc,
            timestamp,
            code,
            duration: u16::from_be_bytes([high, low]),
            ended: flags & 0x80 != 0,
            codes: 0,
        };
        heard.codes = heard.bit();
        if let Some(last) = self.last.as_mut().filter(|last| last.ssrc == ssrc) {
            if last.timestamp == timestamp && last.codes & heard.bit() != 0 {
                if last.code == code {
                    last.ended |= heard.ended;
                    last.duration = last.duration.max(heard.duration);
                }
                return None;
            }
            if last.timestamp == timestamp {
                heard.codes |= last.codes;
                *last = heard;
                return digit(code);
            }
            // A repetition of an earlier press comes soon; a clock that jumped back began anew.
            if (1..=LATEST).contains(&last.timestamp.wrapping_sub(timestamp)) {
                return None;
            }
            let end = last.timestamp.wrapping_add(u32::from(last.duration));
            let continued = !last.ended && last.code == code && last.duration == MAX_DURATION && end == timestamp;
            *last = heard;
            if continued {
                return None;
            }
        } else {
            self.last = Some(heard);
        }
        digit(code)
    }
}

/// One packet of a press that is being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The payload.
    pub payload: [u8; 4],
    /// Set on the first packet.
    pub marker: bool,
    /// Ticks since the last packet: zero for the repeated ends, which leave at once or spaced as the caller likes.
    pub ticks: u32,
    /// The event is over with this packet (three packets say so).
    pub end: bool,
}

/// The packets of one press: send them under one timestamp, one every `interval`, with [`super::sender::Sender::event`].
#[derive(Clone, Debug)]
pub struct Press {
    code: u8,
    interval: u16,
    total: u16,
    elapsed: u16,
    ends: u8,
}

impl Press {
    /// A press of `digit` lasting `total` ticks, told every `interval` ticks; `None` if the digit is no key.
    ///
    /// Both are in ticks of the event's clock; at 8000 Hz, 160 and 800 to 1600 are usual.
    #[must_use]
    pub fn new(digit: char, interval: u16, total: u16) -> Option<Self> {
        Some(Press {
            code: code(digit)?,
            interval: interval.max(1),
            total: total.max(1),
            elapsed: 0,
            ends: 0,
        })
    }

    /// The duration of the press in ticks: what to `skip` in the sender when it is over.
    #[must_use]
    pub fn total(&self) -> u32 {
        u32::from(self.total)
    }
}

impl Iterator for Press {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.ends == ENDS {
            return None;
        }
        let marker = self.elapsed == 0;
        let before = self.elapsed;
        self.elapsed = self.elapsed.saturating_add(self.interval).min(self.total);
        let end = self.elapsed == self.total;
        self.ends += u8::from(end);
        let [high, low] = self.elapsed.to_be_bytes();
        // Volume 10: -10 dBm0, the level of a usual telephone.
        let payload = [self.code, u8::from(end) << 7 | 10, high, low];
        Some(Step {
            payload,
            marker,
            ticks: u32::from(self.elapsed - before),
            end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    #[test]
    fn keys_and_codes_agree() {
        for key in "0123456789*#ABCD".chars() {
            assert_eq!(digit(code(key).unwrap()), Some(key));
        }
        assert_eq!(code('x'), None);
        assert_eq!(digit(16), None);
        assert_eq!(code('d'), Some(15));
    }

    #[test]
    fn a_press_is_heard_once_whatever_is_lost() {
        let press = Press::new('5', 160, 480).unwrap();
        let steps: Vec<Step> = press.collect();
        assert_eq!(steps.len(), 5);
        assert_eq!(steps.iter().filter(|step| step.end).count(), 3);
        assert!(steps[0].marker && !steps[1].marker);
        assert_eq!(steps.iter().map(|step| step.ticks).sum::<u32>(), 480);
        for mask in 1u32..32 {
            let mut receiver = Receiver::new();
            let heard: Vec<char> = steps
                .iter()
                .enumerate()
                .filter(|(index, _)| mask >> index & 1 == 1)
                .filter_map(|(_, step)| receiver.receive(7, 1000, &step.payload))
                .collect();
            assert_eq!(heard, ['5'], "mask {mask:05b}");
        }
    }

    #[test]
    fn the_same_key_twice_is_two_presses() {
        let mut receiver = Receiver::new();
        assert_eq!(receiver.receive(7, u32::MAX - 9, &[1, 10, 0, 160]), Some('1'));
        assert_eq!(receiver.receive(7, u32::MAX - 9, &[1, 0x8A, 1, 64]), None);
        assert_eq!(receiver.receive(7, 2000, &[1, 10, 0, 160]), Some('1'));
        assert_eq!(
            receiver.receive(7, u32::MAX - 9, &[1, 0x8A, 1, 64]),
            None,
            "a late end of the first"
        );
    }

    #[test]
    fn a_long_press_continues_over_segments() {
        let mut receiver = Receiver::new();
        assert_eq!(receiver.receive(7, 0, &[9, 10, 0xFF, 0xFF]), Some('9'));
        assert_eq!(receiver.receive(7, 0xFFFF, &[9, 10, 0, 160]), None);
        assert_eq!(receiver.receive(7, 0xFFFF, &[9, 0x8A, 1, 64]), None);
    }

    #[test]
    fn other_events_and_broken_payloads_are_no_keys() {
        let mut receiver = Receiver::new();
        assert_eq!(receiver.receive(7, 1, &[36, 0, 0, 1]), None);
        assert_eq!(receiver.receive(7, 2, &[1, 0, 0]), None);
        assert_eq!(receiver.receive(7, 3, &[]), None);
    }

    #[test]
    fn random_payloads_never_panic() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut receiver = Receiver::new();
        for _ in 0..20_000 {
            let mut bytes = [0u8; 8];
            rng.fill_bytes(&mut bytes);
            let length = rng.next_u32() as usize % 9;
            receiver.receive(7, rng.next_u32(), &bytes[..length]);
        }
        let steps = Press::new('#', 0, 0).unwrap().count();
        assert_eq!(steps, 3);
        assert!(Press::new('#', u16::MAX, u16::MAX).unwrap().count() == 3);
    }

    /// Seen with phones whose keys are all of one timestamp, or at least those pressed quickly.
    #[test]
    fn keys_under_one_timestamp_are_told_apart_by_their_code() {
        let mut receiver = Receiver::new();
        let mut keys = String::new();
        for code in [1, 2, 10] {
            for (flags, duration) in [(10, 160), (10, 320), (0x8A, 480), (0x8A, 480), (0x8A, 480)] {
                keys.extend(receiver.receive(7, 1_000, &[code, flags, (duration >> 8) as u8, duration as u8]));
            }
        }
        // A late retransmission of the first.
        keys.extend(receiver.receive(7, 1_000, &[1, 0x8A, 1, 224]));
        assert_eq!(keys, "12*");
        keys.extend(receiver.receive(7, 3_000, &[1, 10, 0, 160]));
        assert_eq!(keys, "12*1");
    }
}
