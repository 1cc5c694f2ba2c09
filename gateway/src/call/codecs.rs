//! Which codecs a leg offers, and how SDP's words for them become media's. It knows no leg.

use quartet_proto::sdp::{Codec, LocalCodec};

use crate::plugins::{FmtpRole, Registry};

/// The codecs of a list that a plugin serves, in its order, as SDP offers them; a name may have a clock, as `L16/16000`.
pub fn offered_codecs(names: &[String], registry: &Registry) -> Vec<LocalCodec> {
    names
        .iter()
        .filter_map(|name| {
            let (name, clock) = name
                .split_once('/')
                .map_or((name.as_str(), None), |(name, clock)| (name, Some(clock)));
            let name = sdp_name(name);
            let codec = match clock {
                Some(clock) => registry.codec_at(name, clock.parse().ok()?)?,
                None => registry.codec(name)?,
            };
            Some(LocalCodec {
                name: codec.name().to_owned(),
                clock: codec.clock(),
                channels: u8::try_from(codec.channels()).ok()?,
                payload_type: codec.payload_type(),
                fmtp: codec.fmtp(FmtpRole::Offer, "").unwrap_or_default(),
            })
        })
        .collect()
}

/// What we offer to E2EE users: Opus and events, with the numbers that such clients know.
pub fn e2ee_codecs(registry: &Registry) -> Vec<Codec> {
    let Some(opus) = registry.codec("opus") else {
        return Vec::new();
    };
    let fmtp = opus.fmtp(FmtpRole::Offer, "").unwrap_or_default();
    vec![
        Codec {
            payload_type: 111,
            name: "opus".into(),
            clock: 48_000,
            channels: 2,
            fmtp,
        },
        Codec {
            payload_type: 110,
            name: "telephone-event".into(),
            clock: 48_000,
            channels: 1,
            fmtp: String::new(),
        },
    ]
}

/// Operators write names in lower case; SDP knows G.711 by other ones.
fn sdp_name(name: &str) -> &str {
    match name {
        "pcmu" | "ulaw" => "PCMU",
        "pcma" | "alaw" => "PCMA",
        other => other,
    }
}
