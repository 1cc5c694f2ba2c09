//! Offer and answer (RFC 3264): one audio line, one codec, and what goes with it.
//!
//! An early offer is answered ([`answer`]); for a late one we offer ([`offer`]) and take the answer ([`accept`]). Answers keep
//! the offerer's payload numbers and its m-lines, with port 0 for all but one audio line. The answer names a single codec
//! beside events and comfort noise, so that neither end should change it in mid-stream; what a peer may send all the same is in
//! [`Agreed::also`] and [`Agreed::events`].

use super::codecs::{
    EVENTS, comfort_noise_codec, common, event_codec, events_of, find_events, find_noise, matching, offered_codecs,
    receivable,
};
use super::destination::{check_destination, is_hold, is_ice};
use super::protect::{Srtp, accepted_keys, agree_keys, is_secure, offered_keys};
use super::sdes::Suite;
use super::{Codec, Direction, MediaDescription, MediaKind, Origin, SessionDescription, TelephoneEvent};

/// The packet duration where nobody asks for another.
const DEFAULT_PTIME_MS: u32 = 20;

/// A codec we can speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCodec {
    /// The SDP encoding name.
    pub name: String,
    /// The RTP clock in Hz.
    pub clock: u32,
    /// The number of channels written in SDP.
    pub channels: u8,
    /// Its static number. `None` takes a dynamic one in offers.
    pub payload_type: Option<u8>,
    /// The parameters to offer.
    pub fmtp: String,
}

/// Our side of a description.
#[derive(Clone, Debug)]
pub struct Local<'a> {
    /// The origin to write; its version grows with each changed description of a dialog.
    pub origin: Origin,
    /// Our codecs, best first.
    pub codecs: &'a [LocalCodec],
    /// What our transport says of itself: `c:`, `port:`, `rtcp-port:` and attributes, one per line.
    pub lines: &'a str,
    /// The profiles our transport serves; the first is offered, of [`Local::RTP`] as `srtp` wants it.
    pub profiles: &'a [&'a str],
    /// Whether media is protected by keys in the description.
    pub srtp: Srtp,
    /// What we want to send and receive.
    pub direction: Direction,
    /// The packet duration we want to receive.
    pub ptime_ms: Option<u32>,
    /// Whether to offer and take RFC 4733 events.
    pub telephone_event: bool,
    /// Whether to offer and take comfort noise.
    pub comfort_noise: bool,
    /// Whether our transport can carry RTCP on the RTP port.
    pub rtcp_mux: bool,
    /// Whether the peer's signalling comes from loopback, so that its media may be there too.
    pub loopback: bool,
}

impl Local<'_> {
    /// The profiles of RTP, with keys in the description or in clear.
    pub const RTP: &'static [&'static str] = &["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF"];
    /// The profiles of DTLS-SRTP.
    pub const DTLS: &'static [&'static str] = &["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP"];

    fn serves(&self, profile: &str) -> bool {
        self.profiles.iter().any(|served| served.eq_ignore_ascii_case(profile))
    }
}

/// Why there is no agreement. Unless said otherwise the peer is incompatible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferAnswerError {
    /// There is no audio line, or it is disabled.
    #[error("there is no audio in the description")]
    NoAudio,
    /// No codec is known to both, with parameters that both can keep.
    #[error("no codec in common")]
    NoCommonCodec,
    /// Media is to go to a host name, a group of machines, this machine, or nowhere.
    #[error("the media address cannot be used")]
    BadAddress,
    /// Media is to go to a port where services listen.
    #[error("the media port cannot be used")]
    BadPort,
    /// SRTP is demanded, and it is off here or of another kind than our transport's.
    #[error("the peer requires SRTP")]
    SrtpRequired,
    /// SRTP is demanded by both, and no line of keys is known to both.
    #[error("no SRTP keys that can be used")]
    NoCommonKeys,
    /// SRTP is demanded here, and the peer has none.
    #[error("the peer has no SRTP")]
    NoSrtp,
    /// DTLS-SRTP without ICE, without rtcp-mux or without a fingerprint.
    #[error("DTLS-SRTP comes without ICE, rtcp-mux or a fingerprint")]
    DtlsTerms,
    /// A profile that our transport does not serve.
    #[error("the media profile is not served")]
    UnsupportedProfile,
    /// The peer refused our audio line.
    #[error("the peer refused the audio line")]
    Refused,
    /// The answer's m-lines are not those of the offer: the peer broke the protocol.
    #[error("the answer does not match the offer")]
    Mismatch,
}

/// Speech that may arrive beside the codec that both ends should use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receivable {
    /// The number it comes under, and our parameters.
    pub receive: Codec,
    /// The peer's parameters.
    pub send_fmtp: String,
}

/// What both ends will do, seen from ours.
#[derive(Clone, PartialEq, Eq)]
pub struct Agreed {
    /// What to send: the peer's number and parameters.
    pub send: Codec,
    /// What arrives: our number and parameters.
    pub receive: Codec,
    /// What else may arrive, for not every phone keeps to the first codec of an answer, or to our numbers.
    pub also: Vec<Receivable>,
    /// The numbers of events, where both speak them.
    pub telephone_event: Option<TelephoneEvent>,
    /// All numbers that events may come under: those of the offer and of the answer.
    pub events: Vec<u8>,
    /// The number of comfort noise, where both speak it.
    pub comfort_noise: Option<u8>,
    /// The duration of the packets we send.
    pub ptime_ms: u32,
    /// What we do: a peer that holds us leaves us `RecvOnly` or `Inactive`.
    pub direction: Direction,
    /// Whether lost packets are asked for and sent again.
    pub nack: bool,
    /// What SRTP is spoken by keys in the description.
    pub suite: Option<Suite>,
    /// What to tell our transport about the peer.
    pub remote_lines: String,
}

impl std::fmt::Debug for Agreed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agreed")
            .field("send", &self.send)
            .field("receive", &self.receive)
            .field("also", &self.also)
            .field("telephone_event", &self.telephone_event)
            .field("events", &self.events)
            .field("comfort_noise", &self.comfort_noise)
            .field("ptime_ms", &self.ptime_ms)
            .field("direction", &self.direction)
            .field("nack", &self.nack)
            .field("suite", &self.suite)
            .field(
                "remote_lines",
                &self.remote_lines.lines().map(super::without_secret).collect::<Vec<_>>(),
            )
            .finish()
    }
}

/// An answer and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The description to send back.
    pub description: SessionDescription,
    /// What both ends will do.
    pub agreed: Agreed,
}

/// Makes an offer of one audio line with all our codecs.
pub fn offer(local: &Local<'_>) -> SessionDescription {
    let profile = local.srtp.offered(local.profiles.first().copied().unwrap_or("RTP/AVP"));
    let mut media = our_media(local, profile);
    media.set_transport(local.lines, local.rtcp_mux);
    media.transport.extend(offered_keys(local));
    media.direction = local.direction;
    media.ptime_ms = local.ptime_ms;
    media.codecs = offered_codecs(local, &[]);
    SessionDescription {
        origin: local.origin.clone(),
        name: "-".to_owned(),
        media: vec![media],
    }
}

/// Makes an offer within a dialog, after our description `before`: with the same lines in the same order, all but the audio one
/// disabled, and the numbers of the codecs that were `used` by either side (RFC 3264 §8).
pub fn offer_again(local: &Local<'_>, before: &SessionDescription, used: &[Codec]) -> SessionDescription {
    let mut offer = offer(local);
    let Some(mut audio) = offer.media.pop() else {
        return offer;
    };
    audio.codecs = offered_codecs(local, used);
    let is_audio = |media: &MediaDescription| media.kind == MediaKind::Audio;
    let open = before.media.iter().position(|media| is_audio(media) && media.port != 0);
    let place = open.or_else(|| before.media.iter().position(is_audio));
    offer.media = before.media.iter().map(|media| refused(media, &audio)).collect();
    match place.and_then(|place| offer.media.get_mut(place)) {
        Some(line) => {
            audio.mid = line.mid.take();
            // What is encrypted stays so: under the profile that both know.
            if local.serves(&line.profile) && local.srtp != Srtp::Off {
                audio.profile.clone_from(&line.profile);
            }
            *line = audio;
        }
        None => offer.media.push(audio),
    }
    offer
}

fn our_media(local: &Local<'_>, profile: &str) -> MediaDescription {
    MediaDescription {
        kind: MediaKind::Audio,
        address: None,
        port: 0,
        profile: profile.to_owned(),
        codecs: Vec::new(),
        format: String::new(),
        ptime_ms: None,
        maxptime_ms: None,
        direction: local.direction,
        ssrc: None,
        nack: false,
        mid: None,
        transport: Vec::new(),
    }
}

/// Answers an offer. `fmtp` is asked with our codec and the offered parameters; it returns the parameters to answer, or
/// `None` where the two cannot work together.
///
/// The first audio line that works is taken, and in it the first of *our* codecs.
///
/// # Errors
/// What is wrong with the first audio line, where none works.
pub fn answer(
    offer: &SessionDescription,
    local: &Local<'_>,
    fmtp: &mut dyn FnMut(&LocalCodec, &str) -> Option<String>,
) -> Result<Answered, OfferAnswerError> {
    let mut why = None;
    for (place, theirs) in offer
        .media
        .iter()
        .enumerate()
        .filter(|(_, media)| media.kind == MediaKind::Audio)
    {
        match answer_line(theirs, local, fmtp) {
            Ok((ours, agreed)) => {
                let mut media: Vec<MediaDescription> = offer.media.iter().map(|other| refused(other, &ours)).collect();
                media[place] = ours;
                let description = SessionDescription {
                    origin: local.origin.clone(),
                    name: "-".to_owned(),
                    media,
                };
                return Ok(Answered { description, agreed });
            }
            Err(error) => {
                // A disabled line tells less than what is wrong with a working one.
                if matches!(why, None | Some(OfferAnswerError::NoAudio)) {
                    why = Some(error);
                }
            }
        }
    }
    Err(why.unwrap_or(OfferAnswerError::NoAudio))
}

/// The line of an answer that refuses `theirs` (RFC 3264 §6).
fn refused(theirs: &MediaDescription, ours: &MediaDescription) -> MediaDescription {
    MediaDescription {
        kind: theirs.kind.clone(),
        address: ours.address,
        port: 0,
        profile: theirs.profile.clone(),
        codecs: theirs.codecs.first().cloned().into_iter().collect(),
        format: theirs.format.clone(),
        ptime_ms: None,
        maxptime_ms: None,
        direction: Direction::Inactive,
        ssrc: None,
        nack: false,
        mid: theirs.mid.clone(),
        transport: Vec::new(),
    }
}

fn answer_line(
    theirs: &MediaDescription,
    local: &Local<'_>,
    fmtp: &mut dyn FnMut(&LocalCodec, &str) -> Option<String>,
) -> Result<(MediaDescription, Agreed), OfferAnswerError> {
    check_line(theirs, local)?;
    let mut common = common(theirs, local, fmtp).into_iter();
    let (send, receive) = common.next().ok_or(OfferAnswerError::NoCommonCodec)?;

    let mut ours = our_media(local, &theirs.profile);
    let mux = local.rtcp_mux && theirs.has("rtcp-mux");
    ours.set_transport(local.lines, mux);
    let keys = agree_keys(theirs, local)?;
    if let Some((_, line)) = &keys {
        ours.transport.push(line.to_string());
    }
    let keys = keys.map(|(theirs, _)| theirs);
    ours.mid = theirs.mid.clone();
    ours.nack = theirs.nack;
    let ice = is_ice(local.lines.lines(), theirs);
    ours.direction = wanted_from(theirs, ice).reversed().both(local.direction);
    ours.ptime_ms = local.ptime_ms.or(theirs.ptime_ms);
    ours.codecs.push(receive.clone());

    let events = if local.telephone_event {
        find_events(&theirs.codecs, send.clock)
    } else {
        None
    };
    if let Some(events) = events {
        let range = if events.fmtp.is_empty() { EVENTS } else { &events.fmtp };
        ours.codecs.push(event_codec(events.payload_type, events.clock, range));
    }
    let noise = find_noise(&theirs.codecs).filter(|_| local.comfort_noise && send.clock == 8000);
    if let Some(noise) = noise {
        ours.codecs.push(comfort_noise_codec(noise.payload_type));
    }
    let agreed = Agreed {
        also: receivable(&receive, common),
        events: events_of(&theirs.codecs, &[]),
        send,
        receive,
        telephone_event: events.map(|events| TelephoneEvent {
            send_pt: events.payload_type,
            receive_pt: events.payload_type,
            clock: events.clock,
        }),
        comfort_noise: noise.map(|noise| noise.payload_type),
        ptime_ms: packet_duration(theirs),
        direction: ours.direction,
        nack: ours.nack,
        suite: keys.as_ref().map(|keys| keys.suite),
        remote_lines: theirs.lines(mux, keys.as_ref()),
    };
    Ok((ours, agreed))
}

/// Refuses a line that no codec could save.
fn check_line(theirs: &MediaDescription, local: &Local<'_>) -> Result<(), OfferAnswerError> {
    if theirs.port == 0 {
        return Err(OfferAnswerError::NoAudio);
    }
    if !local.serves(&theirs.profile) {
        return Err(if is_secure(&theirs.profile) {
            OfferAnswerError::SrtpRequired
        } else {
            OfferAnswerError::UnsupportedProfile
        });
    }
    let ice = is_ice(local.lines.lines(), theirs);
    check_destination(theirs, ice, local.loopback)
}

/// What the peer's line says about direction.
fn wanted_from(theirs: &MediaDescription, ice: bool) -> Direction {
    let old_hold = !ice && theirs.address.is_some_and(is_hold);
    Direction::new(theirs.direction.sends(), theirs.direction.receives() && !old_hold)
}

fn packet_duration(theirs: &MediaDescription) -> u32 {
    let wanted = theirs.ptime_ms.unwrap_or(DEFAULT_PTIME_MS);
    theirs.maxptime_ms.map_or(wanted, |longest| wanted.min(longest))
}

/// Takes the answer to our offer; `loopback` as in [`Local`]. `fits` is asked with our codec and the peer's whether the two can
/// work together.
///
/// # Errors
/// [`OfferAnswerError`] if the peer refused, or answered what was not offered, or what must not be done.
pub fn accept(
    offer: &SessionDescription,
    answer: &SessionDescription,
    loopback: bool,
    fits: &mut dyn FnMut(&Codec, &Codec) -> bool,
) -> Result<Agreed, OfferAnswerError> {
    let (place, ours) = offer
        .media
        .iter()
        .enumerate()
        .find(|(_, media)| media.kind == MediaKind::Audio && media.port != 0)
        .ok_or(OfferAnswerError::NoAudio)?;
    let theirs = answer.media.get(place).ok_or(OfferAnswerError::Mismatch)?;
    if theirs.kind != MediaKind::Audio {
        return Err(OfferAnswerError::Mismatch);
    }
    if theirs.port == 0 {
        return Err(OfferAnswerError::Refused);
    }
    let keys = accepted_keys(ours, theirs)?;
    let ice = is_ice(ours.transport.iter().map(String::as_str), theirs);
    check_destination(theirs, ice, loopback)?;
    let common: Vec<(Codec, Codec)> = theirs
        .codecs
        .iter()
        .filter(|codec| codec.is_speech())
        .filter_map(|theirs| Some((theirs.clone(), matching(&ours.codecs, theirs)?.clone())))
        .filter(|(theirs, ours)| fits(ours, theirs))
        .collect();
    let (send, receive) = common.first().cloned().ok_or(OfferAnswerError::NoCommonCodec)?;
    // Some send under the numbers of their answer, where those differ from ours; a number of ours means what we said.
    let is_ours = |number: u8| ours.codecs.iter().any(|codec| codec.payload_type == number);
    let under_theirs = common
        .iter()
        .filter(|(theirs, _)| !is_ours(theirs.payload_type))
        .map(|(theirs, ours)| {
            let receive = Codec {
                payload_type: theirs.payload_type,
                ..ours.clone()
            };
            (theirs.clone(), receive)
        });
    let also = receivable(&receive, common.iter().skip(1).cloned().chain(under_theirs));

    let telephone_event = [send.clock, 8000].into_iter().find_map(|clock| {
        let at = |codecs: &[Codec]| {
            codecs
                .iter()
                .find(|codec| codec.is_telephone_event() && codec.clock == clock)
                .map(|codec| codec.payload_type)
        };
        Some(TelephoneEvent {
            send_pt: at(&theirs.codecs)?,
            receive_pt: at(&ours.codecs)?,
            clock,
        })
    });
    let noise = find_noise(&theirs.codecs).filter(|_| find_noise(&ours.codecs).is_some() && send.clock == 8000);
    Ok(Agreed {
        also,
        events: events_of(&ours.codecs, &theirs.codecs),
        send,
        receive,
        telephone_event,
        comfort_noise: noise.map(|noise| noise.payload_type),
        ptime_ms: packet_duration(theirs),
        direction: wanted_from(theirs, ice).reversed().both(ours.direction),
        nack: ours.nack && theirs.nack,
        suite: keys.as_ref().map(|keys| keys.suite),
        remote_lines: theirs.lines(ours.has("rtcp-mux") && theirs.has("rtcp-mux"), keys.as_ref()),
    })
}
