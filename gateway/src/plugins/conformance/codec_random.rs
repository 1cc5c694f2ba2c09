//! Check 16 of a codec: a million random packets in every mode.

use std::time::Instant;

use quartet_plugin::abi;

use super::super::codec::CodecTable;
use super::super::loader::guarded::Edge;
use super::super::signal::{self, Xorshift};
use super::codec::{Verdict, decoder, encoder, guarded, offer, samples_in, settings};
use super::{RANDOM_PACKETS, RANDOM_TIME};

/// Random bytes, and real packets with random changes, to one decoder in a random order of modes.
pub(super) fn packets(codec: &CodecTable, seed: u64) -> Verdict {
    let begin = Instant::now();
    let mut random = Xorshift::new(seed);
    let ours = offer(codec)?;
    let rate = *codec.rates().last().unwrap_or(&8000);
    let us = codec.frame_us()[0];
    let frame = samples_in(rate, us);
    let real = real_packet(codec, rate, us, &ours)?;
    let mut decoder = decoder(codec, &settings(rate, us, &ours))?;
    let (mut input, mut output) = (guarded()?, guarded()?);
    let most = samples_in(rate, 120_000);
    let mut good = 0;
    for round in 0..RANDOM_PACKETS {
        if round % 1024 == 0 && begin.elapsed() > RANDOM_TIME {
            return Ok(format!(
                "{round} packets in {} s, {good} of them decoded; seed {seed}",
                RANDOM_TIME.as_secs()
            ));
        }
        let mode = match random.below(16) {
            0 => abi::DECODE_LOST,
            1 => abi::DECODE_FEC,
            _ => abi::DECODE_PACKET,
        };
        let length = if mode == abi::DECODE_LOST {
            0
        } else {
            length(&mut random, codec.max_packet())
        };
        let data = input.bytes(length, Edge::Behind);
        random.fill(data);
        if random.below(3) == 0 {
            // A third begins like a real one.
            let head = real.len().min(length);
            data[..head].copy_from_slice(&real[..head]);
            if length > 0 {
                data[random.below(length)] ^= 1 << random.below(8);
            }
        }
        let room = if mode == abi::DECODE_PACKET { most } else { frame };
        let edge = if random.below(2) == 0 {
            Edge::Before
        } else {
            Edge::Behind
        };
        let code = decoder.decode(mode, data, output.samples(room, edge));
        let fits = usize::try_from(code).is_ok_and(|count| {
            if mode == abi::DECODE_PACKET {
                count <= room
            } else {
                count == room
            }
        });
        if code <= abi::E_INTERNAL || (code >= 0 && !fits) {
            return Err(format!(
                "mode {mode}, {length} bytes: decode returned {code}; round {round} of seed {seed}"
            ));
        }
        if round % 64 == 0 && !output.untouched(room * 2, edge) {
            return Err(format!(
                "mode {mode}, {length} bytes: wrote outside its buffer; round {round} of seed {seed}"
            ));
        }
        good += u32::from(code > 0);
    }
    Ok(format!("{RANDOM_PACKETS} packets, {good} of them decoded; seed {seed}"))
}

/// Mostly short, as headers are; sometimes anything.
fn length(random: &mut Xorshift, most: usize) -> usize {
    if random.below(8) == 0 {
        random.below(most + 1)
    } else {
        random.below(64.min(most) + 1)
    }
}

fn real_packet(codec: &CodecTable, rate: u32, us: u32, fmtp: &str) -> Result<Vec<u8>, String> {
    let mut encoder = encoder(codec, &settings(rate, us, fmtp))?;
    let mut packet = vec![0; codec.max_packet()];
    let code = encoder.encode(&signal::tone(rate, samples_in(rate, us)), &mut packet);
    packet.truncate(usize::try_from(code).map_err(|_| format!("encode returned {code}"))?);
    Ok(packet)
}
