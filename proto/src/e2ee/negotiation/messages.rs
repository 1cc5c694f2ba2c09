//! The JSON messages, read tolerantly: numbers may be text, unknown keys and broken list elements are left out.

use serde_json::{Map, Value, json};

use super::MediaState;
use crate::sdp::Codec;

/// The longest name of a language.
const MAX_LANGUAGE: usize = 16;

/// Payload types of one content beyond this are not read.
const MAX_PAYLOAD_TYPES: usize = 128;
/// Contents of one message beyond this are not read.
const MAX_CONTENTS: usize = 16;
/// Candidates of one message beyond this are not read.
const MAX_CANDIDATES: usize = 64;
/// An exchange id longer than this is no number of 32 bits.
const MAX_EXCHANGE_ID: usize = 32;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    InitialSetup(InitialSetup),
    NegotiateChannels(NegotiateChannels),
    /// The candidate lines.
    Candidates(Vec<String>),
    MediaState(MediaState),
}

impl Message {
    /// Its `@type`, for the log.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Message::InitialSetup(_) => "InitialSetup",
            Message::NegotiateChannels(_) => "NegotiateChannels",
            Message::Candidates(_) => "Candidates",
            Message::MediaState(_) => "MediaState",
        }
    }
}

/// The credentials of a transport.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct InitialSetup {
    pub(super) ufrag: String,
    pub(super) pwd: String,
    pub(super) fingerprints: Vec<Fingerprint>,
}

impl std::fmt::Debug for InitialSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitialSetup")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) hash: String,
    pub(super) setup: String,
    pub(super) fingerprint: String,
}

/// An offer of what its sender will send, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NegotiateChannels {
    pub(super) exchange_id: String,
    pub(super) contents: Vec<Content>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// `audio`, `video`.
    pub(super) kind: String,
    pub(super) ssrc: u32,
    pub(super) payload_types: Vec<Codec>,
    /// Header extensions by URI; an URI listed twice counts once.
    pub(super) extensions: Vec<(u8, String)>,
}

impl Message {
    /// Reads a message. `None` for what is no message, or of a type we do not know.
    pub(super) fn read(json: &[u8]) -> Option<Message> {
        let value: Value = serde_json::from_slice(json).ok()?;
        match text(&value, "@type")? {
            "InitialSetup" => Some(Message::InitialSetup(InitialSetup {
                ufrag: text(&value, "ufrag")?.to_owned(),
                pwd: text(&value, "pwd")?.to_owned(),
                fingerprints: list(&value, "fingerprints")
                    .iter()
                    .take(16)
                    .filter_map(read_fingerprint)
                    .collect(),
            })),
            "NegotiateChannels" => {
                let exchange_id = match value.get("exchangeId")? {
                    Value::String(id) => id.clone(),
                    Value::Number(id) => id.to_string(),
                    Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
                };
                if exchange_id.is_empty() || exchange_id.len() > MAX_EXCHANGE_ID {
                    return None;
                }
                let contents = list(&value, "contents")
                    .iter()
                    .take(MAX_CONTENTS)
                    .filter_map(read_content)
                    .collect();
                Some(Message::NegotiateChannels(NegotiateChannels { exchange_id, contents }))
            }
            "Candidates" => {
                let candidates = list(&value, "candidates").iter().take(MAX_CANDIDATES);
                Some(Message::Candidates(
                    candidates
                        .filter_map(|one| text(one, "sdpString").map(str::to_owned))
                        .collect(),
                ))
            }
            "MediaState" => {
                let spoken = text(&value, "x-spoken").filter(|spoken| spoken.len() <= MAX_LANGUAGE);
                Some(Message::MediaState(MediaState {
                    muted: value.get("muted")?.as_bool()?,
                    spoken: spoken.map(str::to_owned),
                }))
            }
            _ => None,
        }
    }

    /// Writes a message.
    pub(super) fn write(&self) -> Vec<u8> {
        let value = match self {
            Message::InitialSetup(setup) => json!({
                "@type": "InitialSetup",
                "ufrag": setup.ufrag,
                "pwd": setup.pwd,
                // With `true` a controlled agent waits for a nomination that our ICE does not make.
                "renomination": false,
                "fingerprints": setup.fingerprints.iter().map(|one| json!({
                    "hash": one.hash,
                    "setup": one.setup,
                    "fingerprint": one.fingerprint,
                })).collect::<Vec<_>>(),
            }),
            Message::NegotiateChannels(channels) => json!({
                "@type": "NegotiateChannels",
                "exchangeId": channels.exchange_id,
                "contents": channels.contents.iter().map(write_content).collect::<Vec<_>>(),
            }),
            Message::Candidates(candidates) => json!({
                "@type": "Candidates",
                "candidates": candidates.iter().map(|line| json!({
                    "sdpString": line,
                    "sdpMid": "0",
                    "sdpMLineIndex": 0,
                })).collect::<Vec<_>>(),
            }),
            Message::MediaState(state) => {
                let mut value = json!({
                    "@type": "MediaState",
                    "muted": state.muted,
                    "lowBattery": false,
                    "videoState": "inactive",
                    "videoRotation": 0,
                    "screencastState": "inactive",
                });
                if let Some(spoken) = &state.spoken {
                    value["x-spoken"] = json!(spoken);
                }
                value
            }
        };
        value.to_string().into_bytes()
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Reads a number that may be text.
fn number(value: &Value, key: &str) -> Option<u32> {
    match value.get(key)? {
        Value::String(text) => text.trim().parse().ok(),
        // Some write a 32-bit number as a signed one.
        Value::Number(number) => number
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .or_else(|| {
                number
                    .as_i64()
                    .and_then(|number| i32::try_from(number).ok())
                    .map(i32::cast_unsigned)
            }),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn read_fingerprint(value: &Value) -> Option<Fingerprint> {
    Some(Fingerprint {
        hash: text(value, "hash")?.to_ascii_lowercase(),
        setup: text(value, "setup").unwrap_or_default().to_owned(),
        fingerprint: text(value, "fingerprint")?.to_ascii_uppercase(),
    })
}

fn read_content(value: &Value) -> Option<Content> {
    let mut extensions: Vec<(u8, String)> = Vec::new();
    for extension in list(value, "rtpExtensions").iter().take(32) {
        if let (Some(uri), Some(id)) = (
            text(extension, "uri"),
            number(extension, "id").and_then(|id| id.try_into().ok()),
        ) && !extensions.iter().any(|(_, known)| known == uri)
        {
            extensions.push((id, uri.to_owned()));
        }
    }
    Some(Content {
        kind: text(value, "type")?.to_owned(),
        ssrc: number(value, "ssrc").unwrap_or(0),
        payload_types: list(value, "payloadTypes")
            .iter()
            .take(MAX_PAYLOAD_TYPES)
            .filter_map(read_codec)
            .collect(),
        extensions,
    })
}

fn read_codec(value: &Value) -> Option<Codec> {
    let payload_type = u8::try_from(number(value, "id")?).ok().filter(|number| *number < 128)?;
    let channels = number(value, "channels")
        .and_then(|channels| channels.try_into().ok())
        .unwrap_or(1);
    let mut parameters = Vec::new();
    for (key, value) in value
        .get("parameters")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .take(32)
    {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => continue,
        };
        // What is no plain word cannot be told to a codec as one line.
        let plain = |text: &str| text.len() <= 64 && text.chars().all(|c| c.is_ascii_graphic() && c != ';');
        if plain(key) && plain(&value) {
            parameters.push(if key.is_empty() {
                value
            } else {
                format!("{key}={value}")
            });
        }
    }
    Some(Codec {
        payload_type,
        name: text(value, "name").filter(|name| name.len() <= 64)?.to_owned(),
        clock: number(value, "clockrate")?,
        channels: u8::max(channels, 1),
        fmtp: parameters.join(";"),
    })
}

fn write_content(content: &Content) -> Value {
    json!({
        "type": content.kind,
        "ssrc": content.ssrc.to_string(),
        "payloadTypes": content.payload_types.iter().map(write_codec).collect::<Vec<_>>(),
        "rtpExtensions": content.extensions.iter().map(|(id, uri)| json!({"id": id, "uri": uri})).collect::<Vec<_>>(),
    })
}

fn write_codec(codec: &Codec) -> Value {
    // A part without a value, as the "0-16" of events, has no place in this map.
    let parameters: Map<String, Value> = codec
        .fmtp
        .split(';')
        .filter_map(|part| part.trim().split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), Value::from(value.trim())))
        .collect();
    json!({
        "id": codec.payload_type,
        "name": codec.name,
        "clockrate": codec.clock,
        "channels": codec.channels,
        // No transport-cc: nobody here makes its feedback. Without it one peer (ntgcalls) sends packets of 60 ms.
        "feedbackTypes": [],
        "parameters": parameters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Message> {
        Message::read(json.as_bytes())
    }

    #[test]
    fn numbers_may_be_text_or_numbers() {
        for ssrc in ["\"4000000000\"", "4000000000", "-294967296"] {
            let json = format!(
                "{{\"@type\":\"NegotiateChannels\",\"exchangeId\":7,\"contents\":[{{\"type\":\"audio\",\"ssrc\":{ssrc}}}]}}"
            );
            let Some(Message::NegotiateChannels(channels)) = read(&json) else {
                panic!("{json}")
            };
            assert_eq!(
                (channels.exchange_id.as_str(), channels.contents[0].ssrc),
                ("7", 4_000_000_000)
            );
        }
    }

    #[test]
    fn broken_elements_are_left_out() {
        let json = r#"{"@type":"NegotiateChannels","exchangeId":"1","more":{},"contents":[5,{"ssrc":"1"},
            {"type":"audio","ssrc":"x","payloadTypes":[{"id":300,"name":"a","clockrate":1},{"id":"111","name":"opus",
            "clockrate":48000,"channels":2,"parameters":{"a":"1","b":2,"c":null,"d":"x;y","e\n":"1"}},{"id":1}],
            "rtpExtensions":[{"id":2,"uri":"u"},{"id":3,"uri":"v"},{"id":3,"uri":"u"},{"id":"2","uri":"v"},{"uri":"w"}]}]}"#;
        let Some(Message::NegotiateChannels(channels)) = read(json) else {
            panic!()
        };
        let [content] = channels.contents.as_slice() else {
            panic!("{channels:?}")
        };
        assert_eq!(content.extensions, [(2, "u".to_owned()), (3, "v".to_owned())]);
        let [codec] = content.payload_types.as_slice() else {
            panic!("{content:?}")
        };
        assert_eq!(
            (codec.payload_type, codec.channels, codec.fmtp.as_str()),
            (111, 2, "a=1;b=2")
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for json in [
            "",
            "{",
            "[]",
            "7",
            "null",
            "{\"@type\":7}",
            "{\"@type\":\"Dance\"}",
            "{\"@type\":\"InitialSetup\",\"ufrag\":\"abcd\"}",
            "{\"@type\":\"NegotiateChannels\"}",
            "{\"@type\":\"NegotiateChannels\",\"exchangeId\":\"\"}",
            "{\"@type\":\"NegotiateChannels\",\"exchangeId\":\"000000000000000000000000000000001\"}",
            "{\"@type\":\"MediaState\",\"muted\":\"yes\"}",
        ] {
            assert_eq!(read(json), None, "{json}");
        }
        assert_eq!(read(&"[".repeat(100_000)), None);
    }

    #[test]
    fn messages_survive_both_ways() {
        let codec = |payload_type, name: &str, clock, channels, fmtp: &str| Codec {
            payload_type,
            name: name.to_owned(),
            clock,
            channels,
            fmtp: fmtp.to_owned(),
        };
        let messages = [
            Message::InitialSetup(InitialSetup {
                ufrag: "abcd".to_owned(),
                pwd: "a".repeat(24),
                fingerprints: vec![Fingerprint {
                    hash: "sha-256".to_owned(),
                    setup: "actpass".to_owned(),
                    fingerprint: "AA:BB".to_owned(),
                }],
            }),
            Message::NegotiateChannels(NegotiateChannels {
                exchange_id: "4294967295".to_owned(),
                contents: vec![Content {
                    kind: "audio".to_owned(),
                    ssrc: u32::MAX,
                    payload_types: vec![
                        codec(111, "opus", 48_000, 2, "minptime=10;useinbandfec=1"),
                        codec(110, "telephone-event", 48_000, 1, ""),
                    ],
                    extensions: vec![(3, "urn:x".to_owned())],
                }],
            }),
            Message::Candidates(vec!["candidate:1 1 udp 1 192.0.2.1 5000 typ host".to_owned()]),
            Message::MediaState(MediaState {
                muted: true,
                spoken: Some("en".into()),
            }),
        ];
        for message in messages {
            assert_eq!(Message::read(&message.write()), Some(message));
        }
    }
}
