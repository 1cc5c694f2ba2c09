//! What a codec takes beyond its result: memory, time, allocations.

use super::super::codec::{CodecTable, Decoder, Encoder};
use super::super::loader::usage;
use super::super::signal;
use super::codec::{Verdict, combinations, offer, samples_in, settings};

/// Handles made and freed to see whether they are.
const HANDLES: usize = 200;
const ROUNDS: usize = 5;
/// Frames that a codec may take to find its buffers, and frames that are looked at.
const WARM_UP: usize = 50;
const FRAMES: usize = 200;
/// A frame may take so much of its own duration: the rest is for all other calls. Contract §9.
const MAX_SHARE: f64 = 0.1;

/// Makes and destroys; whether memory grows by it. `each` handles are made at a time.
pub(super) fn freed(what: &str, each: usize, mut made: impl FnMut() -> Result<(), String>) -> Verdict {
    for _ in 0..20 {
        made()?;
    }
    let Some(mut before) = usage::bytes_in_use() else {
        return Ok("not looked at: this system does not tell what is allocated".to_owned());
    };
    let mut grown = usize::MAX;
    // A table that grows now and then does so in one round; what is never freed grows in all of them.
    for _ in 0..ROUNDS {
        for _ in 0..HANDLES / each {
            made()?;
        }
        let now = usage::bytes_in_use().unwrap_or(before);
        grown = grown.min(now.saturating_sub(before));
        before = now;
    }
    if grown >= HANDLES * 16 {
        return Err(format!(
            "{what}: {HANDLES} handles leave {grown} bytes that are never freed"
        ));
    }
    Ok(format!("{HANDLES} handles leave {grown} bytes"))
}

pub(super) fn handles(codec: &CodecTable) -> Verdict {
    let fmtp = offer(codec)?;
    let settings = settings(codec.rates()[0], codec.frame_us()[0], &fmtp);
    let encoders = freed("encoder_new and encoder_free", 1, || {
        codec
            .encoder(&settings)
            .map(drop)
            .map_err(|error| format!("encoder_new: {error}"))
    })?;
    let decoders = freed("decoder_new and decoder_free", 1, || {
        codec
            .decoder(&settings)
            .map(drop)
            .map_err(|error| format!("decoder_new: {error}"))
    })?;
    Ok(format!("encoders: {encoders}; decoders: {decoders}"))
}

/// A codec at one rate, with what goes through it.
struct Run {
    encoder: Encoder,
    decoder: Decoder,
    pcm: Vec<i16>,
    packet: Vec<u8>,
    room: Vec<i16>,
}

impl Run {
    fn new(codec: &CodecTable, rate: u32, us: u32) -> Result<Self, String> {
        let fmtp = offer(codec)?;
        let settings = settings(rate, us, &fmtp);
        Ok(Self {
            encoder: codec
                .encoder(&settings)
                .map_err(|error| format!("no encoder: {error}"))?,
            decoder: codec
                .decoder(&settings)
                .map_err(|error| format!("no decoder: {error}"))?,
            pcm: signal::tone(rate, samples_in(rate, us)),
            packet: vec![0; codec.max_packet()],
            room: vec![0; samples_in(rate, 120_000)],
        })
    }

    /// One frame there and back, each call within `around`.
    fn frame(&mut self, mut around: impl FnMut(&'static str, &mut dyn FnMut())) -> Result<(), String> {
        let Self {
            encoder,
            decoder,
            pcm,
            packet,
            room,
        } = self;
        let mut result = Ok(0);
        around("encode", &mut || result = encoder.encode(pcm, packet));
        let length = result.map_err(|error| format!("encode: {error}"))?;
        let mut result = Ok(0);
        if length > 0 {
            around("decode", &mut || result = decoder.decode(&packet[..length], room));
        }
        result.map(drop).map_err(|error| format!("decode: {error}"))
    }
}

/// A second of each rate and frame, so that whatever the codec prints is printed.
pub(super) fn use_all(codec: &CodecTable) -> Verdict {
    for (rate, us) in combinations(codec) {
        let mut run = Run::new(codec, rate, us)?;
        for _ in 0..WARM_UP {
            run.frame(|_, call| call())?;
        }
    }
    Ok("nothing".to_owned())
}

pub(super) fn time(codec: &CodecTable) -> Verdict {
    let (rate, us) = (codec.rates()[0], codec.frame_us()[0]);
    let mut run = Run::new(codec, rate, us)?;
    let mut seen = Vec::new();
    for name in ["encode", "decode"] {
        let (mut times, mut waits) = (Vec::new(), 0);
        for _ in 0..FRAMES {
            run.frame(|call_name, call| {
                if call_name != name {
                    return call();
                }
                let before = (usage::thread_time(), usage::waits());
                call();
                times.push(usage::thread_time().saturating_sub(before.0));
                waits += usage::waits().saturating_sub(before.1);
            })?;
        }
        // Now and then a page has to come from the disk.
        if waits >= FRAMES as u64 / 20 {
            return Err(format!(
                "{name} gives its thread away {waits} times in {FRAMES} frames: it sleeps, waits or does IO"
            ));
        }
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        if times.is_empty() {
            return Err(format!(
                "{name} is never called: no packet came of {FRAMES} frames of a tone"
            ));
        }
        let share = median.as_secs_f64() * 1e6 / f64::from(us);
        if share > MAX_SHARE {
            return Err(format!(
                "{name} takes {median:?} of a frame of {us} us, a tenth is the most"
            ));
        }
        seen.push(format!("{name} {median:?}"));
    }
    Ok(format!("{} of {us} us", seen.join(", ")))
}

pub(super) fn allocations(codec: &CodecTable) -> Verdict {
    usage::count_allocations();
    for (rate, us) in combinations(codec) {
        let mut run = Run::new(codec, rate, us)?;
        for _ in 0..WARM_UP {
            run.frame(|_, call| call())?;
        }
        let mut counts = [("encode", 0), ("decode", 0)];
        for _ in 0..FRAMES {
            run.frame(|name, call| {
                let before = usage::allocations();
                call();
                let count = usage::allocations() - before;
                counts
                    .iter_mut()
                    .filter(|(of, _)| *of == name)
                    .for_each(|(_, sum)| *sum += count);
            })?;
        }
        if let Some((name, count)) = counts.iter().find(|(_, count)| *count > 0) {
            return Err(format!(
                "{name} calls malloc or its like {count} times in {FRAMES} frames of {us} us at {rate} Hz; \
                 allocate in {name}r_new"
            ));
        }
    }
    Ok("none".to_owned())
}
