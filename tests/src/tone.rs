//! RTP packets that a test makes itself: PCMU with a loud tone.

use codec_g711::law::{Law, MuLaw};
use quartet::demo::hear;

/// Samples of a packet, 20 ms.
const SAMPLES: u32 = hear::RATE / 50;

/// Packets of PCMU with a loud tone.
#[derive(Debug)]
pub struct RtpTone {
    hz: f32,
    ssrc: u32,
    packets: u32,
}

impl RtpTone {
    /// A stream that has sent nothing yet.
    pub fn new(hz: f32, ssrc: u32) -> Self {
        Self { hz, ssrc, packets: 0 }
    }

    /// The next 20 ms.
    pub fn packet(&mut self) -> Vec<u8> {
        let number = self.packets;
        self.packets += 1;
        self.numbered(number)
    }

    /// The packet of this number, counted from 0, as often as it is wanted.
    pub fn numbered(&self, number: u32) -> Vec<u8> {
        let first = number * SAMPLES;
        let mut bytes = vec![0x80, 0];
        bytes.extend((number as u16).to_be_bytes());
        bytes.extend(first.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend((u64::from(first)..u64::from(first) + u64::from(SAMPLES)).map(|n| {
            let phase = (n as f64 * f64::from(self.hz) / f64::from(hear::RATE)).fract();
            MuLaw::encode((8000.0 * (phase * std::f64::consts::TAU).sin()) as i16)
        }));
        bytes
    }
}
