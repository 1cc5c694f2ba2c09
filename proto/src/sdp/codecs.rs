//! Which codecs an offer and an answer have: ours, theirs, those of both, and the numbers beside them.

use super::offer_answer::{Local, Receivable};
use super::{Codec, LocalCodec, MediaDescription};

/// The range of events we send and take: digits, `*`, `#`, A to D, flash.
pub(super) const EVENTS: &str = "0-16";
/// The number most phones use for events.
const EVENT_PAYLOAD_TYPE: u8 = 101;
/// Payload type of comfort noise at 8 kHz (RFC 3389).
const COMFORT_NOISE: u8 = 13;

/// Our codecs for an offer. In a dialog, what was described before in `used` keeps its number, and no number changes its meaning
/// (RFC 3264 §8.3.2).
pub(super) fn offered_codecs(local: &Local<'_>, used: &[Codec]) -> Vec<Codec> {
    let mut codecs: Vec<Codec> = Vec::new();
    let before = |name: &str, clock: u32, channels: u8| {
        let mut same = used.iter().filter(|codec| codec.same_encoding(name, clock, channels));
        same.next().map(|codec| codec.payload_type)
    };
    let is_used = |number: u8| used.iter().any(|codec| codec.payload_type == number);
    let reserved: Vec<u8> = local.codecs.iter().filter_map(|codec| codec.payload_type).collect();
    let free = |codecs: &[Codec], preferred: Option<u8>| {
        let taken = |number: &u8| {
            is_used(*number)
                || reserved.contains(number)
                || (local.telephone_event && preferred.is_none() && *number == EVENT_PAYLOAD_TYPE)
                || codecs.iter().any(|codec| codec.payload_type == *number)
        };
        preferred.into_iter().chain(96..=127).find(|number| !taken(number))
    };
    for ours in local.codecs {
        let known = before(&ours.name, ours.clock, ours.channels);
        let static_number = known
            .or(ours.payload_type.filter(|number| !is_used(*number)))
            .filter(|number| !codecs.iter().any(|codec| codec.payload_type == *number));
        // Thirty-two dynamic numbers: a codec beyond them is not offered.
        let Some(payload_type) = static_number.or_else(|| free(&codecs, None)) else {
            continue;
        };
        codecs.push(Codec {
            payload_type,
            name: ours.name.clone(),
            clock: ours.clock,
            channels: ours.channels,
            fmtp: ours.fmtp.clone(),
        });
    }
    if local.telephone_event {
        let mut clocks: Vec<u32> = codecs
            .iter()
            .map(|codec| codec.clock)
            .filter(|clock| *clock != 8000)
            .collect();
        clocks.insert(0, 8000);
        clocks.dedup();
        for clock in clocks {
            let preferred = (clock == 8000).then_some(EVENT_PAYLOAD_TYPE);
            let known = codecs
                .iter()
                .any(|codec| codec.is_telephone_event() && codec.clock == clock);
            let number = before("telephone-event", clock, 1).or_else(|| free(&codecs, preferred));
            if let Some(payload_type) = number.filter(|_| !known) {
                codecs.push(event_codec(payload_type, clock, EVENTS));
            }
        }
    }
    if local.comfort_noise && codecs.iter().any(|codec| codec.clock == 8000 && codec.is_speech()) {
        codecs.push(comfort_noise_codec(COMFORT_NOISE));
    }
    codecs
}

pub(super) fn event_codec(payload_type: u8, clock: u32, events: &str) -> Codec {
    Codec {
        payload_type,
        name: "telephone-event".to_owned(),
        clock,
        channels: 1,
        fmtp: events.to_owned(),
    }
}

pub(super) fn comfort_noise_codec(payload_type: u8) -> Codec {
    Codec {
        payload_type,
        name: "CN".to_owned(),
        clock: 8000,
        channels: 1,
        fmtp: String::new(),
    }
}

/// What both ends know, in our order: as the peer offers it, and with our parameters.
pub(super) fn common(
    theirs: &MediaDescription,
    local: &Local<'_>,
    fmtp: &mut dyn FnMut(&LocalCodec, &str) -> Option<String>,
) -> Vec<(Codec, Codec)> {
    let mut common = Vec::new();
    for ours in local.codecs {
        for codec in &theirs.codecs {
            if codec.same_encoding(&ours.name, ours.clock, ours.channels)
                && let Some(fmtp) = fmtp(ours, &codec.fmtp)
            {
                let receive = Codec { fmtp, ..codec.clone() };
                common.push((codec.clone(), receive));
            }
        }
    }
    common
}

/// What may come beside `first`: each number once.
pub(super) fn receivable(first: &Codec, others: impl Iterator<Item = (Codec, Codec)>) -> Vec<Receivable> {
    let mut also: Vec<Receivable> = Vec::new();
    for (send, receive) in others {
        let is_taken =
            |number: u8| first.payload_type == number || also.iter().any(|known| known.receive.payload_type == number);
        if !is_taken(receive.payload_type) {
            also.push(Receivable {
                receive,
                send_fmtp: send.fmtp,
            });
        }
    }
    also
}

/// All numbers of events in two lists of codecs, but for those that mean another codec in the first.
pub(super) fn events_of(codecs: &[Codec], others: &[Codec]) -> Vec<u8> {
    let is_other = |number: u8| {
        codecs
            .iter()
            .any(|codec| codec.payload_type == number && !codec.is_telephone_event())
    };
    let mut events: Vec<u8> = codecs
        .iter()
        .chain(others)
        .filter(|codec| codec.is_telephone_event())
        .map(|codec| codec.payload_type)
        .filter(|number| !is_other(*number))
        .collect();
    events.sort_unstable();
    events.dedup();
    events
}

/// Events at the codec's clock, else at 8000, which nearly everybody writes whatever the codec.
pub(super) fn find_events(codecs: &[Codec], clock: u32) -> Option<&Codec> {
    let at = |clock: u32| {
        codecs
            .iter()
            .find(|codec| codec.is_telephone_event() && codec.clock == clock)
    };
    at(clock).or_else(|| at(8000))
}

pub(super) fn find_noise(codecs: &[Codec]) -> Option<&Codec> {
    codecs.iter().find(|codec| codec.same_encoding("CN", 8000, 1))
}

pub(super) fn matching<'a>(codecs: &'a [Codec], other: &Codec) -> Option<&'a Codec> {
    codecs
        .iter()
        .find(|codec| codec.same_encoding(&other.name, other.clock, other.channels))
}
