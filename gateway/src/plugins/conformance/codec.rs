//! The checks of a codec: 1 to 11; 16 is in `codec_random`.

use quartet_plugin::abi;

use super::super::codec::{CodecSettings, CodecTable, FmtpRole};
use super::super::loader::calls::{DecoderHandle, EncoderHandle};
use super::super::loader::guarded::{Edge, Guarded};
use super::super::registry::Registry;
use super::super::self_check::{self, MIN_TONE};
use super::super::signal::{self, Xorshift};
use super::{PRINTS, codec_random, cost};

/// A result of a check.
pub(super) type Verdict = Result<String, String>;

/// Runs a check by its number.
pub(super) fn check(registry: &Registry, codec: &CodecTable, number: u32, seed: u64) -> Verdict {
    match number {
        1 => strings(registry),
        2 => whole_frames(codec),
        3 => sizes(codec),
        4 => refusals(codec),
        5 => fmtp_capacity(codec),
        6 => nonsense_fmtp(codec, seed),
        7 => signals(codec, seed),
        8 => tones(codec),
        9 => capacities(codec),
        10 => odd_counts(codec),
        11 => lost_first(codec),
        16 => codec_random::packets(codec, seed),
        21 => cost::handles(codec),
        PRINTS => cost::use_all(codec),
        26 => cost::time(codec),
        31 => cost::allocations(codec),
        other => Err(format!("there is no check {other}")),
    }
}

pub(super) fn settings<'a>(sample_rate: u32, frame_us: u32, fmtp: &'a str) -> CodecSettings<'a> {
    CodecSettings {
        sample_rate,
        channels: 1,
        frame_us,
        local_fmtp: fmtp,
        remote_fmtp: fmtp,
    }
}

pub(super) fn encoder(codec: &CodecTable, settings: &CodecSettings<'_>) -> Result<EncoderHandle, String> {
    codec
        .with_new(settings, |new| codec.calls().encoder(new))
        .map_err(|code| format!("encoder_new returned {code}"))
}

pub(super) fn decoder(codec: &CodecTable, settings: &CodecSettings<'_>) -> Result<DecoderHandle, String> {
    codec
        .with_new(settings, |new| codec.calls().decoder(new))
        .map_err(|code| format!("decoder_new returned {code}"))
}

pub(super) fn guarded() -> Result<Guarded, String> {
    Guarded::new().ok_or_else(|| "no memory for the guarded buffers".to_owned())
}

pub(super) fn samples_in(rate: u32, us: u32) -> usize {
    usize::try_from(u64::from(rate) * u64::from(us) / 1_000_000).unwrap_or_default()
}

pub(super) fn offer(codec: &CodecTable) -> Result<String, String> {
    codec
        .fmtp(FmtpRole::Offer, "")
        .map_err(|error| format!("fmtp of an offer: {error}"))
}

/// Every listed rate with every listed frame.
pub(super) fn combinations(codec: &CodecTable) -> impl Iterator<Item = (u32, u32)> {
    codec
        .rates()
        .iter()
        .flat_map(|rate| codec.frame_us().iter().map(move |us| (*rate, *us)))
}

fn strings(registry: &Registry) -> Verdict {
    let Some(loaded) = registry.loaded().first() else {
        return Err("nothing is loaded".to_owned());
    };
    for (what, text) in [
        ("version", &loaded.version),
        ("licence", &loaded.licence),
        ("summary", &loaded.summary),
    ] {
        if text.trim().is_empty() {
            return Err(format!("the {what} is empty"));
        }
    }
    if loaded.facts.exports != 1 {
        return Err(format!(
            "{} symbols are exported; build with -fvisibility=hidden",
            loaded.facts.exports
        ));
    }
    Ok(format!("{} {}, {}", loaded.id, loaded.version, loaded.licence))
}

fn whole_frames(codec: &CodecTable) -> Verdict {
    for (rate, us) in combinations(codec) {
        for hz in [rate, codec.clock()] {
            if !(u64::from(hz) * u64::from(us)).is_multiple_of(1_000_000) {
                return Err(format!("{us} us at {hz} Hz are not whole"));
            }
        }
    }
    Ok(format!(
        "{} rates, {} frame lengths",
        codec.rates().len(),
        codec.frame_us().len()
    ))
}

fn sizes(codec: &CodecTable) -> Verdict {
    if !(1..=1400).contains(&codec.max_packet()) {
        return Err(format!("max_packet is {}", codec.max_packet()));
    }
    let number = codec
        .payload_type()
        .map_or("dynamic".to_owned(), |number| format!("static {number}"));
    Ok(format!("{number}, packets up to {} bytes", codec.max_packet()))
}

fn refusals(codec: &CodecTable) -> Verdict {
    let (rate, us) = (codec.rates()[0], codec.frame_us()[0]);
    let rates = [0, 1, 7_999, 11_025, 44_100, 1_000_000, u32::MAX]
        .into_iter()
        .filter(|r| !codec.rates().contains(r));
    let channels = [0, 3, 7, 255, u32::MAX];
    let wrong = rates
        .map(|rate| (rate, 1))
        .chain(channels.map(|channels| (rate, channels)));
    let mut tried = 0;
    for (sample_rate, channels) in wrong {
        for from_decoder in [false, true] {
            let settings = CodecSettings {
                channels,
                ..settings(sample_rate, us, "")
            };
            let (code, alone) = codec.with_new(&settings, |new| codec.calls().leaves_out_alone(from_decoder, new));
            let what = if from_decoder { "decoder_new" } else { "encoder_new" };
            if code >= 0 {
                return Err(format!("{what} takes {sample_rate} Hz with {channels} channels"));
            }
            if !alone {
                return Err(format!("{what} returned {code} and wrote a handle all the same"));
            }
            tried += 1;
        }
    }
    Ok(format!("{tried} refused"))
}

fn fmtp_capacity(codec: &CodecTable) -> Verdict {
    let ours = offer(codec)?;
    let answer = codec
        .fmtp(FmtpRole::Answer, &ours)
        .map_err(|error| format!("its own offer is not answered: {error}"))?;
    codec
        .fmtp(FmtpRole::Accept, &answer)
        .map_err(|error| format!("its own answer is not accepted: {error}"))?;
    let mut memory = guarded()?;
    for cap in (0..20).chain([ours.len()]) {
        for edge in [Edge::Before, Edge::Behind] {
            let out = memory.bytes(cap, edge);
            let Some(code) = codec.calls().fmtp(abi::FMTP_OFFER, codec.options(), None, out) else {
                return Ok("no fmtp function".to_owned());
            };
            let want = if cap < ours.len() {
                abi::E_TOO_SMALL
            } else {
                i32::try_from(ours.len()).unwrap_or_default()
            };
            if code != want {
                return Err(format!("with {cap} bytes of room fmtp returned {code}, not {want}"));
            }
            if !memory.untouched(cap, edge) {
                return Err(format!("with {cap} bytes of room fmtp wrote outside"));
            }
        }
    }
    Ok(if ours.is_empty() { "empty".to_owned() } else { ours })
}

fn nonsense_fmtp(codec: &CodecTable, seed: u64) -> Verdict {
    let mut random = Xorshift::new(seed);
    let words = [
        ";",
        "=",
        " ",
        "1",
        "0",
        "-",
        "useinbandfec",
        "mode-set",
        "annexb",
        "\u{fffd}",
        "999999999999999999999",
    ];
    let ours = offer(codec)?;
    let mut memory = guarded()?;
    for round in 0..20_000 {
        let mut text = Vec::new();
        let length = if round == 0 { 80_000 } else { random.below(60) };
        while text.len() < length {
            match random.below(4) {
                0 => text.push(1 + (random.below(255)) as u8),
                1 => text.extend(words[random.below(words.len())].bytes()),
                2 => text.extend(ours.bytes().take(random.below(ours.len() + 1))),
                _ => text.push(b' ' + (random.below(95)) as u8),
            }
        }
        let text = std::ffi::CString::new(text).unwrap_or_default();
        let role = [abi::FMTP_ANSWER, abi::FMTP_ACCEPT][random.below(2)];
        let cap = random.below(600);
        let out = memory.bytes(cap, Edge::Behind);
        let code = codec
            .calls()
            .fmtp(role, codec.options(), Some(&text), out)
            .unwrap_or_default();
        if code <= abi::E_INTERNAL || usize::try_from(code).is_ok_and(|len| len > cap) {
            return Err(format!(
                "fmtp returned {code} for nonsense, round {round} of seed {seed}"
            ));
        }
        if round % 100 == 0 {
            let text = text.to_string_lossy();
            let settings = settings(codec.rates()[0], codec.frame_us()[0], &text);
            for code in [
                codec.with_new(&settings, |new| codec.calls().encoder(new)).err(),
                codec.with_new(&settings, |new| codec.calls().decoder(new)).err(),
            ] {
                if code.is_some_and(|code| code <= abi::E_INTERNAL) {
                    return Err(format!(
                        "a new handle broke over nonsense, round {round} of seed {seed}"
                    ));
                }
            }
        }
    }
    Ok("20000 texts, one of 80 kB".to_owned())
}

fn signals(codec: &CodecTable, seed: u64) -> Verdict {
    let ours = offer(codec)?;
    let mut memory = guarded()?;
    let mut largest = 0;
    for (rate, us) in combinations(codec) {
        let frame = samples_in(rate, us);
        let square = |n: usize| if n % 16 < 8 { i16::MAX } else { i16::MIN };
        let kinds: [(&str, Vec<i16>); 4] = [
            ("silence", vec![0; frame * 5]),
            ("tone", signal::tone(rate, frame * 5)),
            ("noise", signal::noise(seed, frame * 5)),
            ("full scale", (0..frame * 5).map(square).collect()),
        ];
        for (kind, pcm) in kinds {
            let mut encoder = encoder(codec, &settings(rate, us, &ours))?;
            let mut decoder = decoder(codec, &settings(rate, us, &ours))?;
            let mut room = vec![0; samples_in(rate, 120_000)];
            for pcm in pcm.chunks_exact(frame) {
                let out = memory.bytes(codec.max_packet(), Edge::Behind);
                let code = encoder.encode(pcm, out);
                let Ok(length) = usize::try_from(code) else {
                    return Err(format!("{kind} at {rate} Hz, {us} us: encode returned {code}"));
                };
                let packet = out
                    .get(..length)
                    .ok_or_else(|| format!("{kind}: a packet of {length} bytes"))?
                    .to_vec();
                if !memory.untouched(codec.max_packet(), Edge::Behind) {
                    return Err(format!("{kind} at {rate} Hz, {us} us: encode wrote before its buffer"));
                }
                largest = largest.max(length);
                if length == 0 {
                    continue;
                }
                let code = decoder.decode(abi::DECODE_PACKET, &packet, &mut room);
                if usize::try_from(code) != Ok(frame) {
                    return Err(format!(
                        "{kind} at {rate} Hz, {us} us: {frame} samples decode to {code}"
                    ));
                }
                if let Some(samples) = codec.packet_samples(&packet, rate)
                    && samples as usize != frame
                {
                    return Err(format!(
                        "{kind} at {rate} Hz, {us} us: packet_samples says {samples}, not {frame}"
                    ));
                }
            }
        }
    }
    Ok(format!("largest packet {largest} bytes"))
}

fn tones(codec: &CodecTable) -> Verdict {
    let ours = offer(codec)?;
    let mut least = (1.0, 0, 0);
    for (rate, us) in combinations(codec) {
        let through = self_check::through(codec, &settings(rate, us, &ours), 960_000)?;
        let heard = through.pcm.get(through.pcm.len() / 3..).unwrap_or_default();
        let share = signal::tone_share(heard, rate);
        if share < least.0 {
            least = (share, rate, us);
        }
    }
    let (share, rate, us) = least;
    let text = format!("least {share:.4} at {rate} Hz, {us} us");
    if share < MIN_TONE { Err(text) } else { Ok(text) }
}

fn capacities(codec: &CodecTable) -> Verdict {
    let ours = offer(codec)?;
    let (rate, us) = (codec.rates()[0], codec.frame_us()[0]);
    let pcm = signal::tone(rate, samples_in(rate, us));
    let mut memory = guarded()?;
    let mut encode = |cap: usize, edge| -> Result<i32, String> {
        let mut encoder = encoder(codec, &settings(rate, us, &ours))?;
        let code = encoder.encode(&pcm, memory.bytes(cap, edge));
        if !memory.untouched(cap, edge) {
            return Err(format!("with {cap} bytes of room encode wrote outside"));
        }
        Ok(code)
    };
    let full = encode(codec.max_packet(), Edge::Behind)?;
    let Ok(length) = usize::try_from(full) else {
        return Err(format!("encode returned {full}"));
    };
    for cap in [length, 0, 1, 2, length.saturating_sub(1)] {
        for edge in [Edge::Before, Edge::Behind] {
            let code = encode(cap, edge)?;
            let fits = usize::try_from(code).is_ok_and(|length| length <= cap);
            if !fits && code != abi::E_TOO_SMALL {
                return Err(format!("with {cap} bytes of room for {length} encode returned {code}"));
            }
        }
    }
    Ok(format!("{length} bytes, then less room"))
}

fn odd_counts(codec: &CodecTable) -> Verdict {
    let ours = offer(codec)?;
    let (rate, us) = (codec.rates()[0], codec.frame_us()[0]);
    let frame = samples_in(rate, us);
    let mut memory = guarded()?;
    let mut packet = vec![0; codec.max_packet()];
    for count in [0, 1, frame - 1, frame + 1, frame * 7] {
        for edge in [Edge::Before, Edge::Behind] {
            let mut encoder = encoder(codec, &settings(rate, us, &ours))?;
            let code = encoder.encode(memory.samples(count, edge), &mut packet);
            if code <= abi::E_INTERNAL || usize::try_from(code).is_ok_and(|length| length > packet.len()) {
                return Err(format!("{count} samples: encode returned {code}"));
            }
        }
    }
    let mut encoder = encoder(codec, &settings(rate, us, &ours))?;
    let code = encoder.encode(&signal::tone(rate, frame), &mut packet);
    let length = usize::try_from(code).map_err(|_| format!("encode returned {code}"))?;
    for count in [0, 1, frame - 1, frame, frame + 1] {
        for edge in [Edge::Before, Edge::Behind] {
            let mut decoder = decoder(codec, &settings(rate, us, &ours))?;
            let code = decoder.decode(abi::DECODE_PACKET, &packet[..length], memory.samples(count, edge));
            let fits = usize::try_from(code).is_ok_and(|decoded| decoded <= count);
            if code <= abi::E_INTERNAL || (code >= 0 && !fits) || !memory.untouched(count * 2, edge) {
                return Err(format!(
                    "room for {count} samples: decode returned {code}, or wrote outside"
                ));
            }
        }
    }
    Ok(format!("0, 1, {}, {}, {} samples", frame - 1, frame + 1, frame * 7))
}

fn lost_first(codec: &CodecTable) -> Verdict {
    let ours = offer(codec)?;
    let mut conceals = false;
    for (rate, us) in combinations(codec) {
        let frame = samples_in(rate, us);
        let mut decoder = decoder(codec, &settings(rate, us, &ours))?;
        let mut memory = guarded()?;
        let code = decoder.decode(abi::DECODE_LOST, &[], memory.samples(frame, Edge::Behind));
        if usize::try_from(code) != Ok(frame) && code != abi::E_UNSUPPORTED {
            return Err(format!(
                "{frame} samples at {rate} Hz: {code}, neither all of them nor -2"
            ));
        }
        if !memory.untouched(frame * 2, Edge::Behind) {
            return Err(format!("{frame} samples at {rate} Hz: wrote before its buffer"));
        }
        conceals |= code > 0;
    }
    Ok(if conceals {
        "conceals by itself"
    } else {
        "the host conceals"
    }
    .to_owned())
}
