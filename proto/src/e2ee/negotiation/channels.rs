//! Who sends what: the offers of both ends and their answers, with the rule for offers that cross.
//!
//! Each end offers what it will send; the other answers with the payload numbers it wants to receive. A message with an
//! exchange id that we made is an answer; any other is an offer. Where both offers are open the caller's wins: the caller
//! holds the callee's back, the callee drops its own, answers, and offers again.

use std::collections::VecDeque;

use rand_core::Rng;

use crate::e2ee::Role;
use crate::sdp::{Codec, TelephoneEvent};

use super::NegotiationError;
use super::messages::{Content, NegotiateChannels};

/// How many exchange ids of each side are remembered, so that a late answer is not taken for an offer.
const REMEMBERED: usize = 32;

/// What both ends know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    pub(super) send: Codec,
    pub(super) receive: Codec,
    pub(super) telephone_event: Option<TelephoneEvent>,
    pub(super) remote_ssrc: u32,
}

/// What to send in return.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) answer: Option<NegotiateChannels>,
    /// Our own open offer was dropped for the peer's.
    pub(super) dropped: bool,
    /// Our next offer is due, behind the answer.
    pub(super) offer: bool,
}

/// A codec of one direction, with the events that go with it.
struct Direction {
    codec: Codec,
    events: Option<Codec>,
}

pub(super) struct Channels {
    role: Role,
    codecs: Vec<Codec>,
    ssrc: u32,
    /// The exchange id of our offer that waits for its answer.
    open: Option<String>,
    /// All exchange ids we made, latest last.
    made: VecDeque<String>,
    /// The exchange ids that we answered. What comes under one again is no offer: the peer had dropped that one, took our answer
    /// for an offer and answered it, and would go on like that for ever.
    answered: VecDeque<String>,
    /// The greatest counter of an answer to us.
    answered_at: u32,
    /// As the caller: the callee's offer that came while ours was open.
    held: Option<(u32, NegotiateChannels)>,
    sends: Option<Direction>,
    receives: Option<(Direction, u32)>,
}

impl Channels {
    pub(super) fn new(role: Role, codecs: Vec<Codec>, ssrc: u32) -> Channels {
        Channels {
            role,
            codecs,
            ssrc,
            open: None,
            made: VecDeque::new(),
            answered: VecDeque::new(),
            answered_at: 0,
            held: None,
            sends: None,
            receives: None,
        }
    }

    /// Tells whether we have made an offer.
    pub(super) fn has_offered(&self) -> bool {
        !self.made.is_empty()
    }

    /// Makes our offer; it is open until it is answered.
    pub(super) fn offer(&mut self, rng: &mut (impl Rng + ?Sized)) -> NegotiateChannels {
        let id = loop {
            let id = rng.next_u32().to_string();
            if !self.made.contains(&id) {
                break id;
            }
        };
        remember(&mut self.made, id.clone());
        self.open = Some(id.clone());
        let content = Content {
            kind: "audio".to_owned(),
            ssrc: self.ssrc,
            payload_types: self.codecs.clone(),
            // None is fine: audio needs no header extension, and we make no transport-cc feedback.
            extensions: Vec::new(),
        };
        NegotiateChannels {
            exchange_id: id,
            contents: vec![content],
        }
    }

    /// Takes a message of the peer.
    ///
    /// # Errors
    /// [`NegotiationError::NoCommonCodec`] if the peer offers audio, or answers ours, without a codec of ours.
    pub(super) fn take(&mut self, counter: u32, message: NegotiateChannels) -> Result<Reply, NegotiationError> {
        if self.open.as_ref() == Some(&message.exchange_id) {
            self.open = None;
            self.answered_at = self.answered_at.max(counter);
            self.take_answer(&message)?;
            // An offer that the callee made after it answered ours is a good one; it overtook the answer on the way.
            return match self.held.take() {
                Some((later, offer)) if later > counter => self.take_offer(&offer),
                Some(_) | None => Ok(Reply::default()),
            };
        }
        if self.made.contains(&message.exchange_id) || self.answered.contains(&message.exchange_id) {
            return Ok(Reply::default());
        }
        match self.role {
            // Sent before the callee knew our offer, so it has dropped this one.
            Role::Caller if counter < self.answered_at => Ok(Reply::default()),
            Role::Caller if self.open.is_some() => {
                if self.held.as_ref().is_none_or(|(held, _)| *held < counter) {
                    self.held = Some((counter, message));
                }
                Ok(Reply::default())
            }
            Role::Caller => self.take_offer(&message),
            Role::Callee => {
                let dropped = self.open.take().is_some();
                let reply = self.take_offer(&message)?;
                Ok(Reply {
                    dropped,
                    offer: dropped || !self.has_offered(),
                    ..reply
                })
            }
        }
    }

    fn take_answer(&mut self, answer: &NegotiateChannels) -> Result<(), NegotiationError> {
        let theirs = audio(answer).map_or(&[] as &[Codec], |content| &content.payload_types);
        let ours = &self.codecs;
        let offered = |codec: &&Codec| {
            ours.iter()
                .any(|ours| codec.same_encoding(&ours.name, ours.clock, ours.channels))
        };
        let codec = theirs
            .iter()
            .filter(|codec| codec.is_speech())
            .find(offered)
            .ok_or(NegotiationError::NoCommonCodec)?;
        let events = theirs
            .iter()
            .find(|events| events.is_telephone_event() && events.clock == codec.clock);
        self.sends = Some(Direction {
            codec: codec.clone(),
            events: events.filter(offered).cloned(),
        });
        Ok(())
    }

    /// Answers an offer: one codec, the first of *ours* that is offered, and events at its clock.
    fn take_offer(&mut self, offer: &NegotiateChannels) -> Result<Reply, NegotiationError> {
        let mut answer = NegotiateChannels {
            exchange_id: offer.exchange_id.clone(),
            contents: Vec::new(),
        };
        // Contents that we refuse (video) are left out: one without payload types aborts ntgcalls.
        if let Some(content) = audio(offer) {
            let theirs = &content.payload_types;
            let find = |ours: &Codec| {
                let same = |theirs: &&Codec| theirs.same_encoding(&ours.name, ours.clock, ours.channels);
                theirs.iter().find(same).map(|theirs| Codec {
                    payload_type: theirs.payload_type,
                    ..ours.clone()
                })
            };
            let codec = self.codecs.iter().filter(|ours| ours.is_speech()).find_map(find);
            let codec = codec.ok_or(NegotiationError::NoCommonCodec)?;
            let events = self
                .codecs
                .iter()
                .filter(|ours| ours.is_telephone_event() && ours.clock == codec.clock);
            let events = events.clone().find_map(find);
            answer.contents.push(Content {
                kind: "audio".to_owned(),
                ssrc: content.ssrc,
                payload_types: std::iter::once(codec.clone()).chain(events.clone()).collect(),
                extensions: Vec::new(),
            });
            self.receives = Some((Direction { codec, events }, content.ssrc));
        }
        remember(&mut self.answered, offer.exchange_id.clone());
        Ok(Reply {
            answer: Some(answer),
            ..Reply::default()
        })
    }

    /// Returns the stream the peer sends, once it offered one.
    pub(super) fn remote_ssrc(&self) -> Option<u32> {
        self.receives.as_ref().map(|(_, ssrc)| *ssrc)
    }

    /// Returns what both ends know, once both offers are answered.
    pub(super) fn agreement(&self) -> Option<Agreement> {
        let sends = self.sends.as_ref()?;
        let (receives, remote_ssrc) = self.receives.as_ref()?;
        let telephone_event = match (&sends.events, &receives.events) {
            (Some(send), Some(receive)) if send.clock == receive.clock => Some(TelephoneEvent {
                send_pt: send.payload_type,
                receive_pt: receive.payload_type,
                clock: send.clock,
            }),
            _ => None,
        };
        Some(Agreement {
            send: sends.codec.clone(),
            receive: receives.codec.clone(),
            telephone_event,
            remote_ssrc: *remote_ssrc,
        })
    }
}

fn remember(ids: &mut VecDeque<String>, id: String) {
    if ids.len() == REMEMBERED {
        ids.pop_front();
    }
    ids.push_back(id);
}

/// The first audio content with a stream.
fn audio(channels: &NegotiateChannels) -> Option<&Content> {
    channels
        .contents
        .iter()
        .find(|content| content.kind == "audio" && content.ssrc != 0)
}
