//! The encrypted signalling of a leg: what it brings goes to media, what media says goes into it.

use std::mem;
use std::time::Instant;

use quartet_proto::e2ee::{LocalMedia, NegotiationError, NegotiationEvent};

use super::{E2eeLeg, PTIME_MS};
use crate::call::leg::{Action, LegEvent};
use crate::cdr::Cause;
use crate::media::{LegCodec, MediaCommand, Nack};
use crate::networks::NetworkCommand;

impl E2eeLeg {
    /// Begins the negotiation once there are both a key and our description of media.
    pub(super) fn start(&mut self, now: Instant) {
        let Some(negotiation) = &mut self.negotiation else {
            return;
        };
        if self.started || !self.early_lines.contains("ice-ufrag:") {
            return;
        }
        self.started = true;
        let lines = mem::take(&mut self.early_lines);
        negotiation.start(
            now,
            LocalMedia {
                lines,
                codecs: self.config.codecs.clone(),
                ssrc: self.config.ssrc,
            },
        );
        self.await_media(now);
    }

    pub(super) fn follow_negotiation(&mut self, now: Instant) {
        let Some(negotiation) = &mut self.negotiation else {
            return;
        };
        let (mut packets, mut events) = (Vec::new(), Vec::new());
        while let Some(packet) = negotiation.poll_transmit() {
            packets.push(packet);
        }
        while let Some(event) = negotiation.poll_event() {
            events.push(event);
        }
        for packet in packets {
            self.network(NetworkCommand::Signal {
                call: self.call,
                packet,
            });
        }
        for event in events {
            self.on_negotiation(now, event);
        }
    }

    fn on_negotiation(&mut self, now: Instant, event: NegotiationEvent) {
        let leg = self.config.key;
        match event {
            NegotiationEvent::Remote { lines } => {
                self.actions
                    .push_back(Action::Media(MediaCommand::Remote { leg, lines }));
            }
            NegotiationEvent::Channels {
                send,
                receive,
                telephone_event: event,
                ..
            } => {
                self.codec = Some(send.name.clone());
                let codec = LegCodec {
                    name: send.name,
                    clock: send.clock,
                    send_pt: send.payload_type,
                    receive_pt: receive.payload_type,
                    send_fmtp: send.fmtp,
                    local_fmtp: receive.fmtp,
                    ptime_ms: PTIME_MS,
                    telephone_event: event,
                    events: Vec::new(),
                    also: Vec::new(),
                    ssrc: self.config.ssrc,
                    // Clients send again whatever was negotiated.
                    nack: Nack::Tacit,
                };
                self.actions
                    .push_back(Action::Media(MediaCommand::Codec { leg, codec }));
                self.channels = true;
                self.check_connected(now);
            }
            NegotiationEvent::MediaState(state) => self.events.push_back(LegEvent::State(state)),
            NegotiationEvent::Failed(error) => {
                tracing::debug!(call = %self.call, %error, "negotiation failed");
                self.fail(if error == NegotiationError::NoCommonCodec {
                    Cause::NoCodec
                } else {
                    Cause::Signalling
                });
            }
        }
    }
}
