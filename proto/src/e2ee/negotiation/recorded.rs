//! Recorded calls with a real client, replayed.

use serde_json::Value;

use super::tests::{channels, events, failure, local, opus, origin, packets, remote_lines, rng};
use super::*;
use crate::e2ee::fingerprint;
use crate::e2ee::key_exchange::tests::hex;
use crate::e2ee::signalling::{Cipher, Framing};

pub(super) struct Recording {
    role: Role,
    version: Version,
    key: SharedKey,
    document: Value,
}

pub(super) fn recordings() -> [Recording; 4] {
    [
        include_str!("../../../../tests/vectors/signalling-12.0.0-callee.json"),
        include_str!("../../../../tests/vectors/signalling-12.0.0-caller.json"),
        include_str!("../../../../tests/vectors/signalling-8.0.0-callee.json"),
        include_str!("../../../../tests/vectors/signalling-8.0.0-caller.json"),
    ]
    .map(|text| {
        let document: Value = serde_json::from_str(text).unwrap();
        let role = if document["role"] == "caller" {
            Role::Caller
        } else {
            Role::Callee
        };
        let key = SharedKey::new(&hex(document["key"].as_str().unwrap()).try_into().unwrap());
        let version = Version::from_name(document["version"].as_str().unwrap()).unwrap();
        Recording {
            role,
            version,
            key,
            document,
        }
    })
}

/// The steps of a recording: whether it came in, what is sealed (a packet, or a message of SCTP), the messages in it.
pub(super) fn steps(recording: &Recording) -> Vec<(bool, Vec<u8>, Vec<Value>)> {
    let sealed = match recording.version {
        Version::V8 | Version::V9 => "packet",
        Version::V12 | Version::V13 => "sctp_payload",
    };
    let steps = recording.document["steps"].as_array().unwrap();
    steps
        .iter()
        .filter_map(|step| {
            let messages = step["messages"].as_array().cloned();
            let messages = messages.unwrap_or_else(|| step.get("message").cloned().into_iter().collect());
            Some((step["dir"] == "in", hex(step.get(sealed)?.as_str()?), messages))
        })
        .collect()
}

#[test]
fn every_recorded_packet_opens_and_seals_again() {
    for recording in recordings() {
        let g_a = hex(recording.document["g_a"].as_str().unwrap());
        let emojis = fingerprint::emojis(&recording.key, &g_a).map(|emoji| Value::from(emoji.index()));
        assert_eq!(recording.document["emoji"].as_array().unwrap(), &emojis);
        let expected: i64 = recording.document["fingerprint"].as_str().unwrap().parse().unwrap();
        assert_eq!(fingerprint::of_key(&recording.key), expected);

        let ours = Cipher::new(recording.key.clone(), recording.role);
        let theirs = Cipher::new(recording.key.clone(), recording.role.peer());
        for (incoming, packet, _) in steps(&recording) {
            let (sender, receiver) = if incoming { (&theirs, &ours) } else { (&ours, &theirs) };
            let plain = receiver.open(&packet).unwrap();
            assert_eq!(sender.seal(&plain), packet);
        }
    }
}

#[test]
fn recorded_packets_frame_the_recorded_messages() {
    for recording in recordings().iter().filter(|recording| recording.version == Version::V8) {
        let ours = Cipher::new(recording.key.clone(), recording.role);
        let theirs = Cipher::new(recording.key.clone(), recording.role.peer());
        let (mut inward, mut outward) = (Framing::new(), Framing::new());
        for (incoming, packet, expected) in steps(recording) {
            let (cipher, framing) = if incoming {
                (&ours, &mut inward)
            } else {
                (&theirs, &mut outward)
            };
            let messages = framing.handle_input(&cipher.open(&packet).unwrap()).unwrap();
            let messages: Vec<Value> = messages
                .iter()
                .map(|message| serde_json::from_slice(&message.json).unwrap())
                .collect();
            assert_eq!(messages, expected);
        }
    }
}

/// Carries packets between the two until both rest, letting time pass while SCTP is not up. Returns what the peer reads.
fn exchange(now: &mut Instant, machine: &mut Negotiation, peer: &mut Link) -> Vec<super::super::signalling::Message> {
    let mut messages = Vec::new();
    for _ in 0..20 {
        loop {
            let (out, back) = (
                packets(machine),
                std::iter::from_fn(|| peer.poll_transmit()).collect::<Vec<_>>(),
            );
            if out.is_empty() && back.is_empty() {
                break;
            }
            for packet in out {
                messages.extend(peer.handle_input(*now, &packet).messages);
            }
            for packet in back {
                machine.handle_input(*now, &packet);
            }
        }
        // The caller's INIT, and acknowledgements that SCTP delays.
        let soon = [machine.poll_timeout(), peer.poll_timeout()]
            .into_iter()
            .flatten()
            .min();
        let Some(soon) = soon.filter(|soon| *soon <= *now + Duration::from_millis(300)) else {
            break;
        };
        *now = soon.max(*now);
        machine.handle_timeout(*now);
        peer.handle_timeout(*now);
    }
    messages
}

/// Plays the peer's side of a recorded call to our machine, with our recorded exchange ids turned into the machine's own.
#[test]
fn a_recorded_peer_is_negotiated_with() {
    for recording in recordings() {
        let mut now = origin();
        let mut machine = Negotiation::new(now, recording.role, recording.version, recording.key.clone(), rng(5));
        let mut peer = Link::new(now, recording.role.peer(), recording.version, recording.key.clone());
        machine.start(now, local("ours", 4242));

        let recorded: Vec<_> = steps(&recording);
        let is_channels = |message: &Value| message["@type"] == "NegotiateChannels";
        // Offers of ours in the recording: messages out whose exchange id did not come in before.
        let mut our_recorded_offers = Vec::new();
        let mut their_offers = Vec::new();
        for (incoming, _, messages) in &recorded {
            for message in messages.iter().filter(|message| is_channels(message)) {
                let id = message["exchangeId"].as_str().unwrap().to_owned();
                if !our_recorded_offers.contains(&id) && !their_offers.contains(&id) {
                    if *incoming {
                        their_offers.push(id)
                    } else {
                        our_recorded_offers.push(id)
                    }
                }
            }
        }
        let mut our_offer = None;
        let mut answered_theirs = Vec::new();
        let mut all = Vec::new();
        for (incoming, _, messages) in recorded {
            // What our machine says is read as the recorded peer would read it.
            for message in exchange(&mut now, &mut machine, &mut peer) {
                let message: Value = serde_json::from_slice(&message.json).unwrap();
                if is_channels(&message) {
                    let id = message["exchangeId"].as_str().unwrap().to_owned();
                    if their_offers.contains(&id) {
                        answered_theirs.push(message);
                    } else {
                        our_offer = Some(id);
                    }
                }
            }
            for mut message in messages.into_iter().filter(|_| incoming) {
                if is_channels(&message) && our_recorded_offers.iter().any(|id| message["exchangeId"] == **id) {
                    message["exchangeId"] = Value::from(our_offer.clone().expect("our offer is out before its answer"));
                    message["contents"][0]["ssrc"] = Value::from("4242");
                }
                peer.send(now, message.to_string().into_bytes(), true).unwrap();
            }
            while let Some(packet) = peer.poll_transmit() {
                machine.handle_input(now, &packet);
            }
            all.extend(events(&mut machine));
        }
        let (send, receive, telephone_event, ssrc) = channels(&all).expect("both offers are answered");
        assert_eq!(send, opus());
        assert_eq!(receive, opus());
        // The recorded answer to us holds no events: the recorded end did not offer them.
        assert_eq!(telephone_event, None);
        let their_offer = steps(&recording).into_iter().flat_map(|(_, _, messages)| messages);
        let their_offer = their_offer
            .into_iter()
            .find(|message| message["exchangeId"] == *their_offers[0]);
        let expected_ssrc = their_offer.unwrap()["contents"][0]["ssrc"].as_str().unwrap().parse();
        assert_eq!(Ok(ssrc), expected_ssrc);
        let lines = remote_lines(&all);
        let lines: Vec<&str> = lines.lines().collect();
        assert!(lines[0].starts_with("ice-ufrag:"), "{lines:?}");
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("candidate:") && line.contains("10.77.0.1"))
        );
        assert!(lines.contains(&format!("ssrc:{ssrc}").as_str()));
        assert_eq!(
            lines.iter().filter(|line| line.starts_with("candidate:")).count(),
            1,
            "a repeat was passed on"
        );

        // Video is left out of the answer; audio is opus and events with the peer's numbers.
        let answer = &answered_theirs[0];
        let contents = answer["contents"].as_array().unwrap();
        assert_eq!(contents.len(), 1);
        assert_eq!(contents[0]["type"], "audio");
        assert_eq!(contents[0]["ssrc"], Value::from(ssrc.to_string()));
        let numbers: Vec<u64> = contents[0]["payloadTypes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, [111, 110]);
        assert_eq!(failure(&all), None);
    }
}
