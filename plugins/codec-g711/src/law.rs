//! The two companding laws. Encoders work on 14 (mu) and 13 (A) bits of the sample, as G.711 defines them.

use core::ffi::CStr;

/// One law: which byte stands for which sample.
pub trait Law: Send + 'static {
    /// Its name in SDP.
    const SDP_NAME: &'static CStr;
    /// Its number in RTP, RFC 3551 §6.
    const PAYLOAD_TYPE: u8;
    /// The first sixteen codes and their samples, from the tables of G.711.
    const SAMPLE: (&'static [u8; 16], &'static [i16; 16]);

    /// Returns the byte for a sample.
    fn encode(sample: i16) -> u8;
    /// Returns the sample for a byte.
    fn decode(byte: u8) -> i16;
}

const FIRST_CODES: &[u8; 16] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Mu-law: North America and Japan.
pub struct MuLaw;

impl Law for MuLaw {
    const SDP_NAME: &'static CStr = c"PCMU";
    const PAYLOAD_TYPE: u8 = 0;
    const SAMPLE: (&'static [u8; 16], &'static [i16; 16]) = (
        FIRST_CODES,
        &[
            -32124, -31100, -30076, -29052, -28028, -27004, -25980, -24956, -23932, -22908, -21884, -20860, -19836,
            -18812, -17788, -16764,
        ],
    );

    fn encode(sample: i16) -> u8 {
        // Eight chords that double in width from 132 on; 132 is added so that each begins at a power of two.
        let sign = if sample < 0 { 0x80 } else { 0 };
        let biased = (u32::from(sample.unsigned_abs()) + MU_BIAS).min(0x7fff);
        let chord = biased.ilog2() - 7;
        let step = (biased >> (chord + 3)) & 0xf;
        !(sign | (chord << 4 | step) as u8)
    }

    fn decode(byte: u8) -> i16 {
        MU_TABLE[byte as usize]
    }
}

/// A-law: the rest of the world.
pub struct ALaw;

impl Law for ALaw {
    const SDP_NAME: &'static CStr = c"PCMA";
    const PAYLOAD_TYPE: u8 = 8;
    const SAMPLE: (&'static [u8; 16], &'static [i16; 16]) = (
        FIRST_CODES,
        &[
            -5504, -5248, -6016, -5760, -4480, -4224, -4992, -4736, -7552, -7296, -8064, -7808, -6528, -6272, -7040,
            -6784,
        ],
    );

    fn encode(sample: i16) -> u8 {
        // One linear chord up to 512, then seven that double in width; even bits are inverted on the line.
        let (sign, magnitude) = if sample < 0 { (0, !sample) } else { (0x80, sample) };
        let magnitude = u32::from(magnitude.unsigned_abs()) >> 4;
        let code = if magnitude < 32 {
            magnitude
        } else {
            let chord = magnitude.ilog2() - 3;
            chord << 4 | ((magnitude >> (chord - 1)) & 0xf)
        };
        (sign | code as u8) ^ 0x55
    }

    fn decode(byte: u8) -> i16 {
        A_TABLE[byte as usize]
    }
}

/// What mu-law adds to a magnitude before it takes the logarithm.
const MU_BIAS: u32 = 132;

const MU_TABLE: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = !(code as u8);
        let chord = (bits >> 4 & 7) as i32;
        let step = (bits & 0xf) as i32;
        let magnitude = (((step << 3) + MU_BIAS as i32) << chord) - MU_BIAS as i32;
        table[code] = if bits & 0x80 == 0 {
            magnitude as i16
        } else {
            -magnitude as i16
        };
        code += 1;
    }
    table
};

const A_TABLE: [i16; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        let bits = code as u8 ^ 0x55;
        let chord = (bits >> 4 & 7) as i32;
        let step = (bits & 0xf) as i32;
        let magnitude = match chord {
            0 => (step << 4) + 8,
            _ => ((step << 4) + 0x108) << (chord - 1),
        };
        table[code] = if bits & 0x80 != 0 {
            magnitude as i16
        } else {
            -magnitude as i16
        };
        code += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn check<L: Law>(zero: i16) {
        for code in 0..=255_u8 {
            let sample = L::decode(code);
            let again = L::decode(L::encode(sample));
            assert_eq!(again, sample, "code {code}");
        }
        // Louder in is never softer out, and the error is at most half of the widest step of that loudness.
        let mut last = i16::MIN;
        for sample in i16::MIN..=i16::MAX {
            let again = L::decode(L::encode(sample));
            assert!(again >= last, "{sample}");
            assert!(again.abs_diff(sample) <= 16 + sample.unsigned_abs() / 32, "{sample}");
            last = again;
        }
        assert_eq!(L::decode(L::encode(0)), zero);
    }

    #[test]
    fn all_codes_survive_and_samples_find_their_neighbour() {
        check::<MuLaw>(0);
        check::<ALaw>(8);
    }

    #[test]
    fn both_zeros_of_mu_law() {
        assert_eq!((MuLaw::decode(0xff), MuLaw::decode(0x7f)), (0, 0));
        assert_eq!(
            (MuLaw::encode(0), MuLaw::encode(i16::MAX), MuLaw::encode(i16::MIN)),
            (0xff, 0x80, 0x00)
        );
    }

    #[test]
    fn ends_of_a_law() {
        assert_eq!((ALaw::encode(0), ALaw::encode(-1)), (0xd5, 0x55));
        assert_eq!((ALaw::encode(i16::MAX), ALaw::encode(i16::MIN)), (0xaa, 0x2a));
        assert_eq!((ALaw::decode(0xaa), ALaw::decode(0x2a)), (32256, -32256));
    }
}
