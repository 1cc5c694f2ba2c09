//! The JSON schema of all frames, made from their types: docs/hub-protocol.schema.json. It is what a client may rely on and must keep
//! to; members that it does not name are ignored.

use std::borrow::Cow;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Map, Value, json};

use super::*;

/// Values that are text on the wire, with the pattern of it.
macro_rules! text {
    ($($type:ident $pattern:literal $max:literal $about:literal;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "maxLength": $max, "description": $about })
            }
        }
    )*};
}

text! {
    CallId "^[A-Za-z0-9_-]{22}$" 22 "16 random bytes, base64url without padding";
    SessionId "^[A-Za-z0-9_-]{22}$" 22 "16 bytes, base64url without padding";
    PeerTag "^[A-Za-z0-9_-]{22}$" 22 "16 bytes, base64url without padding";
    Commitment "^[A-Za-z0-9_-]{43}$" 43 "SHA-256 of a public value, base64url without padding";
    Token "^[A-Za-z0-9_-]{43}$" 43 "32 bytes, base64url without padding";
    PublicValue "^[A-Za-z0-9_-]{2,}$" 342 "1 to 256 bytes, base64url without padding";
    Packet "^[A-Za-z0-9_-]{2,}$" 174763 "1 to 131072 bytes, base64url without padding";
    Name "^[a-z0-9._-]+(@[a-z0-9._-]+)?$" 64 "An account, or extension@account; 64 characters in all";
    ExchangeName "^[a-z0-9._-]+$" 32 "A key exchange: x25519, dh2048";
    Version "^[a-z0-9.-]+$" 16 "A signalling version, as 13.0.0";
    ClientName "^[^\\u0000-\\u001f\\u007f]+$" 64 "The name of a program";
    ErrorCode "^[^\\u0000]+$" 32 "A code of section 10, or one that came later";
}

/// The verbs of clients, and those of the hub.
fn verbs(generator: &mut SchemaGenerator) -> [Vec<(&'static str, Schema)>; 2] {
    macro_rules! of {
        ($($verb:literal $type:ty,)*) => { vec![$(($verb, generator.subschema_for::<$type>()),)*] };
    }
    let client = of![
        "hello" Hello, "call.request" CallRequest, "call.received" CallReceived, "call.accept" CallAccept,
        "call.confirm" CallConfirm, "call.signal" CallSignal, "call.discard" CallDiscard, "call.rejoin" CallRejoin,
        "ice.servers" Empty, "ping" Empty, "presence" Empty, "contacts" Empty, "block" Empty, "invite.create" Empty,
        "invite.revoke" Empty,
    ];
    let hub = of![
        "call.request" CallRequest, "call.received" CallReceived, "call.accept" CallAccept, "call.confirm" CallConfirm,
        "call.signal" CallSignal, "call.discard" CallDiscard, "call.taken" CallTaken, "call.away" CallLink,
        "call.back" CallLink,
    ];
    [client, hub]
}

/// A body without members of its own.
#[derive(JsonSchema)]
struct Empty {}

/// A frame with this verb: the members of its kind, and those of the body.
fn frame(verb: &str, kind: &Value, required: &[&str], body: &Schema) -> Value {
    let mut properties = Map::from_iter([("verb".to_owned(), json!({ "const": verb }))]);
    properties.extend(kind.as_object().cloned().unwrap_or_default());
    json!({ "title": verb, "type": "object", "required": required, "properties": properties, "allOf": [body] })
}

/// The whole schema.
pub(super) fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let [client, hub] = verbs(&mut generator);
    let id = json!({ "type": "integer", "minimum": 0, "maximum": MAX_ID });
    let seq = json!({ "type": "integer", "minimum": 1, "description": "Protocol 2: its number in the session" });
    let requests = client
        .iter()
        .map(|(verb, body)| frame(verb, &json!({ "id": id }), &["id", "verb"], body));
    let requests: Vec<Value> = requests.collect();
    let events = hub.iter().map(|(verb, body)| {
        let required: &[&str] = if *verb == "call.request" {
            &["verb", "from"]
        } else {
            &["verb"]
        };
        frame(verb, &json!({ "seq": seq }), required, body)
    });
    let events: Vec<Value> = events.collect();
    let (welcome, servers) = (
        generator.subschema_for::<Welcome>(),
        generator.subschema_for::<IceServers>(),
    );
    let failure = generator.subschema_for::<Failure>();
    let answer = json!({ "type": ["integer", "null"], "minimum": 0, "maximum": MAX_ID });
    let done =
        json!({ "type": "object", "not": { "anyOf": [{ "required": ["account"] }, { "required": ["ice_servers"] }] } });
    let mut defs = generator.take_definitions(true);
    defs.insert(
        "request".into(),
        json!({ "description": "A frame of a client", "oneOf": requests }),
    );
    defs.insert(
        "event".into(),
        json!({ "description": "A frame of the hub that answers nothing", "oneOf": events }),
    );
    defs.insert(
        "answer".into(),
        json!({ "description": "The hub's one answer to a request", "type": "object", "required": ["answer"],
            "properties": { "answer": answer }, "oneOf": [
                { "required": ["result"], "properties": { "result": { "anyOf": [welcome, servers, done] } } },
                { "required": ["error"], "properties": { "error": failure } } ] }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Frames of the hub protocol",
        "description": format!(
            "Protocol {} to {}; docs/hub-protocol.md says what they mean. Members that are not named here are ignored. This file is \
             generated from proto/src/hub.",
            PROTOCOL.min, PROTOCOL.max
        ),
        "anyOf": [{ "$ref": "#/$defs/request" }, { "$ref": "#/$defs/answer" }, { "$ref": "#/$defs/event" }],
        "$defs": defs,
    })
}
