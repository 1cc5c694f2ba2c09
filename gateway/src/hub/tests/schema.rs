//! Every frame of the tests against the schema of the protocol.

use std::sync::OnceLock;

use jsonschema::Validator;

/// A frame, of a client or of the hub, is as the schema says.
pub(crate) fn check(text: &str) {
    static VALIDATOR: OnceLock<Validator> = OnceLock::new();
    let validator = VALIDATOR.get_or_init(|| {
        let schema = include_str!("../../../../docs/hub-protocol.schema.json");
        let schema = serde_json::from_str(schema).expect("it is JSON");
        jsonschema::validator_for(&schema).expect("it is a schema")
    });
    let frame = serde_json::from_str(text).expect("a frame is JSON");
    assert!(validator.is_valid(&frame), "not as the schema says: {text}");
}
