//! What one machine of a session gives the next: ICE's checks to the wire, DTLS's packets to ICE's pair and its keys to
//! SRTP, SCTP's packets to DTLS.

use std::time::Instant;

use super::{Endpoint, Failure, Output, Role, State};
use crate::rtp::srtp::{Inbound, Outbound, Profile};
use crate::webrtc::dtls::DtlsOutput;
use crate::webrtc::sctp::Sctp;

impl Endpoint {
    /// Moves everything from one machine to the next until all are quiet.
    pub(super) fn drive(&mut self, now: Instant) {
        if !matches!(self.state, State::Connecting | State::Connected) {
            return;
        }
        loop {
            while let Some(check) = self.ice.poll_transmit() {
                self.push(Output::Transmit {
                    path: check.path,
                    destination: check.destination,
                    bytes: check.bytes,
                });
            }
            while self.ice.poll_event().is_some() {}
            if let Some(round_trip) = self.ice.poll_round_trip() {
                self.push(Output::RoundTrip(round_trip));
            }
            if self.ice.selected().is_some() {
                self.start_dtls(now);
            }
            let Some(output) = self.dtls.poll_output() else {
                if self.drive_sctp() {
                    continue;
                }
                break;
            };
            match output {
                DtlsOutput::Packet(bytes) => {
                    if let Some((path, destination)) = self.ice.selected().or(self.dtls_from) {
                        self.push(Output::Transmit {
                            path,
                            destination,
                            bytes,
                        });
                    }
                }
                DtlsOutput::Keys { profile, material } => self.install(now, profile, &material),
                DtlsOutput::Data(packet) => {
                    if let Some(sctp) = &mut self.sctp {
                        sctp.receive(now, &packet);
                    }
                }
                DtlsOutput::Closed => return self.fail(Failure::Closed),
            }
        }
        if (self.ice.has_lines() || !self.lines.is_empty()) && !self.told {
            self.told = true;
            self.push(Output::Local);
        }
        if self.state == State::Connecting && self.srtp.is_some() && self.ice.selected().is_some() {
            self.state = State::Connected;
            self.connect_by = None;
            self.heard = now;
            self.push(Output::Connected);
        }
    }

    pub(super) fn start_dtls(&mut self, now: Instant) {
        if self.dtls.is_started() {
            return;
        }
        if let Some(round_trip) = self.ice.round_trip() {
            self.dtls.set_round_trip(round_trip);
        }
        if let Err(error) = self.dtls.start(now, self.active) {
            self.fail_dtls(error);
        }
    }

    /// True if SCTP had something for DTLS.
    fn drive_sctp(&mut self) -> bool {
        let Some(sctp) = &mut self.sctp else {
            return false;
        };
        let mut any = false;
        let mut messages = Vec::new();
        while let Some(message) = sctp.poll_message() {
            messages.push(message);
        }
        while let Some(packet) = sctp.poll_transmit() {
            any = true;
            if self.dtls.send(&packet).is_err() {
                // Final; the next timeout or datagram reports it.
                break;
            }
        }
        for message in messages {
            self.push(Output::Data {
                channel: message.channel,
                text: message.text,
                bytes: message.bytes,
            });
        }
        any
    }

    fn install(&mut self, now: Instant, profile: Profile, material: &[u8]) {
        let (key, salt) = profile.key_and_salt();
        if material.len() != 2 * (key + salt) {
            return self.fail(Failure::Dtls);
        }
        let (keys, salts) = material.split_at(2 * key);
        let side = |index: usize| {
            let mut both = zeroize::Zeroizing::new(Vec::with_capacity(key + salt));
            both.extend_from_slice(&keys[index * key..][..key]);
            both.extend_from_slice(&salts[index * salt..][..salt]);
            both
        };
        let (client, server) = (side(0), side(1));
        let (send, receive) = if self.dtls.is_active() {
            (client, server)
        } else {
            (server, client)
        };
        let (Ok(outbound), Ok(mut inbound)) = (Outbound::new(profile, &send), Inbound::new(profile, &receive)) else {
            return self.fail(Failure::Dtls);
        };
        if self.learns && inbound.learn(&receive).is_err() {
            return self.fail(Failure::Dtls);
        }
        for ssrc in std::mem::take(&mut self.announced) {
            inbound.announce(ssrc);
        }
        tracing::debug!(?profile, "SRTP keys installed");
        self.srtp = Some((outbound, inbound));
        self.sctp = Some(Sctp::new(now, self.role == Role::Offer));
    }
}
